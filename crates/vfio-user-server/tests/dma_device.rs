#![cfg(test)]
//! A device with DMA, over the socket. (What a device hears is in the contract of the core.)

#[path = "common/client.rs"]
mod client;
#[path = "common/engine.rs"]
mod engine;
#[path = "common/server.rs"]
mod server;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use client::Client;
use client::command::{DEVICE_RESET, DMA_MAP, DMA_UNMAP};
use client::errno::{EEXIST, ENOENT, ENOSPC};
use engine::{COPIES, DESTINATION, LENGTH, SOURCE, START, STATUS};
use server::Server;

const PG: u64 = 0x1000;
const CONFIG: u32 = 7;
/// What the device says of a copy.
const EIO: u32 = 5;
const EACCES: u32 = 13;
const EFAULT: u32 = 14;
const ENODEV: u32 = 19;
const EOPNOTSUPP: u32 = 95;

fn server() -> Server {
    Server::start(engine::made)
}

/// A client whose device may do DMA.
fn client(server: &Server) -> Client {
    let mut client = Client::negotiated(&server.path());
    client.write(CONFIG, 4, &[6, 0]);
    client
}

/// Memory of so many pages.
fn memory(name: &str, pages: u64) -> File {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(fd);
    file.set_len(pages * PG).unwrap();
    file
}

/// How many descriptors and mappings of it this process has, the server's among them.
fn uses(name: &str) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
    links.filter(|link| link.to_str().unwrap().contains(name)).count()
        + mappings.matches(name).count()
}

fn map(
    client: &mut Client,
    flags: u32,
    address: u64,
    size: u64,
    file: Option<&File>,
) -> client::Reply {
    let mut body = client::words(&[32, flags]);
    body.extend([0, address, size].iter().flat_map(|word| word.to_ne_bytes()));
    let fds: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
    client.call_with_fds(DMA_MAP, &body, &fds)
}

fn unmap(client: &mut Client, flags: u32, address: u64, size: u64) -> client::Reply {
    let mut body = client::words(&[24, flags]);
    body.extend([address, size].iter().flat_map(|word| word.to_ne_bytes()));
    client.call(DMA_UNMAP, &body)
}

fn set_up(client: &mut Client, source: u64, destination: u64, length: u32) {
    client.write(0, SOURCE, &source.to_le_bytes());
    client.write(0, DESTINATION, &destination.to_le_bytes());
    client.write(0, LENGTH, &length.to_le_bytes());
}

fn word(client: &mut Client, register: u64) -> u32 {
    u32::from_le_bytes(client.read(0, register, 4).try_into().unwrap())
}

/// Has the device copy, and asks how that went.
fn copy(client: &mut Client, source: u64, destination: u64, length: u32) -> u32 {
    set_up(client, source, destination, length);
    client.write(0, START, &[1, 0, 0, 0]);
    word(client, STATUS)
}

/// Waits until the device has begun this many copies more.
#[track_caller]
fn copies(client: &mut Client, more: u32) {
    let begin = word(client, COPIES);
    let deadline = Instant::now() + Duration::from_secs(30);
    while word(client, COPIES).wrapping_sub(begin) < more {
        assert!(Instant::now() < deadline, "the device does nothing");
    }
}

fn bytes<const N: usize>(file: &File, offset: u64) -> [u8; N] {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

#[test]
fn what_a_device_cannot_reach_is_an_error_to_the_device_and_not_to_the_client() {
    let server = server();
    let mut client = Client::negotiated(&server.path());
    let file = memory("unreachable", 4);
    map(&mut client, 3, 0, 2 * PG, Some(&file)).ok();
    map(&mut client, 1, 2 * PG, PG, Some(&file)).ok();
    map(&mut client, 3, 3 * PG, PG, None).ok();
    assert_eq!(copy(&mut client, 0, PG, 16), ENODEV, "bus mastering is off");
    client.write(CONFIG, 4, &[4, 0]);
    for (what, source, destination, errno) in [
        ("from nowhere", 4 * PG, 0, EFAULT),
        ("to nowhere", 0, 4 * PG, EFAULT),
        ("to what is read-only", 0, 2 * PG, EACCES),
        ("from what came without a file", 3 * PG, 0, EOPNOTSUPP),
        ("to what came without a file", 0, 3 * PG, EOPNOTSUPP),
        ("across the end", 3 * PG - 8, 0, EOPNOTSUPP),
    ] {
        assert_eq!(copy(&mut client, source, destination, 16), errno, "{what}");
        client.still_in_step();
    }
    assert_eq!(copy(&mut client, 2 * PG, 0, 16), 0);
}

/// Conformance: B13.
#[test]
fn memory_that_shrinks_after_it_was_mapped_is_an_error_to_the_device() {
    let server = server();
    let mut client = client(&server);
    let (shrinks, stays) = (memory("shrinks", 16), memory("stays", 16));
    stays.write_all_at(b"unharmed", 0).unwrap();
    map(&mut client, 3, 0, 16 * PG, Some(&shrinks)).ok();
    map(&mut client, 3, 16 * PG, 16 * PG, Some(&stays)).ok();
    assert_eq!(copy(&mut client, 0, 17 * PG, 0x1_0000 - 0x1000), 0);
    for pages in [8, 0] {
        shrinks.set_len(pages * PG).unwrap();
        assert_eq!(copy(&mut client, 15 * PG, 16 * PG, 16), EIO, "read past its end");
        assert_eq!(copy(&mut client, 16 * PG, 15 * PG, 16), EIO, "written past its end");
        assert_eq!(copy(&mut client, 0, 16 * PG, 0x1_0000), EIO, "read across its end");
        assert_eq!(copy(&mut client, 16 * PG, 0, 0x1_0000), EIO, "written across its end");
        assert_eq!(shrinks.metadata().unwrap().len(), pages * PG, "and not made longer");
        client.still_in_step();
    }
    assert_eq!(bytes(&stays, 0), *b"unharmed");
    shrinks.set_len(16 * PG).unwrap();
    assert_eq!(copy(&mut client, 16 * PG, 15 * PG, 8), 0);
    assert_eq!(bytes(&shrinks, 15 * PG), *b"unharmed");
}

#[test]
fn memory_in_more_than_16_files_is_refused_with_enospc_and_its_descriptor_closed() {
    let server = server();
    let mut client = client(&server);
    let files: Vec<_> = (0..17).map(|_| memory("one-of-17", 1)).collect();
    for (page, file) in (0..).zip(&files[..16]) {
        map(&mut client, 3, page * PG, PG, Some(file)).ok();
    }
    assert_eq!(uses("one-of-17"), 17 + 16);
    map(&mut client, 3, 16 * PG, PG, Some(&files[16])).refused(ENOSPC);
    client.still_in_step();
    assert_eq!(uses("one-of-17"), 17 + 16);
    map(&mut client, 3, 16 * PG, PG, Some(&files[0])).ok();
    unmap(&mut client, 0, 3 * PG, PG).ok();
    map(&mut client, 3, 3 * PG, PG, Some(&files[16])).ok();
    assert_eq!(uses("one-of-17"), 17 + 16);
}

#[test]
fn a_device_copies_what_the_client_has_put_there() {
    let server = server();
    let mut client = client(&server);
    let (low, high) = (memory("dma-low-memory", 4), memory("dma-high-memory", 4));
    map(&mut client, 1, 0, 4 * PG, Some(&low)).ok();
    map(&mut client, 3, 4 * PG, 4 * PG, Some(&high)).ok();
    low.write_all_at(b"from the one ", 4 * PG - 13).unwrap();
    high.write_all_at(b"to the other", 0).unwrap();
    assert_eq!(copy(&mut client, 4 * PG - 13, 6 * PG + 1, 25), 0);
    assert_eq!(&bytes(&high, 2 * PG), b"\0from the one to the other\0");
    assert_eq!(
        uses("dma-low-memory") + uses("dma-high-memory"),
        4,
        "a descriptor of each, and no mapping"
    );
}

/// Conformance: B34, S33.
#[test]
fn memory_that_is_taken_back_under_a_device_at_work_is_not_touched_any_more() {
    let server = server();
    let mut client = client(&server);
    let ram = memory("comes-and-goes", 16);
    let log = memory("stays-there", 1);
    set_up(&mut client, 0, 16, 8);
    client.write(0, START, &[2, 0, 0, 0]);
    for round in 0..20u8 {
        // Whole, in pieces, and another file in its place.
        let pieces: &[(u64, u64, &File)] = match round % 3 {
            0 => &[(0, 16 * PG, &ram)],
            1 => &[(0, PG, &ram), (PG, 15 * PG, &ram)],
            _ => &[(0, PG, &log)],
        };
        let there = pieces[0].2;
        there.write_all_at(&[round; 32], 0).unwrap();
        for (address, size, file) in pieces {
            map(&mut client, 3, *address, *size, Some(file)).ok();
        }
        // New bytes to copy: the device has got there when they arrive.
        there.write_all_at(&[!round; 8], 0).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while bytes(there, 16) != [!round; 8] {
            assert!(Instant::now() < deadline, "round {round}: the device does nothing");
        }
        if round % 2 == 0 {
            unmap(&mut client, 2, 0, 0).ok();
        } else {
            pieces.iter().for_each(|(at, size, _)| drop(unmap(&mut client, 0, *at, *size).ok()));
        }
        assert_eq!(uses("comes-and-goes") + uses("stays-there"), 2, "nothing is held");
        for file in [&ram, &log] {
            file.write_all_at(&[0x5a; 8], 0).unwrap();
            file.write_all_at(&[0xa5; 8], 16).unwrap();
        }
        copies(&mut client, 3);
        assert_eq!(word(&mut client, STATUS), EFAULT, "round {round}");
        assert_eq!([bytes(&ram, 16), bytes(&log, 16)], [[0xa5; 8]; 2], "round {round}");
    }
}

#[test]
fn maps_stay_over_a_reset_which_switches_bus_mastering_off() {
    let server = server();
    let mut client = client(&server);
    let file = memory("over-a-reset", 1);
    file.write_all_at(b"stays", 0).unwrap();
    map(&mut client, 3, 0, PG, Some(&file)).ok();
    client.call(DEVICE_RESET, &[]).ok();
    map(&mut client, 3, 0, PG, Some(&file)).refused(EEXIST);
    assert_eq!(copy(&mut client, 0, 8, 5), ENODEV);
    client.write(CONFIG, 4, &[4, 0]);
    assert_eq!(copy(&mut client, 0, 8, 5), 0);
    assert_eq!(bytes(&file, 8), *b"stays");
}

#[test]
fn a_client_that_leaves_a_device_at_work_takes_its_memory_with_it() {
    let server = server();
    for round in 0..10 {
        let mut client = client(&server);
        let file = memory("of-the-one-before", 1);
        map(&mut client, 3, 0, PG, Some(&file)).ok();
        assert_eq!(uses("of-the-one-before"), 2);
        set_up(&mut client, 0, 16, 8);
        client.write(0, START, &[2, 0, 0, 0]);
        copies(&mut client, 1);
        assert_eq!(word(&mut client, STATUS), 0, "round {round}");
        drop(client);

        // The next one is served when the one before has been taken down.
        let mut next = self::client(&server);
        assert_eq!(uses("of-the-one-before"), 1, "round {round}");
        unmap(&mut next, 0, 0, PG).refused(ENOENT);
        file.write_all_at(&[0x5a; 8], 0).unwrap();
        file.write_all_at(&[0xa5; 8], 16).unwrap();
        copies(&mut next, 3);
        assert_eq!(word(&mut next, STATUS), EFAULT);
        assert_eq!(bytes(&file, 16), [0xa5; 8], "round {round}");
        next.call(DEVICE_RESET, &[]).ok();
    }
}
