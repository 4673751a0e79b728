#![cfg(test)]
//! An end that connects to others.

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use chardev::Event::{Connected, Disconnected};

use support::{Port, open};

#[test]
fn who_must_be_there_is_missed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peer");
    let text = format!("unix:{},server=off", path.display());
    let refusal = open(&text).unwrap_err().to_string();
    assert!(refusal.contains("say reconnect-ms=N to go on trying"), "{refusal}");
    assert!(refusal.contains(path.to_str().unwrap()), "{refusal}");
    // A socket that nobody listens on is nobody too.
    drop(UnixListener::bind(&path).unwrap());
    assert!(open(&text).is_err());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusal = open(&format!("tcp:{free},server=off")).unwrap_err().to_string();
    assert!(refusal.contains(&free.to_string()), "{refusal}");
}

#[test]
fn without_reconnect_it_connects_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut port = Port::open(&format!("tcp:{address},server=off"));
    assert!(port.chardev.is_connected());
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello").unwrap();
    port.until("input", |port| port.input == b"hello");
    drop(peer);
    port.until("gone", |port| !port.chardev.is_connected());
    port.send(b"kept");
    port.during(Duration::from_millis(50));
    assert_eq!((port.chardev.pending(), port.chardev.next_timer()), (4, None));
    assert_eq!(port.events, [Connected, Disconnected]);
}

#[test]
fn with_reconnect_it_comes_when_there_is_somebody_and_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peer");
    let mut port = Port::open(&format!("unix:{},reconnect-ms=5", path.display()));
    port.send(b"early ");
    port.during(Duration::from_millis(50));
    assert!(port.turns < 30 && port.events.is_empty(), "{} turns", port.turns);
    let listener = UnixListener::bind(&path).unwrap();
    for _ in 0..3 {
        port.until("connected", |port| port.chardev.is_connected());
        let (mut peer, _) = listener.accept().unwrap();
        port.send(b"late");
        let mut found = [0; 10];
        peer.read_exact(&mut found).unwrap();
        assert_eq!(&found, b"early late");
        peer.write_all(b"!").unwrap();
        drop(peer);
        port.until("gone", |port| !port.chardev.is_connected());
        port.send(b"early ");
    }
    assert_eq!(port.input, b"!!!");
    assert_eq!(port.chardev.dropped(), 0);
}

#[test]
fn a_tcp_peer_that_refuses_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut port = Port::open(&format!("tcp:{address},reconnect-ms=5"));
    port.during(Duration::from_millis(50));
    assert!(port.events.is_empty());
    let listener = TcpListener::bind(address).unwrap();
    port.until("connected", |port| port.chardev.is_connected());
    let (mut peer, _) = listener.accept().unwrap();
    port.send(b"here");
    let mut found = [0; 4];
    peer.read_exact(&mut found).unwrap();
    assert_eq!(&found, b"here");
}

#[test]
fn two_ends_talk_to_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peer");
    let mut one = Port::open(&format!("unix:{}", path.display()));
    let mut other = Port::open(&format!("unix:{},server=off", path.display()));
    one.send(b"ping");
    other.send(b"pong");
    one.until("both", |one| {
        other.turn(Duration::from_millis(1));
        one.input == b"pong" && other.input == b"ping"
    });
}
