//! Modem lines, breaks and errors.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::card::{BI, CTS, Card, DATA, DCD, DR, DSR, LCR, LSR, MCR, MSR, error, give, take};

#[test]
fn what_is_no_line_error_or_port_is_refused_and_nothing_happens() {
    let card = Card::start(&["--serial0", "null"]);
    for (arguments, status, words) in [
        (&["break", "2"][..], 1, "EINVAL: vfio0 has no port 2, only 0 to 1"),
        (&["break", "x"], 2, "invalid"),
        (&["lines", "0", "cts=maybe"], 2, "those are cts, dsr, ri or dcd, each =on, =off or =auto"),
        (&["lines", "0", "rts=on"], 2, "'rts=on' is no setting of a line"),
        (&["lines", "0", "cts=on,cts=off"], 2, "line 'cts' is there twice"),
        (&["inject", "0", "noise"], 2, "[possible values: framing, parity, overrun]"),
        (&["inject", "0"], 2, "required"),
    ] {
        let output = card.ask("serial", arguments);
        let text = error(&output);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    assert_eq!(card.info(0)["by_hand"], serde_json::json!({}));
    assert_eq!(card.info(0)["breaks_received"], 0);
}

#[test]
fn a_device_without_ports_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    let control = control.to_str().unwrap();
    let _program = crate::program::Program::serve_with("mdpy-vga", &["--control-path", control]);
    for arguments in [&["serial", "break", "0"][..], &["send", "0", "x"], &["expect", "0", "x"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mdev-user"));
        command.arg(arguments[0]).args(["-c", control]).args(&arguments[1..]);
        let output = command.output().unwrap();
        assert_eq!(error(&output), "mdev-user: EINVAL: vfio0 has no serial ports\n");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn dsr_and_dcd_follow_the_connection_and_cts_is_on() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port"]);
    assert_eq!(card.read(0, MSR), CTS);
    let peer = card.connect("port");
    let mut seen = 0;
    card.soon("the guest sees the connection", |card| {
        seen |= card.read(0, MSR);
        seen & DCD != 0
    });
    assert_eq!(seen, CTS | DSR | DCD | 0x0a, "with the deltas of DCD and DSR");
    drop(peer);
    seen = 0;
    card.soon("the guest sees the end of it", |card| {
        let status = card.read(0, MSR);
        seen |= status & 0x0f;
        status & DCD == 0
    });
    assert_eq!(seen, 0x0a);
    card.inputs_become(0, CTS);
}

#[test]
fn lines_set_by_hand_show_as_deltas_and_stand_still_until_they_are_given_back() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port", "--serial1", "loopback"]);
    for port in 0..2 {
        let number = port.to_string();
        let connected = if port == 0 { CTS } else { CTS | DSR | DCD };
        assert_eq!(card.read(port, MSR), connected);
        card.tell("serial", &["lines", &number, "cts=off,ri=on"]);
        assert_eq!(card.read(port, MSR), connected & !CTS | 0x40 | 0x01, "CTS has changed");
        card.tell("serial", &["lines", &number, "ri=off"]);
        assert_eq!(card.read(port, MSR), connected & !CTS | 0x04, "RI has gone off");
        let by_hand = card.info(port as usize)["by_hand"].clone();
        assert_eq!(by_hand, serde_json::json!({ "cts": false, "ri": false }));
        card.tell("serial", &["lines", &number, "cts=auto,ri=auto"]);
        assert_eq!(card.read(port, MSR), connected | 0x01);
    }
}

#[test]
fn the_guests_lines_and_settings_are_told() {
    let mut card = Card::start_closed(&["--serial0", "null"]);
    let lines = |card: &Card| card.info(0)["outputs"].clone();
    assert_eq!(lines(&card), serde_json::json!({ "dtr": false, "rts": false }));
    card.write(0, MCR, 0x01);
    assert_eq!(lines(&card), serde_json::json!({ "dtr": true, "rts": false }));
    card.write(0, MCR, 0x02);
    assert_eq!(lines(&card), serde_json::json!({ "dtr": false, "rts": true }));
    // 9600 7E2.
    for (register, value) in [(LCR, 0x80), (0, 12), (1, 0), (LCR, 0x1e)] {
        card.write(0, register, value);
    }
    let expected = serde_json::json!({
        "baud": 9600, "word_length": 7, "parity": "even", "stop_bits": 2.0,
    });
    assert_eq!(card.info(0)["settings"], expected);
}

#[test]
fn a_break_reaches_the_guest_in_its_place() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port"]);
    let mut peer = card.connect("port");
    give(&mut peer, b"a");
    card.soon("the first byte is there", |card| card.read(0, LSR) & DR != 0);
    card.tell("serial", &["break", "0"]);
    give(&mut peer, b"b");
    let mut received = Vec::new();
    card.soon("all is there", |card| {
        received.extend(card.receive(0));
        received.len() >= 3
    });
    let told: Vec<_> = received.iter().map(|(status, byte)| (status & 0x1e, *byte)).collect();
    assert_eq!(told, [(0, b'a'), (BI | 0x08, 0), (0, b'b')]);
    assert_eq!(card.info(0)["breaks_received"], 1);
}

#[test]
fn a_break_of_the_guest_is_counted_and_no_byte() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port"]);
    let mut peer = card.connect("port");
    card.send(0, b"a");
    card.write(0, LCR, 0x43);
    card.write(0, LCR, 0x03);
    card.send(0, b"b");
    assert_eq!(take(&mut peer, 2), b"ab");
    assert_eq!(card.info(0)["breaks_sent"], 1);
}

#[test]
fn injected_errors_show_in_lsr_with_the_character_that_has_them() {
    let mut card = Card::start(&["--serial0", "null"]);
    for (word, bits) in [("parity", 0x04), ("framing", 0x08), ("overrun", 0x02)] {
        card.tell("serial", &["inject", "0", word]);
        assert_eq!(card.read(0, LSR) & 0x1f, bits | DR, "{word}");
        assert_eq!(card.read(0, DATA), 0);
        assert_eq!(card.read(0, LSR) & 0x9f, 0);
    }
}

#[test]
fn while_rts_is_off_input_waits_and_none_is_lost() {
    let mut card = Card::start_closed(&["--serial0", "unix:DIR/port"]);
    let mut peer = card.connect("port");
    let bytes: Vec<u8> = (0..2000u32).map(|number| number.to_le_bytes()[0]).collect();
    give(&mut peer, &bytes);
    card.soon("it is read ahead", |card| card.info(0)["bytes_waiting"] != 0);
    assert_eq!(card.read(0, LSR) & DR, 0);
    card.open(0);
    assert_eq!(card.hear(0, 2000), bytes);
}

/// The lines of a block of code in docs/control.md.
fn documented(kind: &str) -> Vec<Value> {
    let document = include_str!("../../docs/control.md");
    let (_, rest) = document.split_once(&format!("```{kind}\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    block.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_control_socket_answers_as_control_md_has_it() {
    let mut card = Card::start(&["--serial0", "null", "--serial1", "null"]);
    let mut socket = BufReader::new(UnixStream::connect(card.path("control")).unwrap());
    let lines = documented("json serial");
    assert_eq!(lines.len(), 8);
    for pair in lines.chunks(2) {
        writeln!(socket.get_mut(), "{}", pair[0]).unwrap();
        let mut answer = String::new();
        socket.read_line(&mut answer).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), pair[1]);
    }
    assert_eq!(card.read(0, MSR) & 0x88, DCD, "on all the time");
    assert_eq!(card.hear(1, 1), b"\x03");
}

#[test]
fn a_port_that_nobody_has_connected_to_is_as_control_md_has_it() {
    let card = Card::start(&["--serial0", "unix:DIR/port"]);
    let mut expected = documented("json port").remove(0);
    expected["spec"] = format!("unix:{}", card.path("port").display()).into();
    expected["address"] = card.path("port").to_str().unwrap().into();
    assert_eq!(card.info(0), expected);
}

#[test]
fn what_a_verb_does_not_know_or_needs_is_said() {
    let card = Card::start(&[]);
    let mut socket = BufReader::new(UnixStream::connect(card.path("control")).unwrap());
    for (request, message) in [
        (r#"{"verb": "serial", "port": 0}"#, "one of 'break', 'lines' and 'inject' is needed"),
        (r#"{"verb": "serial", "break": true}"#, "name a 'port', 0 for the first"),
        (r#"{"verb": "serial", "port": -1, "break": true}"#, "'port' is a whole number"),
        (r#"{"verb": "serial", "port": 0, "break": 1}"#, "'break' is true or false"),
        (r#"{"verb": "serial", "port": 0, "inject": "x"}"#, "framing, parity or overrun, not 'x'"),
        (r#"{"verb": "serial", "port": 0, "lines": "x"}"#, "'x' is no setting of a line"),
        (r#"{"verb": "send", "port": 0}"#, "a 'text' is missing"),
        (r#"{"verb": "send", "port": 0, "text": "\u0100"}"#, "each character of 'text' is a byte"),
        (r#"{"verb": "expect", "port": 0}"#, "a 'regex' is missing"),
        (r#"{"verb": "expect", "port": 0, "regex": "["}"#, "'regex': it is no regular expression"),
        (
            r#"{"verb": "expect", "port": 0, "regex": "", "timeout_ms": 86400001}"#,
            "'timeout_ms' is at most 86400000",
        ),
    ] {
        writeln!(socket.get_mut(), "{request}").unwrap();
        let mut answer = String::new();
        socket.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["errno"], "EINVAL", "{request}: {answer}");
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(said.contains(message), "{request}: {said}");
    }
}

#[test]
fn breaks_that_the_guest_does_not_take_are_not_gathered_without_end() {
    let card = Card::start_closed(&["--serial0", "null"]);
    let mut socket = BufReader::new(UnixStream::connect(card.path("control")).unwrap());
    let mut taken = 0;
    loop {
        writeln!(socket.get_mut(), r#"{{"verb": "serial", "port": 0, "break": true}}"#).unwrap();
        let mut answer = String::new();
        socket.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        if answer["ok"].is_null() {
            assert_eq!(answer["error"]["errno"], "EAGAIN", "{answer}");
            break;
        }
        taken += 1;
    }
    assert_eq!(taken, 64);
}

/// What `info` says of a port, line by line.
fn shown(card: &Card, port: u32) -> Vec<String> {
    let text = card.tell("info", &[]);
    let start = format!("  serial{port}    ");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&start));
    let first = lines.next().unwrap_or_else(|| panic!("{text}"));
    let rest = lines.take_while(|line| line.starts_with("             "));
    std::iter::once(first).chain(rest).map(|line| line[13..].to_owned()).collect()
}

#[test]
fn info_tells_people_how_a_port_does() {
    let mut card =
        Card::start_closed(&["--serial0", "unix:DIR/port,history=10", "--serial1", "tcp::0"]);
    let path = card.path("port").to_str().unwrap().to_owned();
    let expected = [
        &format!("unix:{path},history=10"),
        "nobody is connected",
        "115200 baud 5N1",
        "lines on: from the guest none; to it CTS",
        "0 bytes from the guest, 0 to it",
    ];
    assert_eq!(shown(&card, 0), expected);
    card.open(0);
    card.send(0, b"more than there is room for");
    card.write(0, LCR, 0x1f); // 8E2
    card.tell("serial", &["lines", "0", "cts=off,ri=on"]);
    card.soon("it is out", |card| card.info(0)["history_dropped"] == 17);
    let expected = [
        "nobody is connected",
        "115200 baud 8E2",
        "lines on: from the guest DTR RTS; to it RI (by hand: CTS off, RI on)",
        "27 bytes from the guest, 0 to it, 10 bytes wait for a peer, 17 bytes dropped from the history",
    ];
    assert_eq!(shown(&card, 0)[1..], expected);
    let _peer = card.connect("port");
    card.soon("it is connected", |card| card.info(0)["connected"] == true);
    assert_eq!(shown(&card, 0)[1], format!("connected: pid {}", std::process::id()));

    let address = card.info(1)["address"].as_str().unwrap().to_owned();
    assert_eq!(shown(&card, 1)[1], format!("at {address}; nobody is connected"));
    let peer = std::net::TcpStream::connect(&address).unwrap();
    card.soon("it is connected", |card| card.info(1)["connected"] == true);
    let who = peer.local_addr().unwrap();
    assert_eq!(shown(&card, 1)[1], format!("at {address}; connected: {who}"));
    assert_eq!(card.info(1)["peer"], who.to_string());
}

#[test]
fn info_has_neither_peer_nor_connection_of_a_plug_and_says_what_is_paced() {
    let card = Card::start_closed(&["--pace", "on"]);
    assert_eq!(shown(&card, 0)[..2], ["loopback", "115200 baud 5N1, paced"]);
    assert_eq!(card.info(1)["paced"], true);
    let card = Card::start_closed(&["--serial0", "pty,path=DIR/tty", "--serial1", "null"]);
    let name = std::fs::read_link(card.path("tty")).unwrap();
    assert_eq!(shown(&card, 0)[1], format!("at {}; nobody is connected", name.display()));
    assert_eq!(shown(&card, 1)[1], "connected");
}
