#![cfg(test)]
//! REGION_WRITE.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::time::Duration;

use client::{Client, NO_REPLY, Witness, access, command::REGION_WRITE, errno::EINVAL, message};
use server::{Server, card};
use vfio_device::{BarKind, Description, Region, SharedMemory};

const MIB: usize = 1 << 20;
const CONFIG: u32 = 7;
const ROM: u32 = 6;

/// BAR0 4 KiB of registers, BAR2 memory between registers, BAR3 2 MiB of memory; a ROM.
fn description() -> Description {
    let memory = |size| SharedMemory::new("region-write", size).unwrap();
    card()
        .bar(2, BarKind::Memory32, Region::sparse(memory(0x4000), [0x1000..0x2000, 0x3000..0x4000]))
        .bar(3, BarKind::Memory32, Region::mapped(memory(2 << 20)))
        .rom(Region::trapped(0x800))
}

fn served() -> (Server, Client) {
    let server = Server::of(description);
    let client = Client::negotiated(&server.path());
    (server, client)
}

/// Bytes that differ from place to place.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// Conformance: A103.
#[test]
fn a_body_without_all_of_the_fixed_part_is_refused() {
    let (_server, mut client) = served();
    for size in [0, 8, 15] {
        client.call(REGION_WRITE, &access(0, 0, 4, &[])[..size]).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A104.
#[test]
fn a_count_that_is_not_the_number_of_bytes_is_refused_and_nothing_written() {
    let (_server, mut client) = served();
    for (count, size) in [(4, 0), (4, 3), (4, 5), (0, 1), (1, 0), (u32::MAX, 4), (1 << 20, 16)] {
        client.call(REGION_WRITE, &access(0, 0, count, &vec![1; size])).refused(EINVAL);
        client.still_in_step();
    }
    assert_eq!(client.read(0, 0, 8), [0; 8]);
}

#[test]
fn an_absent_region_is_refused() {
    let (_server, mut client) = served();
    for region in [1, 4, 5, 8, 9, 512, u32::MAX] {
        client.call(REGION_WRITE, &access(region, 0, 0, &[])).refused(EINVAL);
        client.call(REGION_WRITE, &access(region, 0, 1, &[1])).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: S37.
#[test]
fn a_rom_is_refused() {
    let (_server, mut client) = served();
    client.call(REGION_WRITE, &access(ROM, 0, 4, &[1; 4])).refused(EINVAL);
    client.still_in_step();
    assert_eq!(client.read(ROM, 0, 4), [0; 4]);
}

#[test]
fn bytes_beyond_the_region_are_refused_and_none_of_them_written() {
    let (_server, mut client) = served();
    for (region, offset, size) in [
        (0, 0x1000, 1),
        (0, 0xfff, 2),
        (0, 0, 0x1001),
        (0, 0x1001, 0),
        (0, u64::MAX, 1),
        (0, u64::MAX - 1, 4),
        (2, 0x3ffe, 4),
        (3, 2 << 20, 1),
        (CONFIG, 256, 1),
        (CONFIG, 255, 2),
    ] {
        let body = access(region, offset, size, &vec![0xff; size as usize]);
        client.call(REGION_WRITE, &body).refused(EINVAL);
        client.still_in_step();
    }
    assert_eq!(client.read(0, 0xffc, 4), [0; 4]);
    assert_eq!(client.read(2, 0x3ffc, 4), [0; 4]);
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let (_server, mut client) = served();
    let witness = Witness::new();
    client.call_with_fds(REGION_WRITE, &access(0, 0, 1, &[1]), &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
    assert_eq!(client.read(0, 0, 1), [0]);
}

/// Conformance: A101.
#[test]
fn no_bytes_are_written_as_none() {
    let (_server, mut client) = served();
    for (region, offset) in [(0, 0), (0, 0x1000), (3, 0), (CONFIG, 256)] {
        client.write(region, offset, &[]);
    }
}

/// Conformance: S54.
#[test]
fn registers_are_written_at_any_offset_and_length() {
    let (_server, mut client) = served();
    for offset in 0..16 {
        for size in 1..16 {
            client.write(0, 0x100, &[0; 32]);
            client.write(0, 0x100 + offset as u64, &vec![0xee; size]);
            let mut expected = [0; 32];
            expected[offset..offset + size].fill(0xee);
            assert_eq!(client.read(0, 0x100, 32), expected);
        }
    }
}

/// Conformance: S53.
#[test]
fn a_write_across_memory_and_registers_reaches_both() {
    let (_server, mut client) = served();
    let fd = client.region_info(2, 64).ok().fds.remove(0);
    client.write(2, 0xffe, &[1, 2, 3, 4]);
    let mut bytes = [0; 4];
    rustix::io::pread(&fd, &mut bytes, 0xffe).unwrap();
    assert_eq!(bytes, [0, 0, 3, 4], "the mapping has what lies in its area");
    assert_eq!(client.read(2, 0xffe, 4), [1, 2, 3, 4]);
}

#[test]
fn every_byte_of_configuration_space_takes_a_write() {
    let (_server, mut client) = served();
    let before = client.read(CONFIG, 0, 256);
    for width in [1, 2, 4] {
        for offset in (0..256).step_by(width) {
            client.write(CONFIG, offset, &vec![0xff; width]);
        }
    }
    for offset in 0..256 {
        client.write(CONFIG, offset, &vec![0; 256 - offset as usize]);
    }
    assert_eq!(client.read(CONFIG, 0, 4), before[..4], "read-only bytes stay");
}

#[test]
fn bars_are_sized_by_writing_ones() {
    let (_server, mut client) = served();
    for (register, mask) in
        [(0x10, 0xffff_f000_u32), (0x18, 0xffff_c000), (0x1c, 0xffe0_0000), (0x14, 0)]
    {
        client.write(CONFIG, register, &[0xff; 4]);
        assert_eq!(client.read(CONFIG, register, 4), mask.to_le_bytes(), "register {register:#x}");
    }
}

/// Conformance: B29.
#[test]
fn a_rom_is_sized_as_qemu_does_it_and_one_that_is_not_there_reads_0() {
    let with = Server::of(description);
    let without = Server::of(card);
    for (server, mask) in [(with, 0xffff_f800_u32), (without, 0)] {
        let mut client = Client::negotiated(&server.path());
        assert_eq!(client.read(CONFIG, 0x30, 4), [0; 4]);
        client.write(CONFIG, 0x30, &0xffff_f800_u32.to_le_bytes());
        assert_eq!(client.read(CONFIG, 0x30, 4), mask.to_le_bytes());
        client.write(CONFIG, 0x30, &[0; 4]);
        assert_eq!(client.read(CONFIG, 0x30, 4), [0; 4]);
    }
}

/// Conformance: B2.
#[test]
fn a_mebibyte_in_many_pieces_is_one_write() {
    let (_server, mut client) = served();
    for (size, piece) in [(MIB / 2, 1000), (MIB / 2, 65536), (MIB, 4096), (MIB, 199_999)] {
        let data = pattern(size);
        let bytes = message(9, REGION_WRITE, 0, &access(3, 0, size as u32, &data));
        let mut reading = Client::new(client.socket.try_clone().unwrap());
        let writer = std::thread::scope(|scope| {
            scope.spawn(|| bytes.chunks(piece).for_each(|piece| client.send_raw(piece)));
            reading.receive().unwrap()
        });
        assert_eq!(writer.ok().body, access(3, 0, size as u32, &[]), "echo");
        assert_eq!(client.read(3, 0, size as u32), data);
        client.write(3, 0, &vec![0; size]);
    }
}

/// Conformance: B4.
#[test]
fn a_mebibyte_that_stops_half_way_is_waited_for_and_others_are_served() {
    let (server, mut client) = served();
    let data = pattern(MIB);
    let bytes = message(9, REGION_WRITE, 0, &access(3, 0, 1 << 20, &data));
    client.send_raw(&bytes[..MIB / 2]);
    server.is_asleep();
    Client::connect(&server.path())
        .call(client::command::VERSION, &client::version(0, 0, "{}"))
        .refused(client::errno::EBUSY);
    client.send_raw(&bytes[MIB / 2..]);
    client.receive().unwrap().ok();
    assert_eq!(client.read(3, 0, 1 << 20), data);
}

/// Conformance: S24.
#[test]
fn more_than_max_data_xfer_size_ends_the_connection() {
    let (server, mut client) = served();
    client.write(0, 0, &[5]);
    // Announced only: it is not waited for.
    client.send_raw(&client::header(7, REGION_WRITE, 16 + 16 + (1 << 20) + 1, 0));
    client.receive().unwrap().refused(EINVAL);
    client.is_closed();
    assert_eq!(Client::negotiated(&server.path()).read(0, 0, 1), [5]);
}

/// Conformance: S8.
#[test]
fn posted_writes_are_done_in_order_and_before_what_follows() {
    let (_server, mut client) = served();
    for round in 0..100u8 {
        for step in 0..20 {
            client.send(REGION_WRITE, NO_REPLY, &access(0, 0, 2, &[round, step]), &[]);
        }
        client.send(REGION_WRITE, NO_REPLY, &access(0, 0x1000, 2, &[0xff; 2]), &[]);
        assert_eq!(client.read(0, 0, 2), [round, 19]);
    }
    client.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(std::io::Read::read(&mut client.socket, &mut [0]).is_err(), "and no reply to any");
}
