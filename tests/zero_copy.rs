#![cfg(test)]
//! Memory that a client maps: what it can do with the descriptor that it is handed, and what it cannot.
//!
//! Against the built program, by a client that reads and writes the memory through the descriptor, as a mapping would.

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;
#[path = "common/random.rs"]
mod random;

use std::fs;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use client::errno::{EBUSY, EINVAL};
use client::{Client, QEMU_CAPABILITIES, access, command, version};
use program::Program;
use random::Random;
use rustix::fs::{
    FallocateFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
};
use rustix::io::{Errno, pread, pwrite};

const BAR0: u32 = 0;
const MIB: u64 = 1 << 20;

/// The displays, and the size of their memory.
const DISPLAYS: [(&str, u64); 6] = [
    ("mdpy-vga", 2 * MIB),
    ("mdpy-xga", 4 * MIB),
    ("mdpy-hd", 8 * MIB),
    ("mbochs-small", 4 * MIB),
    ("mbochs-medium", 16 * MIB),
    ("mbochs-large", 64 * MIB),
];

/// What a client is handed for BAR 0.
fn memory(client: &mut Client) -> OwnedFd {
    let mut reply = client.region_info(BAR0, 32).ok();
    assert_eq!(reply.u32(4), 0x7, "READ, WRITE and MMAP, without a capability");
    assert_eq!(reply.fds.len(), 1);
    reply.fds.remove(0)
}

fn bytes<const N: usize>(memory: &OwnedFd, offset: u64) -> [u8; N] {
    let mut bytes = [0; N];
    assert_eq!(pread(memory, &mut bytes, offset), Ok(N));
    bytes
}

/// A line of /proc/PID/status, in KiB.
fn status(program: &Program, name: &str) -> u64 {
    let path = format!("/proc/{}/status", program.pid().as_raw_pid());
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_client_can_neither_resize_nor_seal_the_memory_it_is_handed() {
    for (kind, size) in DISPLAYS {
        let program = Program::serve(kind);
        let mut client = Client::negotiated(&program.path());
        let memory = memory(&mut client);
        for other in [0, 1, size - 1, size - 4096, size + 1, size + 4096, 1 << 40] {
            assert_eq!(ftruncate(&memory, other), Err(Errno::PERM), "{kind}: {other:#x}");
        }
        let beyond = fallocate(&memory, FallocateFlags::empty(), size, 4096);
        assert_eq!(beyond, Err(Errno::PERM), "{kind}");
        for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
            assert_eq!(fcntl_add_seals(&memory, seal), Err(Errno::PERM), "{kind}: {seal:?}");
        }
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        assert_eq!(fcntl_get_seals(&memory), Ok(seals), "{kind}");
        assert_eq!(fstat(&memory).unwrap().st_size as u64, size, "{kind}");
        client.write(BAR0, size - 4, b"last");
        assert_eq!(client.read(BAR0, size - 4, 4), b"last", "{kind} is served on");
    }
}

#[test]
fn pages_that_a_client_takes_out_of_the_memory_read_as_zeroes() {
    for kind in ["mdpy-xga", "mbochs-small"] {
        let program = Program::serve(kind);
        let mut client = Client::negotiated(&program.path());
        let memory = memory(&mut client);
        client.write(BAR0, 0x1ffe, &[7; 4]);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&memory, punch, 0x1000, 0x1000).unwrap();
        assert_eq!(client.read(BAR0, 0x1ffe, 4), [0, 0, 7, 7], "{kind}");
        fallocate(&memory, punch, 0, 4 * MIB).unwrap();
        assert_eq!(client.read(BAR0, 0, MIB as u32), vec![0; MIB as usize], "{kind}");
        client.write(BAR0, 0x1ffe, &[8; 4]);
        assert_eq!(bytes(&memory, 0x1ffe), [8; 4], "{kind}");
    }
}

#[test]
fn messages_and_the_mapping_see_the_same_bytes_at_every_offset() {
    let mut random = Random::of(3, 0);
    for (kind, size) in DISPLAYS {
        let program = Program::serve(kind);
        let mut client = Client::negotiated(&program.path());
        let memory = memory(&mut client);
        for round in 0..200 {
            let offset = random.below(size as usize - 16) as u64;
            let stored = random.next().to_le_bytes();
            let length = 1 + random.below(8);
            client.write(BAR0, offset, &stored[..length]);
            let mapped: [u8; 8] = bytes(&memory, offset);
            assert_eq!(mapped[..length], stored[..length], "{kind}: {round}: {offset:#x}");
            let stored = random.next().to_le_bytes();
            pwrite(&memory, &stored[..length], offset + 8).unwrap();
            let read = client.read(BAR0, offset + 8, length as u32);
            assert_eq!(read, stored[..length], "{kind}: {round}: {offset:#x}");
        }
    }
}

#[test]
fn a_mebibyte_goes_in_and_out_by_one_message_and_more_is_refused() {
    let program = Program::serve("mdpy-hd");
    let mut client = Client::negotiated(&program.path());
    let memory = memory(&mut client);
    let mut random = Random::of(4, 0);
    let picture: Vec<u8> = (0..MIB).map(|_| random.next() as u8).collect();
    client.write(BAR0, 7 * MIB, &picture);
    let mut mapped = vec![0; MIB as usize];
    pread(&memory, &mut mapped, 7 * MIB).unwrap();
    assert!(mapped == picture, "what was written");
    assert!(client.read(BAR0, 7 * MIB, MIB as u32) == picture, "what was read");
    let beyond = access(BAR0, 6 * MIB, MIB as u32 + 1, &[]);
    client.call(command::REGION_READ, &beyond).refused(EINVAL);
    let outside = access(BAR0, 7 * MIB + 1, MIB as u32, &[]);
    client.call(command::REGION_READ, &outside).refused(EINVAL);
    client.still_in_step();
}

#[test]
fn a_client_that_keeps_its_memory_does_not_reach_the_next_one_s() {
    for (kind, size) in DISPLAYS {
        let program = Program::serve(kind);
        let mut first = Client::negotiated(&program.path());
        let kept = memory(&mut first);
        first.write(BAR0, size - 8, b"first...");
        drop(first);
        let mut next = connected(&program);
        // A fixed picture persists, video memory is as after power-on.
        let expected = if kind.starts_with("mdpy") { *b"first..." } else { [0; 8] };
        assert_eq!(next.read(BAR0, size - 8, 8), expected, "{kind}");
        let theirs = memory(&mut next);
        pwrite(&kept, b"intruder", size - 8).unwrap();
        assert_eq!(next.read(BAR0, size - 8, 8), expected, "{kind}");
        next.write(BAR0, size - 8, b"secret..");
        assert_eq!(bytes(&kept, size - 8), *b"intruder", "{kind}");
        assert_eq!(bytes(&theirs, size - 8), *b"secret..", "{kind}");
    }
}

/// The next client. It may be told EBUSY: a child that another test has started holds a copy of the first one's socket for
/// the moment until it is another program.
fn connected(program: &Program) -> Client {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut client = Client::connect(&program.path());
        let reply = client.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES));
        if reply.error == 0 {
            return client;
        }
        reply.refused(EBUSY);
        assert!(Instant::now() < deadline, "the device stays busy");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sixty_four_mebibytes_cost_nothing_before_they_are_touched() {
    let serial = Program::serve("mtty-1");
    let display = Program::serve("mbochs-large");
    let clients = [&serial, &display].map(|program| Client::negotiated(&program.path()));
    let [_, mut client] = clients;
    let memory = memory(&mut client);
    client.still_in_step();
    let (less, more) = (status(&serial, "VmRSS"), status(&display, "VmRSS"));
    println!("VmRSS: {less} KiB with mtty-1, {more} KiB with mbochs-large");
    assert!(more < less + 1024, "{less} KiB with mtty-1, {more} KiB with mbochs-large");
    assert_eq!(fstat(&memory).unwrap().st_blocks, 0, "pages");
    pwrite(&memory, &[1], 63 * MIB).unwrap();
    assert_eq!(fstat(&memory).unwrap().st_blocks * 512, 4096, "bytes");
}
