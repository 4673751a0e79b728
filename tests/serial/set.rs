//! `set`: what hangs on a port is exchanged while a guest has it open.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use rustix::process::{Resource, Rlimit, prlimit};

use crate::card::{CTS, Card, DCD, DSR, LSR, MSR, THRE, error, give, take};
use crate::vfio::Client;

const CARRIER: u8 = CTS | DSR | DCD;

/// `set` with `DIR` in its options; what it prints.
#[track_caller]
fn set(card: &Card, options: &[&str]) -> String {
    let options = in_directory(card, options);
    card.tell("set", &options.iter().map(String::as_str).collect::<Vec<_>>())
}

#[track_caller]
fn refused(card: &Card, options: &[&str], status: i32, words: &str) {
    let words = words.replace("DIR", card.path("").to_str().unwrap().trim_end_matches('/'));
    let options = in_directory(card, options);
    let output = card.ask("set", &options.iter().map(String::as_str).collect::<Vec<_>>());
    let text = error(&output);
    assert_eq!(output.status.code(), Some(status), "{options:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&words), "{options:?}: {text}");
}

fn in_directory(card: &Card, options: &[&str]) -> Vec<String> {
    let directory = card.path("");
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    options.iter().map(|option| option.replace("DIR", directory)).collect()
}

/// A command that waits.
fn begin(card: &Card, verb: &str, arguments: &[&str]) -> Child {
    let mut command = card.command(verb, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn spec(card: &Card, port: usize) -> String {
    card.info(port)["spec"].as_str().unwrap().to_owned()
}

#[test]
fn what_cannot_be_had_is_refused_and_all_stays_as_it_is() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port", "--serial1", "file:DIR/out"]);
    let mut peer = card.connect("port");
    card.inputs_become(0, CARRIER);
    fs::write(card.path("full"), "text").unwrap();
    let connections = fs::read_dir(format!("/proc/{}/fd", card.program().pid())).unwrap().count();
    for (options, status, words) in [
        (&[][..], 2, "required"),
        (&["vfio0"], 2, "what is to be set is missing: OPTION=VALUE"),
        (&["vfio0", "serial0"], 2, "'serial0' is no OPTION=VALUE"),
        (&["=null"], 2, "'=null' is no OPTION=VALUE"),
        (&["pace=on", "pace=off"], 2, "option 'pace' is there twice"),
        (&["vfio7", "pace=on"], 1, "ENODEV: there is no device 'vfio7'"),
        (&["xres=640"], 1, "EINVAL: type mtty-2 has no option 'xres', only serial0, serial1, pace"),
        (&["wait=on"], 1, "EINVAL: 'wait' belongs to what hangs on a port: serial0=...,wait=..."),
        (&["pace=yes"], 1, "EINVAL: pace is on or off, not 'yes'"),
        (&["serial0=modem"], 1, "EINVAL: serial0: \"modem\" is no back end"),
        (&["serial0=null", "serial1=stdio"], 1, "EINVAL: serial1: stdio can be had from the"),
        (&["serial0=crossover"], 1, "EINVAL: crossover joins both ports: one of them cannot be"),
        (&["serial0=null", "serial1=file:DIR/full"], 1, "EINVAL: serial1: DIR/full exists and is"),
        (&["serial0=null", "serial1=unix:DIR/no/port"], 1, "there is no directory DIR/no"),
        (&["serial0=unix:DIR/no,server=off"], 1, "EINVAL: serial0: cannot connect to DIR/no"),
        (&["serial0=unix:DIR/port,wait=on"], 1, "EBUSY: serial0: DIR/port is in use by this"),
        (&["serial1=unix:DIR/port,server=off"], 1, "EBUSY: serial1: DIR/port is in use by this"),
        (
            &["serial0=unix:DIR/p", "serial1=unix:DIR/p"],
            1,
            "EINVAL: serial0 and serial1 cannot both listen on DIR/p; give each a place of its own",
        ),
        (&["serial1=null,logfile=DIR/out"], 1, "EBUSY: serial1: DIR/out is in use by this device"),
        (
            &["serial0=file:out.txt"],
            1,
            "EINVAL: out.txt: for a server that runs a path begins with",
        ),
        (&["serial0=unix:port"], 1, "EINVAL: port: for a server that runs a path begins with /"),
        (&["serial0=pty,path=port"], 1, "EINVAL: port: for a server that runs a path begins with"),
        (
            &["serial0=null,logfile=log"],
            1,
            "EINVAL: log: for a server that runs a path begins with",
        ),
        (
            &["serial0=unix:DIR/p,,wait=on"],
            1,
            "EINVAL: serial0: a comma is written once here: ,wait=...",
        ),
        (&["serial1=null,,logfile=DIR/log"], 1, "serial1: a comma is written once here: ,logfile="),
        (&["serial1=unix:DIR/p,,,,wait=on"], 1, "serial1: a comma is written once here: ,wait="),
        (&["serial0=pty,path=DIR/out"], 1, "EBUSY: serial0: DIR/out is in use by this device"),
    ] {
        refused(&card, options, status, words);
    }
    let long = format!("serial0=file:/{}", "x".repeat(70_000));
    refused(&card, &[&long], 1, "EINVAL: ");
    assert_eq!((spec(&card, 0), spec(&card, 1)), {
        let path = |name| card.path(name).display().to_string();
        (format!("unix:{}", path("port")), format!("file:{}", path("out")))
    });
    // Nothing is left of what was opened on the way, and nobody has noticed.
    card.soon("nothing is left open", |card| {
        let now = fs::read_dir(format!("/proc/{}/fd", card.program().pid())).unwrap().count();
        now == connections
    });
    assert_eq!(card.read(0, MSR) & 0x0f, 0, "no line has changed");
    give(&mut peer, b"to the guest");
    assert_eq!(card.hear(0, 12), b"to the guest");
    card.send(0, b"from it");
    assert_eq!(take(&mut peer, 7), b"from it");
}

#[test]
fn a_verb_that_is_malformed_is_refused_in_words() {
    let card = Card::start(&[]);
    let mut control = UnixStream::connect(card.path("control")).unwrap();
    for (request, words) in [
        (r#"{"verb":"set"}"#, "'options' is an object of strings, one at least"),
        (r#"{"verb":"set","options":{}}"#, "'options' is an object of strings, one at least"),
        (r#"{"verb":"set","options":{"pace":true}}"#, "'options' is an object of strings"),
        (r#"{"verb":"set","options":["pace=on"]}"#, "'options' is an object of strings"),
        (r#"{"verb":"set","device":7,"options":{"pace":"on"}}"#, "'device' is a string"),
        (r#"{"verb":"set","options":{"pace":"on"},"port":0}"#, "verb 'set' takes no 'port'"),
        ("{\"verb\":\"set\",\"options\":{\"serial0\":\"null\u{fffd}\"}}", "is no back end"),
    ] {
        give(&mut control, format!("{request}\n").as_bytes());
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            answer.extend(take(&mut control, 1));
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains(r#""errno":"EINVAL""#) && answer.contains(words), "{answer}");
    }
    give(&mut control, b"{\"verb\":\"set\",\"options\":{\"serial0\":\"file:\xff\"}}\n");
    assert!(String::from_utf8(take(&mut control, 40)).unwrap().contains("error"));
    assert_eq!(spec(&card, 0), "loopback");
}

#[test]
fn a_comma_of_a_path_is_written_twice() {
    let mut card = Card::start(&[]);
    set(&card, &["serial0=unix:DIR/a,,b,,,wait=on", "serial1=file:DIR/wait=,,waits=on"]);
    card.connect("a,b,");
    card.send(1, b"text");
    card.soon("it is written", |card| fs::read(card.path("wait=,waits=on")).unwrap() == b"text");
}

#[test]
fn a_file_that_reaches_the_limit_is_full_and_the_server_goes_on() {
    let mut card = Card::start(&[]);
    let limit = Rlimit { current: Some(1000), maximum: Some(1000) };
    let pid = card.program().pid();
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    set(&card, &["serial0=file:DIR/out,history=99", "serial1=null,logfile=DIR/log"]);
    for port in 0..2 {
        card.send(port, &[b'x'; 1200]);
    }
    card.soon("all have been sent", |card| card.info(0)["history_dropped"] == 101);
    card.soon("all have been sent", |card| card.info(1)["log_lost"] == 200);
    assert_eq!(fs::read(card.path("out")).unwrap(), [b'x'; 1000]);
    assert_eq!(fs::read(card.path("log")).unwrap(), [b'x'; 1000]);
}

#[test]
fn a_loop_gives_way_to_a_socket_and_that_to_another() {
    let mut card = Card::start(&[]);
    card.inputs_become(0, CARRIER);
    card.send(0, b"loop");
    assert_eq!(card.hear(0, 4), b"loop");
    assert_eq!(set(&card, &["serial0=unix:DIR/one"]), "");
    card.inputs_become(0, CTS);
    let mut one = card.connect("one");
    card.inputs_become(0, CARRIER);
    card.send(0, b"to one");
    assert_eq!(take(&mut one, 6), b"to one");
    give(&mut one, b"of one");
    assert_eq!(card.hear(0, 6), b"of one");

    assert_eq!(set(&card, &["vfio0", "serial0=unix:DIR/two"]), "");
    assert!(!card.path("one").exists());
    assert_eq!(one.read(&mut [0]).unwrap(), 0, "it has gone");
    let mut two = card.connect("two");
    card.inputs_become(0, CARRIER);
    card.send(0, b"to two");
    assert_eq!(take(&mut two, 6), b"to two");
    // The port is the same one: its counters go on, and its other port has seen nothing.
    assert_eq!(card.info(0)["bytes_sent"], 16);
    assert_eq!(card.info(1)["bytes_sent"], 0);

    set(&card, &["serial0=loopback"]);
    assert!(!card.path("two").exists());
    card.inputs_become(0, CARRIER);
    card.send(0, b"loop");
    assert_eq!(card.hear(0, 4), b"loop");
}

#[test]
fn a_terminal_is_found_by_what_the_command_prints() {
    let mut card = Card::start(&["--serial0", "null"]);
    let out = set(&card, &["serial0=pty", "serial1=tcp::0"]);
    let lines: Vec<_> = out.lines().collect();
    let terminal = lines[0].strip_prefix("port 0 is at ").unwrap();
    let address = lines[1].strip_prefix("port 1 is at ").unwrap();
    assert_eq!(card.info(0)["address"], terminal);
    let mut terminal = fs::File::options().read(true).write(true).open(terminal).unwrap();
    card.inputs_become(0, CARRIER);
    give(&mut terminal, b"typed");
    assert_eq!(card.hear(0, 5), b"typed");
    std::net::TcpStream::connect(address).unwrap();
    // What is there already is not made anew.
    assert_eq!(set(&card, &["serial0=pty"]), format!("{}\n", lines[0]));
    give(&mut terminal, b"again");
    assert_eq!(card.hear(0, 5), b"again");
}

#[test]
fn the_guest_sees_a_line_that_drops_and_comes() {
    let mut card = Card::start(&["--serial0", "null"]);
    card.inputs_become(0, CARRIER);
    card.read(0, MSR);
    set(&card, &["serial0=file:DIR/out"]);
    // One reading has it off, or has the changes.
    let first = card.read(0, MSR);
    assert_eq!(first & 0x0b, 0x0b, "{first:#x}: deltas of CTS, DSR and DCD");
    card.inputs_become(0, CARRIER);
    card.send(0, b"text");
    card.soon("it is in the file", |card| fs::read(card.path("out")).unwrap() == b"text");
    // Nobody was there, and nobody is.
    set(&card, &["serial0=unix:DIR/one"]);
    card.inputs_become(0, CTS);
    card.read(0, MSR);
    set(&card, &["serial0=unix:DIR/two"]);
    assert_eq!(card.read(0, MSR), CTS);
}

#[test]
fn nothing_of_what_the_guest_has_sent_is_lost_while_there_is_somewhere_to_go() {
    let mut card =
        Card::start(&["--serial0", "unix:DIR/one", "--serial1", "unix:DIR/held,wait=on"]);
    // One waits in the history; the other in the transmitter, and goes nowhere until somebody comes.
    card.send(0, b"history ");
    let sent = {
        let mut sent = Vec::new();
        card.soon("the transmitter is full", |card| {
            let chunk = [b'0' + u8::try_from(sent.len() / 16 % 10).unwrap(); 16];
            let taken = card.transmit(1, &chunk);
            sent.extend_from_slice(&chunk[..taken]);
            taken == 0 && card.read(1, LSR) & THRE == 0
        });
        sent
    };
    card.soon("it waits", |card| card.info(0)["bytes_pending"] == 8);
    set(&card, &["serial0=unix:DIR/new", "serial1=file:DIR/out"]);
    card.send(0, b"and after");
    let mut peer = card.connect("new");
    assert_eq!(take(&mut peer, 17), b"history and after");
    card.soon("all of it is there", |card| fs::read(card.path("out")).unwrap().len() >= sent.len());
    assert_eq!(fs::read(card.path("out")).unwrap(), sent);
    assert_eq!(card.info(0)["history_dropped"], 0);
    // Of what goes to a plug instead, nobody hears.
    drop(peer);
    card.inputs_become(0, CTS);
    card.send(0, b"nobody");
    card.soon("it waits", |card| card.info(0)["bytes_pending"] == 6);
    set(&card, &["serial0=loopback"]);
    assert_eq!(card.info(0)["history_dropped"], 6);
}

#[test]
fn who_waits_for_the_guest_goes_on_with_the_new_end() {
    let mut card = Card::start(&["--serial0", "unix:DIR/one"]);
    let mut peer = card.connect("one");
    card.send(0, b"log");
    assert_eq!(take(&mut peer, 3), b"log");
    let expecting = begin(&card, "expect", &["0", "login: ", "--timeout", "30s"]);
    let sending = begin(&card, "send", &["0", r"root\n", "--timeout", "30s"]);
    card.soon("it waits for the guest", |card| {
        let waiting = card.info(0)["bytes_waiting"].as_u64().unwrap();
        // A FIFO's length is with the guest already.
        waiting == 0 && card.read(0, LSR) & 1 == 1
    });
    set(&card, &["serial0=unix:DIR/two"]);
    assert_eq!(card.hear(0, 5), b"root\n");
    card.send(0, b"in: ");
    let expected = expecting.wait_with_output().unwrap();
    assert_eq!((error(&expected).as_str(), &*expected.stdout), ("", &b"login: \n"[..]));
    assert!(sending.wait_with_output().unwrap().status.success());
}

#[test]
fn input_that_was_read_ahead_is_the_guests() {
    let mut card = Card::start(&["--serial0", "unix:DIR/one"]);
    let mut peer = card.connect("one");
    card.inputs_become(0, CARRIER);
    give(&mut peer, &[b'x'; 100]);
    card.soon("it is read ahead", |card| card.info(0)["bytes_waiting"] == 84);
    set(&card, &["serial0=null"]);
    assert_eq!(card.hear(0, 100), [b'x'; 100]);
}

#[test]
fn ports_are_joined_and_parted_together() {
    let mut card = Card::start(&[]);
    set(&card, &["serial0=crossover"]);
    assert_eq!((spec(&card, 0), spec(&card, 1)), ("crossover".into(), "crossover".into()));
    (0..2).for_each(|port| card.inputs_become(port, CARRIER));
    card.send(0, b"across");
    assert_eq!(card.hear(1, 6), b"across");
    // The other one is joined to it no more either.
    set(&card, &["serial0=null"]);
    assert_eq!((spec(&card, 0), spec(&card, 1)), ("null".into(), "loopback".into()));
    (0..2).for_each(|port| card.inputs_become(port, CARRIER));
    card.send(1, b"back");
    assert_eq!(card.hear(1, 4), b"back");
    set(&card, &["serial0=crossover", "serial1=crossover"]);
    refused(&card, &["serial1=null"], 1, "crossover joins both ports");
    set(&card, &["serial0=loopback", "serial1=null"]);
    assert_eq!((spec(&card, 0), spec(&card, 1)), ("loopback".into(), "null".into()));
}

#[test]
fn a_line_is_paced_and_let_loose_again() {
    let mut card = Card::start(&["--serial0", "null"]);
    set(&card, &["pace=on"]);
    assert_eq!(
        (card.info(0)["paced"].clone(), card.info(1)["paced"].clone()),
        (true.into(), true.into())
    );
    // A character takes 0.2 s at 50 baud.
    for (register, value) in [(3, 0x83), (0, 0x00), (1, 0x09), (3, 0x03)] {
        card.write(0, register, value);
    }
    (0..16).for_each(|_| card.write(0, 0, b'x'));
    assert_eq!(card.read(0, LSR) & THRE, 0, "the transmitter is at it");
    let before = card.info(0)["bytes_sent"].as_u64().unwrap();
    assert!(before < 16, "{before}");
    set(&card, &["pace=off"]);
    card.soon("all are sent", |card| card.read(0, LSR) & THRE != 0);
    assert_eq!(card.info(0)["bytes_sent"], 16);
}

#[test]
fn an_end_that_connects_once_connects_anew() {
    let listener_at =
        |card: &Card| std::os::unix::net::UnixListener::bind(card.path("far")).unwrap();
    let mut card = Card::start(&[]);
    let listener = listener_at(&card);
    set(&card, &["serial0=unix:DIR/far,server=off"]);
    let (first, _) = listener.accept().unwrap();
    card.inputs_become(0, CARRIER);
    drop(first);
    card.inputs_become(0, CTS);
    set(&card, &["serial0=unix:DIR/far,server=off"]);
    let (mut second, _) = listener.accept().unwrap();
    card.inputs_become(0, CARRIER);
    card.send(0, b"hello");
    assert_eq!(take(&mut second, 5), b"hello");
}

#[test]
fn an_address_that_a_device_connects_to_is_its_own_to_leave_first() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp:{}", listener.local_addr().unwrap());
    let connected = format!("serial0={place},server=off");
    let card = Card::start(&[]);
    set(&card, &[&connected]);
    let words = format!("EBUSY: serial0: {} is in use by this device itself", &place[4..]);
    refused(&card, &[&format!("serial0={place}")], 1, &words);
    refused(&card, &[&format!("serial1={place}")], 1, &words.replace("serial0", "serial1"));
    // Two may connect to it.
    set(&card, &[&connected.replace("serial0", "serial1")]);
    drop(listener);
}

#[test]
fn ends_are_exchanged_under_traffic_and_without_a_guest() {
    let mut card = Card::start(&["--serial0", "loopback", "--serial1", "null"]);
    for round in 0..20 {
        let end = if round % 2 == 0 { "serial1=unix:DIR/port" } else { "serial1=null" };
        let setting = begin(&card, "set", &[&end.replace("DIR", card.path("").to_str().unwrap())]);
        for _ in 0..10 {
            card.send(0, b"0123456789abcdef");
            assert_eq!(card.hear(0, 16), b"0123456789abcdef");
            card.send(1, b"x");
        }
        let output = setting.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", error(&output));
        assert_eq!(card.path("port").exists(), round % 2 == 0);
    }
    card.change_guests(|card| drop(set(card, &["serial1=unix:DIR/port"])));
    card.open(1);
    let mut peer = card.connect("port");
    card.send(1, b"here");
    let mut heard = Vec::new();
    while !heard.ends_with(b"here") {
        heard.extend(take(&mut peer, 1));
    }
}

#[test]
fn a_guest_that_floods_holds_up_no_exchange() {
    let mut card = Card::start(&["--serial0", "null"]);
    let path = card.program().path();
    let stop = std::sync::atomic::AtomicBool::new(false);
    // The guest's place is another's for that long.
    card.change_guests(|card| {
        let mut flood = Client::negotiated(&path);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    flood.write(0, 0, b"x");
                }
                drop(flood);
            });
            for _ in 0..5 {
                set(card, &["serial0=unix:DIR/port"]);
                set(card, &["serial0=null"]);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
}
