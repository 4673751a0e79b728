#![cfg(test)]
//! Nonsense made of real conversations cannot bring the server down, out of step, or to hold more than it may.
//!
//! MDEV_USER_ROUNDS and MDEV_USER_SEED make it a longer run, or another one:
//! `MDEV_USER_SEED=7 MDEV_USER_ROUNDS=100000 cargo test --test mutations -- --nocapture`.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/conversation.rs"]
mod conversation;
#[path = "../crates/vfio-user-server/tests/common/counting.rs"]
mod counting;
#[path = "common/mutate.rs"]
mod mutate;
#[path = "common/pump.rs"]
mod pump;
#[path = "common/random.rs"]
mod random;
#[path = "common/rich.rs"]
mod rich;
#[path = "../crates/vfio-user-server/tests/common/server.rs"]
mod server;

use std::time::{Duration, Instant};

use client::{Client, message, words};
use conversation::{Said, Samples, parse};
use mtty::Mtty;
use mutate::{Sending, mutated, sendings};
use pump::{Answers, exchange};
use random::{Random, from_environment};
use server::{Init, Server, made};
use uuid::Uuid;
use vfio_device::{Device, DeviceRef, Parent, Vfio};
use vfio_user_server::Event;

const ROUNDS: u64 = 25_000;
const SEED: u64 = 20_260_101;
/// A REGION_WRITE of max_data_xfer_size, headers included: the longest message.
const MAX_MESSAGE: u32 = (1 << 20) + 32;
const VERSION: u16 = 1;
const GET_INFO: u16 = 4;
/// The message that ends every round.
const LAST_ID: u16 = 0xbeef;

/// What a server that does as the protocol says answers, in this order.
struct Expected {
    /// id and command of each reply.
    replies: Vec<(u16, u16)>,
    /// After these the connection ends: a header gave a size that no message has.
    ends: bool,
    /// A VERSION wants no reply: whether it was refused, which ends the connection, cannot be seen.
    silent_version: bool,
}

/// Reads the stream as the server has to. An unfinished message is finished, or if it is a long one left as it is: then
/// nothing more is answered.
fn expected(stream: &mut Vec<u8>) -> Expected {
    let mut it = Expected { replies: Vec::new(), ends: false, silent_version: false };
    let mut at = 0;
    while at < stream.len() {
        let missing = (at + 16).saturating_sub(stream.len());
        stream.resize(stream.len() + missing, 0);
        let half =
            |offset: usize| u16::from_ne_bytes(stream[at + offset..][..2].try_into().unwrap());
        let word =
            |offset: usize| u32::from_ne_bytes(stream[at + offset..][..4].try_into().unwrap());
        let (id, command, size, wants_reply) = (half(0), half(2), word(4), word(8) & 0x10 == 0);
        it.ends = !(16..=MAX_MESSAGE).contains(&size);
        it.silent_version |= command == VERSION && !wants_reply;
        if wants_reply {
            it.replies.push((id, command));
        }
        if it.ends {
            return it;
        }
        at += size as usize;
    }
    stream.resize(at, 0);
    it
}

/// Whether what came is what had to come.
fn judge(expected: &Expected, answers: &Answers) -> Result<(), String> {
    let mut agreed = false;
    for (number, reply) in answers.replies.iter().enumerate() {
        let Some(wanted) = expected.replies.get(number) else {
            return Err(format!("one reply too many: {reply:x?}"));
        };
        if (reply.id, reply.command) != *wanted {
            return Err(format!("reply {number} is {reply:x?} instead of {wanted:x?}"));
        }
        let well_formed = match reply.flags {
            0x1 => reply.error == 0 && (16..=MAX_MESSAGE).contains(&reply.size),
            0x21 => (1..4096).contains(&reply.error) && reply.size == 16,
            _ => false,
        };
        if !well_formed {
            return Err(format!("reply {number} is malformed: {reply:x?}"));
        }
        let is_last = number + 1 == answers.replies.len() && answers.closed;
        if is_last && reply.command == VERSION && reply.error != 0 && !agreed {
            return Ok(());
        }
        agreed |= reply.command == VERSION && reply.error == 0;
    }
    if answers.closed && expected.silent_version {
        return Ok(());
    }
    if answers.replies.len() != expected.replies.len() {
        let count = answers.replies.len();
        return Err(format!("{count} replies instead of {}", expected.replies.len()));
    }
    if expected.ends != answers.closed {
        return Err(format!("closed: {}, to be: {}", answers.closed, expected.ends));
    }
    // A silent VERSION may have been agreed on, or not.
    let last = answers.replies.last().filter(|_| !expected.ends && !expected.silent_version);
    match last.map(|last| (last.error, last.size)) {
        Some((0, 32)) if agreed => Ok(()),
        Some((22, 16)) if !agreed => Ok(()),
        None => Ok(()),
        Some(_) => Err(format!("GET_INFO at the end, agreed {agreed}: {last:x?}")),
    }
}

fn conversations() -> Vec<Vec<Said>> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conversations");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| parse(&std::fs::read_to_string(path).unwrap())).collect()
}

fn mtty() -> Device {
    let parent = Parent::register(&Vfio::new(), Mtty::default());
    parent.create(parent.find("mtty-2").unwrap(), Uuid::new_v4()).unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Waits until the device has no user.
fn is_free(object: &DeviceRef) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while object.open_count() != 0 {
        assert!(Instant::now() < deadline, "its client has left, and it is still in use");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn nonsense_does_no_harm() {
    let (rounds, seed) =
        (from_environment("MDEV_USER_ROUNDS", ROUNDS), from_environment("MDEV_USER_SEED", SEED));
    let all = conversations();
    let samples = Samples::new();
    let devices: Vec<Init> = vec![Box::new(mtty), made(rich::rich), made(rich::rich)];
    let server = Server::start_all(devices);
    let mut neighbour = Client::negotiated(&server.path_of(2));
    assert_eq!(server.event(), (2, Event::ClientCame));
    server.ask(|_| counting::count(true));
    let objects = [0, 1].map(|device| server.object(device).unwrap());
    let before = descriptors();
    let start = Instant::now();
    let (mut messages, mut ended) = (0, 0);
    for round in 0..rounds {
        let mut random = Random::of(seed, round);
        let device = random.below(2);
        let mut said = mutated(&all, &mut random);
        let mut stream: Vec<u8> = said.iter().flat_map(|it| it.bytes.clone()).collect();
        let length = stream.len();
        let mut wanted = expected(&mut stream);
        let bytes = stream[length..].to_vec();
        said.push(Said { bytes, fds: Vec::new(), answer: None });
        let mut sendings = sendings(&said, &mut random);
        if !wanted.ends {
            // By itself: what comes with descriptors in one sendmsg has them.
            let bytes = message(LAST_ID, GET_INFO, 0, &words(&[16, 0, 0, 0]));
            sendings.push(Sending { bytes, fds: Vec::new() });
            wanted.replies.push((LAST_ID, GET_INFO));
        }
        let answers =
            exchange(&server.path_of(device), &sendings, &samples, &wanted.replies, wanted.ends);
        let verdict = answers.and_then(|answers| {
            messages += answers.replies.len();
            ended += usize::from(answers.closed);
            judge(&wanted, &answers)
        });
        if let Err(what) = verdict {
            panic!("seed {seed}, round {round}, device {device}: {what}\n{said:02x?}");
        }
        if round % 20 == 0 {
            neighbour.still_in_step();
            assert!(
                server.is_quiet(2),
                "seed {seed}, round {round}: a fault, or an event of the neighbour's"
            );
            is_free(&objects[device]);
            let mut next = Client::negotiated(&server.path_of(device));
            next.still_in_step();
            drop(next);
            is_free(&objects[device]);
        }
        if round % 100 == 0 || round + 1 == rounds {
            (0..2).for_each(|device| is_free(&objects[device]));
            // Also, what is closed is closed.
            assert!(server.object(2).is_some());
            let context = || format!("seed {seed}, round {round}");
            // What is not known to wait for nobody is closed by another thread.
            let deadline = Instant::now() + Duration::from_secs(10);
            while descriptors() != before {
                assert!(Instant::now() < deadline, "{} open: {}", descriptors(), context());
                std::thread::yield_now();
            }
            assert!(
                counting::largest() <= 2_621_440,
                "{} bytes at once, {}",
                counting::largest(),
                context()
            );
            assert!(
                counting::peak() <= 8 << 20,
                "{} bytes in all, {}",
                counting::peak(),
                context()
            );
            assert!(counting::live() <= 64 << 10, "{} bytes kept, {}", counting::live(), context());
        }
    }
    println!(
        "seed {seed}: {rounds} rounds, {messages} replies, {ended} connections ended, {:?}; largest allocation {}, \
         peak {}, left {} bytes",
        start.elapsed(),
        counting::largest(),
        counting::peak(),
        counting::live(),
    );
}
