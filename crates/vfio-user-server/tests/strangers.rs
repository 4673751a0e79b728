#![cfg(test)]
//! Whoever connects and does not say VERSION may cost the server little, and the device's user nothing. Descriptors are
//! counted in `/proc/self/fd`, so these tests run one at a time.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, QEMU_CAPABILITIES, Witness, command, errno, message, version};
use server::{Server, card};

/// Connections that the server holds for one device at one time, its user among them.
const CONNECTIONS: usize = 16;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Descriptors of this process: ours and the server's.
fn open() -> usize {
    // Less the one that looks.
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Comes last, hears that the device has a user, and is gone again. Connections are taken on in the order in which
/// they come: who was there before is known to the server by then.
#[track_caller]
fn is_turned_away(path: &Path) {
    let mut last = Client::connect(path);
    last.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(errno::EBUSY);
    last.is_closed();
}

/// How many of these the server has not closed.
fn held(strangers: &[Client]) -> usize {
    let is_held = |stranger: &&Client| {
        stranger.socket.set_nonblocking(true).unwrap();
        match (&stranger.socket).read(&mut [0]) {
            Ok(bytes) => {
                assert_eq!(bytes, 0, "nothing is said to who says nothing");
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                true
            }
        }
    };
    strangers.iter().filter(is_held).count()
}

#[test]
fn of_many_strangers_few_are_held_and_the_user_is_served_before_and_after() {
    let _alone = alone();
    let server = Server::of(card);
    let mut user = Client::negotiated(&server.path());
    user.write(0, 0, &[7]);
    let before = open();
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(Client::connect(&server.path()));
        user.still_in_step();
    }
    is_turned_away(&server.path());
    // One end of each is ours. The user has a place, and the last one needed one. Another thread closes.
    let descriptors = || open() - before - strangers.len();
    let deadline = Instant::now() + Duration::from_secs(30);
    while descriptors() > CONNECTIONS - 2 {
        assert!(Instant::now() < deadline, "{} descriptors for strangers", descriptors());
        std::thread::yield_now();
    }
    assert!(held(&strangers) <= CONNECTIONS - 2, "{} strangers are held", held(&strangers));
    assert_eq!(held(&strangers[..40 - CONNECTIONS]), 0, "the oldest make room");
    assert_eq!(user.read(0, 0, 1), [7]);

    // The user is followed by another one under the eyes of the strangers ...
    drop(user);
    let mut next = Client::negotiated(&server.path());
    assert_eq!(next.read(0, 0, 1), [7]);
    // ... and so is that one after they have left.
    drop(strangers);
    next.still_in_step();
    drop(next);
    assert_eq!(Client::negotiated(&server.path()).read(0, 0, 1), [7]);
}

#[test]
fn strangers_do_not_keep_the_first_user_out() {
    let _alone = alone();
    let server = Server::of(card);
    let strangers: Vec<_> = (0..40).map(|_| Client::connect(&server.path())).collect();
    let mut user = Client::negotiated(&server.path());
    // The user's place is one of them.
    assert!(held(&strangers) < CONNECTIONS, "{} strangers are held", held(&strangers));
    user.still_in_step();
}

/// Conformance: B11.
#[test]
fn a_stranger_s_descriptors_are_closed_before_its_message_is_complete() {
    let _alone = alone();
    let server = Server::of(card);
    let bytes = message(1, command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES));
    for cut in [1, 8, 16, bytes.len() / 2, bytes.len() - 1] {
        let mut stranger = Client::connect(&server.path());
        let witness = Witness::new();
        stranger.send_raw_with_fds(&bytes[..cut], &[witness.fd(); 16]);
        witness.expect_closed();
        // The connection is still there, and waits for the rest. That descriptors came is not forgotten.
        stranger.send_raw(&bytes[cut..]);
        let reply = stranger.receive().expect("the connection went with the descriptors");
        reply.refused(errno::EMFILE);
        stranger.negotiate();
    }
}
