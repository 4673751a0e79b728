//! Those who ask the control socket and do not wait for the answer.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use crate::card::Card;

/// Threads of the program that serve somebody at the control socket.
fn connections(card: &mut Card) -> usize {
    let pid = card.program().pid().as_raw_nonzero();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = threads.filter_map(|it| fs::read_to_string(it.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "control client").count()
}

#[test]
fn whoever_is_killed_while_it_waits_leaves_nothing_behind() {
    let mut card = Card::start(&["--serial0", "null"]);
    let text = "x".repeat(100);
    for arguments in [["expect", "0", "never"], ["send", "0", &text]] {
        let mut command = card.command(arguments[0], &arguments[1..]);
        let mut child = command.args(["--timeout", "10m"]).stderr(Stdio::null()).spawn().unwrap();
        card.soon("the server serves it", |card| connections(card) == 1);
        if arguments[0] == "send" {
            card.soon("the text waits", |card| card.info(0)["bytes_waiting"] != 0);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        card.soon("the server has noticed", |card| connections(card) == 0);
    }
    // The rest is withdrawn: the guest has no more than its FIFO holds.
    assert_eq!(card.info(0)["bytes_waiting"], 0);
    assert_eq!(card.hear(0, 16), [b'x'; 16]);
    assert_eq!(card.receive(0), []);
}

#[test]
fn whoever_is_killed_while_it_waits_uses_no_match_up() {
    let mut card = Card::start(&["--serial0", "null"]);
    for _ in 0..5 {
        let mut child = card.command("expect", &["0", "login: "]).spawn().unwrap();
        card.soon("the server serves it", |card| connections(card) == 1);
        child.kill().unwrap();
        child.wait().unwrap();
        card.send(0, b"login: ");
        assert_eq!(card.tell("expect", &["0", "login: "]), "login: \n");
    }
}

#[test]
fn whoever_says_all_at_once_and_no_more_has_its_answers() {
    let mut card = Card::start(&["--serial0", "null"]);
    let mut socket = UnixStream::connect(card.path("control")).unwrap();
    socket
        .write_all(
            b"{\"verb\":\"expect\",\"port\":0,\"regex\":\"b\",\"timeout_ms\":20000}\n\
              {\"verb\":\"send\",\"port\":0,\"text\":\"0123456789abcdefghij\",\"timeout_ms\":20000}\n",
        )
        .unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    card.soon("it waits", |card| connections(card) == 1);
    card.send(0, b"abc");
    let mut answers = BufReader::new(socket);
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert!(line.contains(r#""match":"b""#), "{line}");
    assert_eq!(card.hear(0, 20), b"0123456789abcdefghij");
    let mut rest = String::new();
    answers.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(r#""sent":20"#), "{rest}");
}

/// A place where nobody is let in any more, and those that stand before it.
fn full() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let peers = std::iter::from_fn(|| connect().ok()).collect();
    (listener, peers)
}

/// Whether somebody is about to connect to that port.
fn is_tried(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    sockets.lines().any(|line| line.contains(&format!(" 0100007F:{port:04X} 02 ")))
}

#[test]
fn whoever_leaves_while_an_end_is_opened_or_before_its_turn_has_changed_nothing() {
    let mut card = Card::start(&["--serial0", "null"]);
    let (listener, peers) = full();
    let port = listener.local_addr().unwrap().port();
    let out = card.path("out");
    let ask = |card: &mut Card, option: &str| {
        let mut control = UnixStream::connect(card.path("control")).unwrap();
        let options = serde_json::json!({ "serial0": option });
        writeln!(control, "{}", serde_json::json!({ "verb": "set", "options": options })).unwrap();
        control
    };
    let first = ask(&mut card, &format!("tcp:127.0.0.1:{port},server=off"));
    card.soon("it is connecting", |_| is_tried(port));
    // It is not its turn.
    let second = ask(&mut card, &format!("file:{}", out.display()));
    card.soon("the server serves both", |card| connections(card) == 2);
    drop((first, second));
    // Room: what was asked for could be had.
    peers.iter().for_each(|_| drop(listener.accept().unwrap()));
    drop(listener.accept().unwrap());
    card.soon("both have been told", |card| connections(card) == 0);
    assert_eq!(card.info(0)["spec"], "null");
    assert!(!out.exists(), "nobody wanted it");
}
