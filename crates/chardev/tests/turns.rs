#![cfg(test)]
//! One turn of the event loop: how much it does, and what is seen without waiting for it.

mod support;

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use chardev::Event::{Connected, Disconnected};

use support::{PATIENCE, Port};

fn connect(port: &mut Port) -> TcpStream {
    let client = TcpStream::connect(port.chardev.address().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Waits until an event loop would be woken, and does nothing then.
fn until_work(port: &Port) {
    let end = Instant::now() + PATIENCE;
    while !port.has_work() {
        assert!(Instant::now() < end, "nothing happens: {:?}", port.chardev);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn of_a_long_history_one_turn_sends_a_quarter_of_a_mebibyte() {
    const HISTORY: usize = 4 << 20;
    let mut port = Port::open(&format!("tcp::0,history={HISTORY}"));
    port.send(&vec![0; HISTORY]);
    let _client = connect(&mut port);
    // Linux takes some MiB of it without anybody reading.
    while port.chardev.pending() == HISTORY {
        until_work(&port);
        port.chardev.ready(0, true, false);
    }
    let left = port.chardev.pending();
    assert!(left >= HISTORY - (256 << 10), "{left} left");
    // It goes on by itself.
    port.until("more", |port| port.chardev.pending() < left);
}

#[test]
fn what_is_sent_after_a_client_has_gone_is_for_the_next_also_before_a_turn_has_told() {
    for half in [true, false] {
        let mut port = Port::open("tcp::0");
        let client = connect(&mut port);
        port.until("connected", |port| port.chardev.is_connected());
        assert!(!port.has_work());
        if half {
            client.shutdown(Shutdown::Write).unwrap();
        } else {
            drop(client);
        }
        until_work(&port);
        port.send(b"late");
        assert_eq!(port.chardev.pending(), 4);
        assert_eq!(port.events, [Connected, Disconnected]);
    }
}

#[test]
fn what_nobody_took_from_one_end_comes_first_at_its_successor_and_in_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    for (after, expected, dropped) in [("", "first second", 0), (",history=9", "st second", 3)] {
        let mut before = Port::open("tcp::0");
        before.send(b"first ");
        let text = format!("tcp::0{after},logfile={},logappend=off", log.display());
        let mut port = Port::open(&text);
        let address = before.chardev.address().unwrap();
        port.chardev.succeed(before.chardev);
        assert!(TcpStream::connect(address).is_err(), "it is closed");
        assert_eq!(port.chardev.pending(), 6);
        port.send(b"second");
        assert_eq!(port.chardev.dropped(), dropped);
        let mut client = connect(&mut port);
        port.until("it is sent", |port| port.chardev.pending() == 0);
        let mut bytes = vec![0; expected.len()];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(std::fs::read(&log).unwrap(), b"second");
    }
}

#[test]
fn a_successor_that_has_a_peer_hands_it_on_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let mut before = Port::open("tcp::0");
    before.send(b"first ");
    // There is no history that it could be put into.
    let mut port = Port::open(&format!("file:{},history=0", path.display()));
    port.chardev.succeed(before.chardev);
    port.send(b"second");
    assert_eq!(std::fs::read(&path).unwrap(), b"first second");
    assert_eq!((port.chardev.pending(), port.chardev.dropped()), (0, 0));
}

#[test]
fn a_long_history_is_handed_on_in_turns_to_a_successor_that_has_a_peer() {
    const HISTORY: usize = 4 << 20;
    const A_TURN: usize = 256 << 10;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    let written = || usize::try_from(path.metadata().unwrap().len()).unwrap();
    let history: Vec<_> = (0..HISTORY).map(|at| (at >> 8) as u8).collect();
    let mut before = Port::open(&format!("tcp::0,history={HISTORY}"));
    before.send(&history);
    // Less than it would hold itself.
    let mut port = Port::open(&format!("file:{},history=9", path.display()));
    port.chardev.succeed(before.chardev);
    assert!((1..=A_TURN).contains(&written()), "{} written at once", written());
    assert_eq!(written() + port.chardev.pending(), HISTORY);
    port.send(b"and after");
    assert!(written() <= 2 * A_TURN, "{} written at once", written());
    // It goes on by itself.
    port.until("all is written", |port| port.chardev.pending() + port.output.len() == 0);
    assert_eq!(port.chardev.dropped(), 0);
    assert!(std::fs::read(&path).unwrap() == [&history[..], b"and after"].concat());
}

#[test]
fn of_a_long_history_a_successor_without_a_peer_keeps_what_its_own_holds() {
    for wait in ["", ",wait=on"] {
        let mut before = Port::open("tcp::0");
        before.send(b"first ");
        let mut port = Port::open(&format!("tcp::0,history=4{wait}"));
        port.chardev.succeed(before.chardev);
        assert_eq!((port.chardev.pending(), port.chardev.dropped()), (4, 2));
        let mut client = connect(&mut port);
        port.until("it is sent", |port| port.chardev.pending() == 0);
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"rst ");
    }
}
