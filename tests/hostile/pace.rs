//! Clients that take their time, and those that leave the server none.

use std::thread;
use std::time::{Duration, Instant};

use crate::arena::{Arena, in_one_line, pour};
use crate::bodies::{CONFIG, SCR};
use crate::client::command::{REGION_READ, REGION_WRITE, VERSION};
use crate::client::errno::EINVAL;
use crate::client::{NO_REPLY, QEMU_CAPABILITIES, access, message, version};
use crate::managed::soon;

const LONG: Duration = Duration::from_secs(1);

/// Waits for a line of the log, which is there before the attacker has left.
fn is_told(arena: &Arena, words: &str) {
    soon(words, || arena.log().iter().any(|line| line.contains(words)));
}

#[test]
fn a_client_that_never_reads() {
    let arena = Arena::start();
    let log = arena.withstands("takes no answers", |arena| {
        let mut deaf = arena.client();
        deaf.socket.set_nonblocking(true).unwrap();
        let ask = message(1, REGION_READ, 0, &access(CONFIG, 0, 256, &[]));
        let start = Instant::now();
        while start.elapsed() < LONG {
            if !pour(&mut deaf, &ask.repeat(64)) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        is_told(arena, "takes no answers");
    });
    in_one_line(&log);
}

#[test]
fn a_byte_a_second_before_version() {
    let arena = Arena::start();
    let log = arena.withstands("has not said VERSION for 5s", |arena| {
        let mut slow = arena.connect();
        let hello = message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES));
        for byte in &hello[..4] {
            slow.send_raw(&[*byte]);
            thread::sleep(LONG);
        }
        slow.is_closed_within(Duration::from_secs(10));
    });
    in_one_line(&log);
}

#[test]
fn a_byte_a_second_afterwards() {
    let arena = Arena::start();
    let log = arena.withstands("of a message's 33 bytes, and not the rest", |arena| {
        let mut slow = arena.client();
        let store = message(1, REGION_WRITE, 0, &access(0, SCR, 1, &[0x77]));
        let (begin, rest) = store.split_at(23);
        slow.send_raw(&begin[..16]);
        for byte in &begin[16..] {
            slow.send_raw(&[*byte]);
            thread::sleep(LONG);
        }
        // It is waited for all the same, and nobody else is held up.
        slow.send_raw(rest);
        slow.receive().unwrap().ok();
        assert_eq!(slow.read(0, SCR, 1), [0x77]);
    });
    in_one_line(&log);
}

#[test]
fn floods_of_stores_of_loads_and_of_nonsense() {
    let arena = Arena::start();
    let store = message(1, REGION_WRITE, NO_REPLY, &access(0, SCR, 1, &[1]));
    let load = message(1, REGION_READ, 0, &access(0, SCR, 1, &[]));
    let unknown = message(1, 999, 0, &[]);
    let bad = message(1, REGION_READ, NO_REPLY, &access(99, 0, 1, &[]));
    for (one, told) in [
        (&store, "is using the device"),
        (&load, "is using the device"),
        (&unknown, "refused command 999: command 999 is unknown"),
        (&bad, "refused command 9: 1 bytes at 0x0 are not within region 99"),
    ] {
        let log = arena.withstands(told, |arena| {
            let mut client = arena.client();
            let mut reader = client.socket.try_clone().unwrap();
            let burst = one.repeat(1000);
            let start = Instant::now();
            thread::scope(|scope| {
                scope.spawn(|| while std::io::copy(&mut reader, &mut std::io::sink()).is_err() {});
                while start.elapsed() < LONG {
                    client.send_raw(&burst);
                }
                client.socket.shutdown(std::net::Shutdown::Both).unwrap();
            });
        });
        in_one_line(&log);
    }
}

#[test]
fn storms_of_clients_that_say_nothing() {
    let arena = Arena::start();
    arena.withstands("left without a VERSION", |arena| {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while start.elapsed() < LONG {
                        drop(arena.connect());
                    }
                });
            }
        });
    });
}

#[test]
fn five_hundred_at_a_time_who_say_nothing() {
    let arena = Arena::start();
    arena.withstands("has not said VERSION and makes room", |arena| {
        let all: Vec<_> = (0..500).map(|_| arena.connect()).collect();
        is_told(arena, "makes room");
        drop(all);
    });
}

#[test]
fn five_hundred_who_say_nonsense_first() {
    let arena = Arena::start();
    arena.withstands("command 9 came before VERSION", |arena| {
        for _ in 0..500 {
            let mut client = arena.connect();
            client.send_raw(&message(1, REGION_READ, 0, &access(0, 0, 1, &[])));
            client.receive().unwrap().refused(EINVAL);
        }
    });
}
