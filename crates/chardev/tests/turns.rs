#![cfg(test)]
//! One turn of the event loop: how much it does, and what is seen without waiting for it.

mod support;

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
