#![cfg(test)]
//! REGION_READ.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{Client, NO_REPLY, Witness, access, command::REGION_READ, errno::EINVAL};
use server::{Server, card};
use vfio_device::{BarKind, Description, Region, SharedMemory};

const MIB: u32 = 1 << 20;
const CONFIG: u32 = 7;

/// BAR0 4 KiB of registers, BAR1 2 MiB of them, BAR2 memory between registers, BAR3 memory; a ROM.
fn description() -> Description {
    let memory = |size| SharedMemory::new("region-read", size).unwrap();
    card()
        .bar(1, BarKind::Memory32, Region::trapped(2 << 20))
        .bar(2, BarKind::Memory32, Region::sparse(memory(0x4000), [0x1000..0x2000, 0x3000..0x4000]))
        .bar(3, BarKind::Memory32, Region::mapped(memory(2 << 20)))
        .rom(Region::trapped(0x800))
}

fn served() -> (Server, Client) {
    let server = Server::of(description);
    let client = Client::negotiated(&server.path());
    (server, client)
}

#[test]
fn a_body_of_another_size_is_refused() {
    let (_server, mut client) = served();
    for size in [0, 8, 15] {
        client.call(REGION_READ, &access(0, 0, 4, &[])[..size]).refused(EINVAL);
        client.still_in_step();
    }
    client.call(REGION_READ, &access(0, 0, 4, &[0])).refused(EINVAL);
    client.call(REGION_READ, &access(0, 0, 4, &[0; 4])).refused(EINVAL);
    client.still_in_step();
}

#[test]
fn an_absent_region_is_refused() {
    let (_server, mut client) = served();
    for region in [4, 5, 8, 9, 512, u32::MAX] {
        for count in [0, 4] {
            client.call(REGION_READ, &access(region, 0, count, &[])).refused(EINVAL);
            client.still_in_step();
        }
    }
}

/// Conformance: A99.
#[test]
fn bytes_beyond_the_region_are_refused() {
    let (_server, mut client) = served();
    for (region, offset, count) in [
        (0, 0x1000, 1),
        (0, 0xfff, 2),
        (0, 0, 0x1001),
        (0, 0x1001, 0),
        (0, u64::MAX, 0),
        (0, u64::MAX, 1),
        (0, u64::MAX, MIB),
        (0, 1 << 32, 4),
        (1, 2 << 20, 1),
        (2, 0x3fff, 2),
        (3, 2 << 20, 1),
        (6, 0x800, 1),
        (CONFIG, 256, 1),
        (CONFIG, 255, 2),
        (CONFIG, u64::MAX, 256),
    ] {
        client.call(REGION_READ, &access(region, offset, count, &[])).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A102.
#[test]
fn more_than_max_data_xfer_size_is_refused() {
    let (_server, mut client) = served();
    for count in [MIB + 1, MIB + 8, 2 * MIB, u32::MAX] {
        for region in [1, 3] {
            client.call(REGION_READ, &access(region, 0, count, &[])).refused(EINVAL);
            client.still_in_step();
        }
    }
}

/// Conformance: S37.
#[test]
fn a_region_that_is_only_written_is_refused() {
    let server =
        Server::of(|| card().bar(1, BarKind::Memory32, Region::trapped(0x100).write_only()));
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.region_info(1, 32).ok().u32(4), 2, "WRITE alone");
    for count in [0, 1, 4] {
        client.call(REGION_READ, &access(1, 0, count, &[])).refused(EINVAL);
        client.still_in_step();
    }
    client.write(1, 0, &[1, 2, 3, 4]);
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let (_server, mut client) = served();
    let witness = Witness::new();
    client.call_with_fds(REGION_READ, &access(0, 0, 4, &[]), &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
}

/// Conformance: A100.
#[test]
fn no_bytes_are_read_as_none() {
    let (_server, mut client) = served();
    for (region, offset) in [(0, 0), (0, 0x1000), (3, 0), (CONFIG, 256)] {
        assert!(client.read(region, offset, 0).is_empty());
    }
}

/// Conformance: S54.
#[test]
fn registers_are_read_at_any_offset_and_length() {
    let (_server, mut client) = served();
    let bytes: Vec<u8> = (0..=255).collect();
    client.write(0, 0x100, &bytes);
    for offset in 0..16 {
        for count in 0..16 {
            let expected = &bytes[offset..offset + count];
            assert_eq!(client.read(0, 0x100 + offset as u64, count as u32), expected);
        }
    }
    assert_eq!(client.read(0, 0x100, 256), bytes);
}

/// Conformance: S24.
#[test]
fn a_mebibyte_is_read_at_once() {
    let (_server, mut client) = served();
    for region in [1, 3] {
        client.write(region, 0, &[1, 2, 3]);
        let bytes = client.read(region, 0, MIB);
        assert_eq!((bytes.len(), &bytes[..4]), (1 << 20, &[1, 2, 3, 0][..]));
        assert!(bytes[4..].iter().all(|byte| *byte == 0), "nothing left from another answer");
    }
}

/// Conformance: S53.
#[test]
fn a_read_across_memory_and_registers_sees_both() {
    let (_server, mut client) = served();
    let bytes: Vec<u8> = (0..0x4000).map(|at| at as u8 ^ (at >> 8) as u8).collect();
    client.write(2, 0, &bytes);
    assert_eq!(client.read(2, 0, 0x4000), bytes);
    assert_eq!(client.read(2, 0xffe, 4), bytes[0xffe..0x1002]);
    assert_eq!(client.read(2, 0x1ffe, 4), bytes[0x1ffe..0x2002]);
}

#[test]
fn configuration_space_is_read_whole_and_in_every_piece() {
    let (_server, mut client) = served();
    let whole = client.read(CONFIG, 0, 256);
    assert_eq!(whole[..4], [1, 0, 2, 0], "vendor, device");
    for width in [1, 2, 4] {
        for offset in (0..256).step_by(width) {
            let piece = client.read(CONFIG, offset as u64, width as u32);
            assert_eq!(piece, whole[offset..offset + width]);
        }
    }
    for offset in 0..256 {
        let rest = client.read(CONFIG, offset, 256 - offset as u32);
        assert_eq!(rest, whole[offset as usize..]);
    }
}

/// Conformance: B28.
#[test]
fn qemu_s_one_read_of_all_4096_bytes_is_answered() {
    let server = Server::of(|| {
        Description::pci(1, 2)
            .capability(vfio_device::Capability::pci_express())
            .extended_capability(vfio_device::Capability::serial_number(0x0102_0304_0506_0708))
    });
    let mut client = Client::negotiated(&server.path());
    let reply = client.call(REGION_READ, &access(CONFIG, 0, 4096, &[])).ok();
    assert_eq!(reply.size, 32 + 4096);
    assert_eq!(reply.body[16 + 0x104..16 + 0x10c], [8, 7, 6, 5, 4, 3, 2, 1]);
}

#[test]
fn a_read_without_reply_is_not_answered() {
    let (_server, mut client) = served();
    client.send(REGION_READ, NO_REPLY, &access(0, 0, 4, &[]), &[]);
    client.send(REGION_READ, NO_REPLY, &access(99, 0, 4, &[]), &[]);
    client.still_in_step();
}
