#![cfg(test)]
//! Clients that leave at any byte, of which nothing is left: descriptors, maps, memory, open counts, DMA maps, eventfds.
//!
//! MDEV_USER_ROUNDS and MDEV_USER_SEED make it a longer run, or another one.

#[path = "common/bodies.rs"]
mod bodies;
#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;
#[path = "common/random.rs"]
mod random;
#[path = "common/rich.rs"]
mod rich;
#[path = "../crates/vfio-user-server/tests/common/server.rs"]
mod server;
#[path = "common/watched.rs"]
mod watched;

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bodies::{map, memory, unmap};
use client::command::*;
use client::{
    Client, NO_REPLY, QEMU_CAPABILITIES, access, eventfd, holders, message, version, words,
};
use mtty::Mtty;
use random::{Random, from_environment};
use rich::rich;
use server::{Server, made};
use uuid::Uuid;
use vfio_device::{Device, Parent, Vfio};
use watched::{Watched, within_5_s};

const ROUNDS: u64 = 1000;
const SEED: u64 = 20_260_101;

/// Tests of this file count descriptors of this process, and so run one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// What a client gives away.
struct Given {
    eventfds: [OwnedFd; 7],
    memory: OwnedFd,
}

impl Given {
    fn new() -> Self {
        Self { eventfds: std::array::from_fn(|_| eventfd(0)), memory: memory(0x10000) }
    }
}

/// A message with the descriptors that go along: 0 to 6 are eventfds, 7 is the memory.
type Message = (Vec<u8>, Vec<usize>);

/// A conversation: VERSION, then all that a client can set up, in any order, and commands in between.
fn conversation(random: &mut Random, vectors: &[u32]) -> Vec<Message> {
    let mut all = vec![(message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES)), Vec::new())];
    for id in 2..2 + random.below(24) as u16 {
        let set = |set: [u32; 4], fds: Vec<usize>| {
            let body = [words(&[20]), words(&set)].concat();
            (message(id, DEVICE_SET_IRQS, 0, &body), fds)
        };
        let address = 0x10000 * random.below(4) as u64;
        all.push(match random.below(10) {
            0 => (message(id, DMA_MAP, 0, &map(3, 0, address, 0x10000)), vec![7]),
            1 => (message(id, DMA_UNMAP, 0, &unmap(0, address, 0x10000)), Vec::new()),
            2 => set([0x24, 0, 0, 1], vec![0]),
            3 => set([0x14, 0, 0, 1], vec![1]),
            // MSI, the resizable one, ERR and REQ: all vectors, one eventfd for several of them.
            4 | 5 => {
                let index = 1 + random.below(4);
                let count = vectors[index].min(16);
                set([0x24, index as u32, 0, count], vec![2 + index; count as usize])
            }
            // Fires what is set up, and lowers the line again.
            6 => {
                let (offset, data) = random.pick(&[(0xff0, 1), (0xff1, 0), (4, 0x0b), (1, 2)]);
                let flags = random.pick(&[0, NO_REPLY]);
                (message(id, REGION_WRITE, flags, &access(0, offset, 1, &[data])), Vec::new())
            }
            7 => (message(id, REGION_READ, 0, &access(7, 0, 256, &[])), Vec::new()),
            8 => {
                // Of the device that has so much, the answers fill the socket if they are not read.
                let read = message(id, REGION_READ, 0, &access(1, 0, 0x4000, &[]));
                let times = random.pick(&[1, 1, 30]);
                all.extend(std::iter::repeat_n((read, Vec::new()), times));
                continue;
            }
            _ => (message(id, DEVICE_RESET, 0, &[]), Vec::new()),
        });
    }
    all
}

/// Has the conversation as far as `end`, and leaves in one way or another.
fn leave_at(path: &Path, conversation: &[Message], given: &Given, end: usize, random: &mut Random) {
    let mut client = Client::connect(path);
    let (mut at, mut unread) = (0, 0);
    let reads = random.once_in(2);
    for (bytes, fds) in conversation {
        let part = &bytes[..bytes.len().min(end - at)];
        if part.is_empty() {
            break;
        }
        let all = |number: &usize| given.eventfds.get(*number).unwrap_or(&given.memory).as_fd();
        let fds: Vec<_> = fds.iter().map(all).collect();
        client.send_raw_with_fds(part, &fds);
        at += part.len();
        let wants_reply = bytes[8] == 0 && part.len() == bytes.len();
        unread += usize::from(wants_reply);
        while reads && unread > 0 {
            client.receive().expect("a reply");
            unread -= 1;
        }
    }
    match random.below(4) {
        // What was said is answered, then the server closes.
        0 => {
            client.socket.shutdown(Shutdown::Write).unwrap();
            while client.receive().is_some() {}
        }
        // Nobody listens any more, before anybody has left.
        1 => client.socket.shutdown(Shutdown::Read).unwrap(),
        2 => client.socket.shutdown(Shutdown::Both).unwrap(),
        // With replies unread, the server's next send finds a reset.
        _ => (),
    }
}

/// What the process holds: descriptors, and memory maps.
fn held() -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    (count("/proc/self/fd"), shared_maps())
}

/// Maps of files and memfds: those of the allocator and of threads come and go.
fn shared_maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Entries of every epoll of this process, but for those of descriptors that are always there.
fn epoll_entries() -> usize {
    std::fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .map(|info| info.lines().filter(|line| line.starts_with("tfd:")).count())
        .sum()
}

fn mtty_1() -> Device {
    let parent = Parent::register(&Vfio::new(), Mtty::default());
    parent.create(parent.find("mtty-1").unwrap(), Uuid::new_v4()).unwrap()
}

#[test]
fn a_thousand_clients_that_leave_at_any_byte_leave_nothing() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (rounds, seed) =
        (from_environment("MDEV_USER_ROUNDS", ROUNDS), from_environment("MDEV_USER_SEED", SEED));
    let server = Server::start_all(vec![Box::new(mtty_1), made(rich), made(rich)]);
    let objects = [0, 1].map(|device| server.object(device).unwrap());
    let vectors = [&[1, 1, 0, 1, 0][..], &rich::VECTORS];
    let given = Given::new();
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut neighbour = Client::negotiated(&server.path_of(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                neighbour.write(0, 0x10, &[0x5a]);
                assert_eq!(neighbour.read(0, 0x10, 1), [0x5a]);
                served.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        // However this ends, the other thread is to end too.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let before = (held(), epoll_entries());
            let mut settled = 0;
            for round in 0..rounds {
                let mut random = Random::of(seed, round);
                let device = random.below(2);
                let conversation = conversation(&mut random, vectors[device]);
                let length: usize = conversation.iter().map(|(bytes, _)| bytes.len()).sum();
                // The last byte as often as any other is not often enough.
                let end = if random.once_in(10) { length } else { random.below(length + 1) };
                leave_at(&server.path_of(device), &conversation, &given, end, &mut random);
                let context = format!("seed {seed}, round {round}, byte {end} of {length}");
                within_5_s(&context, || objects[device].open_count() == 0);
                within_5_s(&context, || (held(), epoll_entries()) == before);
                // One that nobody has read yet is in no table, and then in the server's until it is closed.
                within_5_s(&format!("eventfds are the client's alone: {context}"), || {
                    given.eventfds.iter().all(|eventfd| holders(eventfd) == 1)
                });
                // DMA maps are gone: the same ones can be made.
                if round % 10 == 0 {
                    let mut next = Client::negotiated(&server.path_of(device));
                    for address in (0..4).map(|it| it * 0x10000) {
                        let body = map(3, 0, address, 0x10000);
                        next.call_with_fds(DMA_MAP, &body, &[given.memory.as_fd()]).ok();
                    }
                    next.still_in_step();
                    drop(next);
                    within_5_s("the next one leaves", || objects[device].open_count() == 0);
                    within_5_s("nothing is left", || (held(), epoll_entries()) == before);
                }
                if round == rounds / 10 {
                    settled = resident();
                }
            }
            let now = resident();
            assert!(now < settled + 2048, "{settled} KiB resident at first, {now} at last");
            let accesses = served.load(Ordering::Relaxed);
            assert!(accesses > rounds, "the neighbour was served {accesses} times");
            println!(
                "seed {seed}: {rounds} rounds, neighbour served {accesses} times, {before:?} descriptors, maps and \
                 epoll entries before and after, {settled} and {now} KiB resident"
            );
        }));
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}

#[test]
fn clients_that_leave_at_any_byte_leave_nothing_in_the_program() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seed = from_environment("MDEV_USER_SEED", SEED);
    let watched = Watched::serve();
    let given = Given::new();
    let mut first = None;
    for round in 0..300 {
        let mut random = Random::of(seed ^ 0x5555, round);
        let conversation = conversation(&mut random, &[1, 1, 0, 1, 0]);
        let length: usize = conversation.iter().map(|(bytes, _)| bytes.len()).sum();
        let end = random.below(length + 1);
        leave_at(&watched.program.path(), &conversation, &given, end, &mut random);
        watched.holds_no_more_than_at_first();
        if round == 50 {
            first = Some((watched.mappings(), watched.resident()));
        }
    }
    let (mappings, resident) = first.unwrap();
    // Up to eight threads are made when they are first needed, with a few maps each; a map a round would be 249.
    assert!(watched.mappings() <= mappings + 40, "{mappings} maps, then {}", watched.mappings());
    assert!(watched.resident() < resident + 512, "{resident} KiB, then {}", watched.resident());
    watched.serves_the_next();
}
