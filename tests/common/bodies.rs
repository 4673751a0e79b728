//! Bodies of DMA messages, numbers of SET_IRQS, and memory to map.

#![expect(
    clippy::host_endian_bytes,
    reason = "the wire is in host order, and so do eventfds count"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::client::command::*;
use crate::client::{access, words};

pub const INTX: u32 = 0;
pub const MSI: u32 = 1;
pub const ERR: u32 = 3;
pub const TRIGGER_NONE: u32 = 0x21;
pub const TRIGGER_EVENTFD: u32 = 0x24;
pub const UNMASK_NONE: u32 = 0x11;
pub const UNMASK_EVENTFD: u32 = 0x14;

/// Region index of configuration space.
pub const CONFIG: u32 = 7;

/// Scratch register of the port behind BAR 0 of a serial card: 8 bits of storage.
pub const SCR: u64 = 7;

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

/// DMA_MAP.
pub fn map(flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    [words(&[32, flags]), longs(&[offset, address, size])].concat()
}

/// DMA_UNMAP; flag 1 asks for dirty pages, flag 2 is for all.
pub fn unmap(flags: u32, address: u64, size: u64) -> Vec<u8> {
    [words(&[24, flags]), longs(&[address, size])].concat()
}

/// What follows an unmap that asks for dirty pages.
pub fn bitmap(page: u64, size: u64) -> Vec<u8> {
    longs(&[page, size])
}

/// A memfd of so many bytes.
pub fn memory(size: u64) -> OwnedFd {
    let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, size).unwrap();
    memory
}

/// Fills an eventfd's counter up: one more would block.
pub fn fill(eventfd: &OwnedFd) {
    rustix::io::write(eventfd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
}

/// Commands that a client may send, and a body for each that is right.
pub fn right_bodies() -> Vec<(u16, Vec<u8>)> {
    vec![
        (DMA_MAP, map(3, 0, 0x10000, 4096)),
        (DMA_UNMAP, unmap(2, 0, 0)),
        (DEVICE_GET_INFO, words(&[16, 0, 0, 0])),
        (DEVICE_GET_REGION_INFO, words(&[32, 0, 7, 0, 0, 0, 0, 0])),
        (DEVICE_GET_REGION_IO_FDS, words(&[16, 0, 0, 0])),
        (DEVICE_GET_IRQ_INFO, words(&[16, 0, 0, 0])),
        (DEVICE_SET_IRQS, words(&[20, TRIGGER_NONE, 0, 0, 0])),
        (REGION_READ, access(CONFIG, 0, 4, &[])),
        (REGION_WRITE, access(0, SCR, 1, &[0x5a])),
        (DEVICE_RESET, vec![]),
        (REGION_WRITE_MULTI, vec![0; 8]),
    ]
}
