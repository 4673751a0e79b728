//! `send` and `expect`.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::card::{Card, LSR, PATIENCE, error};
use crate::program::Program;
use crate::vfio::Client;

#[test]
fn wrong_words_are_refused() {
    let card = Card::start(&["--serial0", "null"]);
    for (verb, arguments, status, words) in [
        ("expect", &["0", "(", "--timeout", "1s"][..], 2, "no regular expression: unclosed group"),
        ("expect", &["0", "x", "--timeout", "1"], 2, "a time is a number with its unit"),
        ("expect", &["0", ""], 2, "it matches where nothing has come; say what is to come"),
        ("expect", &["0", "x*"], 2, "it matches where nothing has come"),
        ("expect", &["0", "$"], 2, "it matches where nothing has come"),
        ("expect", &["7", "x"], 1, "EINVAL: vfio0 has no port 7, only 0 to 1"),
        ("send", &["0", r"\q"], 2, r"'\q' is no escape: those are \n \r"),
        ("send", &["0"], 2, "required"),
    ] {
        let output = card.ask(verb, arguments);
        let text = error(&output);
        assert_eq!(output.status.code(), Some(status), "{verb} {arguments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(words), "{verb} {arguments:?}: {text}");
    }
}

#[test]
fn a_text_that_came_before_is_found_and_found_once() {
    let mut card = Card::start(&["--serial0", "null"]);
    card.send(0, b"boot\r\nlogin: ");
    assert_eq!(card.tell("expect", &["0", "^login: $", "--timeout", "20s"]), "login: \n");
    let output = card.ask("expect", &["0", "login: ", "--timeout", "50ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        error(&output),
        "mdev-user: nothing that matches 'login: ' came from port 0 within 50ms: nothing has come since the last match; see \
         what the guest does, or give it more --timeout\n"
    );
}

#[test]
fn what_comes_between_two_calls_is_not_missed() {
    let mut card = Card::start(&["--serial0", "null"]);
    card.send(0, b"one two ");
    assert_eq!(card.tell("expect", &["0", "one"]), "one\n");
    card.send(0, b"three\r\n");
    for word in ["two", "three"] {
        assert_eq!(card.tell("expect", &["0", word]), format!("{word}\n"));
    }
    // The port's own: the other one has sent nothing, and nothing of this is its.
    let output = card.ask("expect", &["1", "one", "--timeout", "0ms"]);
    assert!(error(&output).contains("nothing came at all"), "{}", error(&output));
}

#[test]
fn a_time_out_says_what_came_instead_and_it_can_be_matched_still() {
    let mut card = Card::start(&["--serial0", "null"]);
    card.send(0, b"Kernel panic\r\n\x1b[31m");
    let output = card.ask("expect", &["0", "login:", "--timeout", "100ms"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let expected = r#"within 100ms: what came is "Kernel panic\r\n\x1b[31m""#;
    assert!(error(&output).trim_end().ends_with(expected), "{}", error(&output));
    assert_eq!(card.tell("expect", &["0", "panic"]), "panic\n");
}

#[test]
fn it_waits_for_a_text_that_comes_in_pieces() {
    let mut card = Card::start(&["--serial0", "null"]);
    let mut command = card.command("expect", &["0", "a+b", "--timeout", "20s"]);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for byte in b"xaab" {
        card.send(0, &[*byte]);
        card.tell("info", &[]);
    }
    let output = waiting.wait_with_output().unwrap();
    assert_eq!((error(&output).as_str(), output.stdout), ("", b"aab\n".to_vec()));
}

#[test]
fn more_than_is_kept_is_counted() {
    let mut card = Card::start(&["--serial0", "null"]);
    card.send(0, &[b'x'; 70_000]);
    let output = card.ask("expect", &["0", "y", "--timeout", "0ms"]);
    let text = error(&output);
    assert!(text.contains("65536 bytes came, at last \"xxx"), "{text}");
    assert!(text.contains("(4464 bytes before that are not kept any more)"), "{text}");
}

#[test]
fn a_sent_text_arrives_with_its_escapes_and_the_command_waits_for_that() {
    let mut card = Card::start(&["--serial0", "null"]);
    let mut command = card.command("send", &["0", r"ls\n\x00\377 %s", "--timeout", "20s"]);
    let sending = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(card.hear(0, 8), b"ls\n\x00\xff %s");
    let output = sending.wait_with_output().unwrap();
    assert_eq!((error(&output).as_str(), output.status.code()), ("", Some(0)));
}

#[test]
fn standard_input_is_sent_as_it_is() {
    let mut card = Card::start(&["--serial0", "loopback", "--serial1", "null"]);
    let bytes: Vec<u8> =
        (0..20_000u32).map(|number| ((number * 7) >> 2).to_le_bytes()[0]).collect();
    std::fs::write(card.path("script"), &bytes).unwrap();
    let mut command = card.command("send", &["1", "-"]);
    command.stdin(std::fs::File::open(card.path("script")).unwrap());
    let sending = command.stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(card.hear(1, 20_000), bytes);
    assert!(sending.wait_with_output().unwrap().status.success());
}

#[test]
fn standard_input_may_take_longer_than_the_guest_is_given() {
    let mut card = Card::start(&["--serial0", "null"]);
    let mut command = card.command("send", &["0", "-", "--timeout", "2s"]);
    let mut sending = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = sending.stdin.take().unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1100));
        input.write_all(b"a piece of it, longer than a FIFO").unwrap();
        assert_eq!(card.hear(0, 33), b"a piece of it, longer than a FIFO");
    }
    std::thread::sleep(Duration::from_millis(100));
    drop(input);
    let output = sending.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", error(&output));
}

#[test]
fn a_pattern_is_of_bytes_whatever_they_stand_for() {
    let mut card = Card::start(&["--serial0", "null"]);
    card.send(0, b"caf\xe9 ok \xff\xfe \xc3\xa4 end");
    assert_eq!(card.ask("expect", &["0", "caf.*?ok"]).stdout, b"caf\xe9 ok\n");
    assert_eq!(card.ask("expect", &["0", r"\xff\xfe"]).stdout, b"\xff\xfe\n");
    assert_eq!(card.ask("expect", &["0", "\u{e4}"]).stdout, b"\xc3\xa4\n");
}

#[test]
fn a_break_comes_after_what_was_sent_before_it() {
    let mut card = Card::start(&["--serial0", "null"]);
    let mut command = card.command("send", &["0", &"x".repeat(40), "--timeout", "20s"]);
    let sending = command.stderr(Stdio::piped()).spawn().unwrap();
    card.soon("24 characters wait", |card| card.info(0)["bytes_waiting"] == 24);
    card.tell("serial", &["break", "0"]);
    card.tell("serial", &["inject", "0", "parity"]);
    let mut received = Vec::new();
    card.soon("all is there", |card| {
        received.extend(card.receive(0));
        received.len() >= 42
    });
    let told: Vec<_> = received.iter().map(|(status, byte)| (status & 0x1e, *byte)).collect();
    assert_eq!(told[..40], [(0, b'x'); 40]);
    assert_eq!(told[40..], [(0x18, 0), (0x04, 0)]);
    assert!(sending.wait_with_output().unwrap().status.success());
}

/// Has the guest print without a pause while `what` is done.
fn while_it_prints(card: &mut Card, mut is_done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < PATIENCE, "it does not end while the guest prints");
        card.send(0, b"printing ");
    }
}

#[test]
fn its_time_passes_also_while_the_guest_prints_without_a_pause() {
    let mut card = Card::start(&["--serial0", "null"]);
    let mut command = card.command("expect", &["0", "never", "--timeout", "500ms"]);
    let mut waiting = command.stderr(Stdio::piped()).spawn().unwrap();
    while_it_prints(&mut card, || waiting.try_wait().unwrap().is_some());
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).starts_with("mdev-user: nothing that matches 'never' came from port 0"));
}

#[test]
fn who_is_killed_while_the_guest_prints_without_a_pause_leaves_nothing_behind() {
    let mut card = Card::start(&["--serial0", "null"]);
    let mut waiting: Vec<_> = (0..16)
        .map(|_| card.command("expect", &["0", "never", "--timeout", "60s"]).spawn().unwrap())
        .collect();
    let control = card.path("control");
    // 16 connections are all that there can be.
    let answers = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
        command.arg("info").arg("-c").arg(&control).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    while_it_prints(&mut card, || !answers());
    for command in &mut waiting {
        command.kill().unwrap();
        command.wait().unwrap();
    }
    while_it_prints(&mut card, answers);
}

#[test]
fn a_server_with_too_many_connections_is_waited_for() {
    let mut card = Card::start(&["--serial0", "null"]);
    card.send(0, b"here");
    let control = card.path("control");
    let held: Vec<_> = (0..16).map(|_| UnixStream::connect(&control).unwrap()).collect();
    let late = card.ask("expect", &["0", "here", "--timeout", "100ms"]);
    assert!(error(&late).contains("EAGAIN: 16 connections are open already"), "{}", error(&late));
    let mut command = card.command("expect", &["0", "here", "--timeout", "20s"]);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    drop(held);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"here\n", "{}", error(&output));
}

#[test]
fn what_the_guest_does_not_take_is_withdrawn_and_said() {
    let mut card = Card::start(&["--serial0", "null"]);
    let output = card.ask("send", &["0", &"x".repeat(40), "--timeout", "100ms"]);
    assert_eq!(output.status.code(), Some(1));
    let expected =
        "mdev-user: the guest has taken 16 of 40 bytes within 100ms, the rest is withdrawn; ";
    assert!(error(&output).starts_with(expected), "{}", error(&output));
    assert_eq!(card.hear(0, 16), [b'x'; 16]);
    assert_eq!(card.read(0, LSR) & 1, 0);
}

#[test]
fn a_server_that_does_not_listen_yet_is_waited_for_until_the_time_out() {
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    let expect = |timeout: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
        command.arg("expect").arg("-c").arg(&control).args(["0", "^up$", "--timeout", timeout]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let output = expect("100ms").wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(error(&output).contains("/control: there is none; has the server been started"));

    let mut waiting = expect("20s");
    std::thread::sleep(Duration::from_millis(200));
    assert!(waiting.try_wait().unwrap().is_none(), "it does not wait");
    let options = ["--serial0", "null", "--control-path", control.to_str().unwrap()];
    let program = Program::serve_with("mtty-1", &options);
    let mut guest = Client::negotiated(&program.path());
    b"up".iter().for_each(|byte| guest.write(0, 0, &[*byte]));
    let output = waiting.wait_with_output().unwrap();
    assert_eq!((error(&output).as_str(), output.stdout), ("", b"up\n".to_vec()));
}
