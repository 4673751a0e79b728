#![cfg(test)]
//! Nonsense made of real conversations cannot bring the server down, out of step, or to hold more than it may.
//!
//! MDEV_USER_ROUNDS and MDEV_USER_SEED make it a longer run, or another one:
//! `MDEV_USER_SEED=7 MDEV_USER_ROUNDS=100000 cargo test --test mutations -- --nocapture`.

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/conversation.rs"]
mod conversation;
#[path = "../crates/vfio-user-server/tests/common/counting.rs"]
mod counting;
#[path = "common/judge.rs"]
mod judge;
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

use client::Client;
use conversation::{Said, Samples, parse};
use judge::{expected, judge, last};
use mtty::Mtty;
use mutate::{mutated, sendings};
use pump::exchange;
use random::{Random, from_environment};
use server::{Init, Server, made};
use uuid::Uuid;
use vfio_device::{Device, DeviceRef, Parent, Vfio};
use vfio_user_server::Event;

const ROUNDS: u64 = 25_000;
const SEED: u64 = 20_260_101;

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
            sendings.push(last(&mut wanted));
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
