#![cfg(test)]
//! What the log says of a client's conduct: who is waited for, what was refused, and how much at the end.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use client::command::REGION_WRITE;
use client::errno::ENOTSUP;
use client::{Client, access, message};
use log::{Level, LevelFilter, Log, Metadata, Record};
use server::{Server, card};

/// All tests of this program log into it. They are told apart by the words that they look for.
struct Lines(Mutex<Vec<(Level, String)>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

/// A server whose log is written down.
fn listened_to() -> Server {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
    Server::of(card)
}

/// The levels of the lines with these words.
fn said(words: &str) -> Vec<Level> {
    let lines = LINES.0.lock().unwrap();
    lines.iter().filter(|(_, line)| line.contains(words)).map(|(level, _)| *level).collect()
}

/// Waits until one line has these words. A client has 5 s before it is told of.
#[track_caller]
fn comes_to_say(words: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while said(words).is_empty() {
        assert!(Instant::now() < deadline, "nobody says: {words}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(said(words), [Level::Info], "{words}");
}

#[test]
fn a_client_that_is_waited_for_again_after_a_message_is_told_of_again() {
    let server = listened_to();
    let mut client = Client::negotiated(&server.path());
    let store = message(1, REGION_WRITE, 0, &access(0, 0, 4, &[1, 2, 3, 4]));
    client.send_raw(&store[..19]);
    comes_to_say("has said 19 of a message's 36 bytes, and not the rest");
    // In one read: at no time is nothing begun.
    client.send_raw(&[&store[19..], &store[..21]].concat());
    client.receive().unwrap().ok();
    comes_to_say("has said 21 of a message's 36 bytes, and not the rest");
    client.send_raw(&store[21..]);
    client.receive().unwrap().ok();
    client.still_in_step();
}

#[test]
fn of_refusals_the_first_is_told_and_their_number_at_the_end() {
    let server = listened_to();
    let mut client = Client::negotiated(&server.path());
    for _ in 0..3 {
        client.call(999, &[]).refused(ENOTSUP);
        client.still_in_step();
    }
    drop(client);
    comes_to_say("has left (refused commands: 3)");
    let refused = said("refused command 999: command 999 is unknown");
    assert_eq!(refused, [Level::Info, Level::Debug, Level::Debug]);
}
