#![cfg(test)]
//! DEVICE_GET_REGION_INFO: sizes, permissions, the capability chain, and the descriptor to map.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::os::fd::AsFd;

use client::{Client, Witness, command, command::DEVICE_GET_REGION_INFO, errno::EINVAL, words};
use server::Server;
use vfio_device::{BarKind, Description, Region, SharedMemory};

const READ: u32 = 1;
const WRITE: u32 = 2;
const MMAP: u32 = 4;
const CAPS: u32 = 8;

fn memory(size: u64) -> SharedMemory {
    SharedMemory::new("region-info", size).unwrap()
}

/// BAR1 registers; BAR2 registers and two mappable areas; BAR3 all mappable; BAR4 with nine areas; a ROM; regions 9 and 10
/// device-specific, the latter sparse.
fn description() -> Description {
    let one = Vec::from_iter([0x1000].map(|start| start..0x2000));
    let nine: Vec<_> = (0..9).map(|area| area * 0x2000..area * 0x2000 + 0x1000).collect();
    Description::pci(1, 2)
        .bar(1, BarKind::Memory32, Region::trapped(0x1000))
        .bar(2, BarKind::Memory32, Region::sparse(memory(0x8000), [0x2000..0x3000, 0x4000..0x6000]))
        .bar(3, BarKind::Prefetchable32, Region::mapped(memory(0x10000)))
        .bar(4, BarKind::Memory32, Region::sparse(memory(0x20000), nine))
        .rom(Region::trapped(0x800))
        .region(9, Region::trapped(0x30).with_type(0x8000_10de, 1))
        .region(
            10,
            Region::sparse(SharedMemory::new_read_only("region-info", 0x2000).unwrap(), one)
                .with_type(1, 2)
                .read_only(),
        )
}

/// The answer without capabilities.
fn plain(argsz: u32, flags: u32, index: u32, size: u32) -> Vec<u8> {
    words(&[argsz, flags, index, 0, size, 0, 0, 0])
}

fn size_of(fd: impl AsFd) -> u64 {
    u64::try_from(rustix::fs::fstat(fd).unwrap().st_size).unwrap()
}

/// Conformance: A37.
#[test]
fn a_body_of_another_size_is_refused() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for body in [words(&[]), words(&[32, 0]), words(&[32, 0, 0, 0, 0, 0, 0]), words(&[32; 9])] {
        client.call(DEVICE_GET_REGION_INFO, &body).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A38.
#[test]
fn an_argsz_below_the_fixed_answer_is_refused() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for argsz in [0, 8, 31] {
        for index in [1, 2, 0] {
            client.region_info(index, argsz).refused(EINVAL);
            client.still_in_step();
        }
    }
}

/// Conformance: A39.
#[test]
fn an_index_beyond_the_last_is_refused() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for index in [11, 512, u32::MAX] {
        client.region_info(index, 32).refused(EINVAL);
        client.still_in_step();
    }
    // Without regions of its own a PCI device has nine.
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    client.region_info(8, 32).ok();
    client.region_info(9, 32).refused(EINVAL);
    client.still_in_step();
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let witness = Witness::new();
    let body = words(&[32, 0, 1, 0, 0, 0, 0, 0]);
    client.call_with_fds(DEVICE_GET_REGION_INFO, &body, &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
}

/// Conformance: A40.
#[test]
fn registers_can_be_read_and_written_and_not_mapped() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for argsz in [32, 40, u32::MAX] {
        let reply = client.region_info(1, argsz).ok();
        assert_eq!(reply.body, plain(32, READ | WRITE, 1, 0x1000), "argsz {argsz}");
        assert!(reply.fds.is_empty());
    }
}

/// Conformance: A43.
#[test]
fn an_absent_region_has_size_0_and_no_flags() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for index in [0, 5, 8] {
        let reply = client.region_info(index, 32).ok();
        assert_eq!(reply.body, plain(32, 0, index, 0));
        assert!(reply.fds.is_empty());
    }
}

#[test]
fn a_rom_can_only_be_read() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.region_info(6, 32).ok().body, plain(32, READ, 6, 0x800));
}

/// Conformance: A44, A45.
#[test]
fn configuration_space_has_256_bytes_or_4096() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.region_info(7, 40).ok().body, plain(32, READ | WRITE, 7, 256));
    let server = Server::of(|| {
        Description::pci(1, 2)
            .capability(vfio_device::Capability::pci_express())
            .extended_capability(vfio_device::Capability::serial_number(1))
    });
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.region_info(7, 40).ok().body, plain(32, READ | WRITE, 7, 4096));
}

/// Conformance: A46.
#[test]
fn sizes_beyond_4_gib_are_told_exactly() {
    let server = Server::of(|| {
        Description::pci(1, 2).bar(0, BarKind::Prefetchable64, Region::trapped(4 << 30)).bar(
            2,
            BarKind::Prefetchable64,
            Region::trapped(8 << 30),
        )
    });
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.region_info(0, 32).ok().u64(16), 4 << 30);
    assert_eq!(client.region_info(2, 32).ok().u64(16), 8 << 30);
}

/// Conformance: S38.
#[test]
fn memory_from_end_to_end_comes_with_its_descriptor() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for _ in 0..2 {
        let reply = client.region_info(3, 32).ok();
        assert_eq!(reply.body, plain(32, READ | WRITE | MMAP, 3, 0x10000));
        let [fd] = &reply.fds[..] else { panic!("{} descriptors", reply.fds.len()) };
        assert_eq!(size_of(fd), 0x10000);
        rustix::io::pwrite(fd, &[0x5a], 0x123).unwrap();
        assert_eq!(client.read(3, 0x123, 1), [0x5a], "the very same memory");
    }
}

/// Conformance: A41, S17.
#[test]
fn without_room_for_the_capabilities_the_answer_says_how_much_it_takes() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for argsz in [32, 33, 79] {
        let reply = client.region_info(2, argsz).ok();
        assert_eq!(reply.body, plain(80, READ | WRITE | MMAP, 2, 0x8000), "argsz {argsz}");
        assert_eq!(reply.fds.len(), 1, "MMAP says that a descriptor comes along");
    }
}

/// Conformance: B27.
#[test]
fn qemu_asks_again_with_the_size_that_it_was_told() {
    let area = Vec::from_iter([0x1000].map(|start| start..0x3000));
    let server = Server::of(move || {
        Description::pci(1, 2).bar(2, BarKind::Memory32, Region::sparse(memory(0x4000), area))
    });
    let mut client = Client::negotiated(&server.path());
    let first = client.region_info(2, 32).ok();
    assert_eq!((first.u32(0), first.body.len(), first.u32(4) & CAPS), (64, 32, 0));
    let second = client.region_info(2, first.u32(0)).ok();
    assert_eq!((second.u32(0), second.body.len(), second.u32(4) & CAPS), (64, 64, CAPS));
    assert_eq!((second.u64(48), second.u64(56), second.fds.len()), (0x1000, 0x2000, 1));
}

/// Conformance: S34.
#[test]
fn fields_that_only_the_answer_has_may_hold_anything() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let asked = words(&[32, !0, 1, !0, !0, !0, !0, !0]);
    let reply = client.call(DEVICE_GET_REGION_INFO, &asked).ok();
    assert_eq!(reply.body, plain(32, READ | WRITE, 1, 0x1000));
}

/// Conformance: A42, S39.
#[test]
fn mappable_areas_are_listed_and_one_descriptor_comes_along() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for argsz in [80, 81, 4096] {
        let reply = client.region_info(2, argsz).ok();
        let mut expected = words(&[80, READ | WRITE | MMAP | CAPS, 2, 32, 0x8000, 0, 0, 0]);
        expected.extend(words(&[1 << 16 | 1, 0, 2, 0])); // id 1, version 1, last; 2 areas
        expected.extend(words(&[0x2000, 0, 0x1000, 0, 0x4000, 0, 0x2000, 0]));
        assert_eq!(reply.body, expected, "argsz {argsz}");
        let [fd] = &reply.fds[..] else { panic!("{} descriptors", reply.fds.len()) };
        assert!(size_of(fd) >= 0x8000, "an area beyond the file would be a SIGBUS in the client");
    }
}

/// Conformance: A47.
#[test]
fn nine_areas_are_listed_in_order() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.region_info(4, 32).ok().u32(0), 192);
    let reply = client.region_info(4, 192).ok();
    assert_eq!((reply.body.len(), reply.u32(40)), (192, 9));
    for area in 0..9 {
        let at = 48 + 16 * area;
        assert_eq!((reply.u64(at), reply.u64(at + 8)), (0x2000 * area as u64, 0x1000));
    }
}

/// Conformance: S41.
#[test]
fn a_device_specific_region_says_its_type() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.region_info(9, 47).ok().body, plain(48, READ | WRITE, 9, 0x30));
    let reply = client.region_info(9, 48).ok();
    let mut expected = words(&[48, READ | WRITE | CAPS, 9, 32, 0x30, 0, 0, 0]);
    expected.extend(words(&[1 << 16 | 2, 0, 0x8000_10de, 1])); // id 2, version 1, last
    assert_eq!(reply.body, expected);
    assert!(reply.fds.is_empty());
}

/// Conformance: S40.
#[test]
fn two_capabilities_are_chained() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let reply = client.region_info(10, 80).ok();
    let mut expected = words(&[80, READ | MMAP | CAPS, 10, 32, 0x2000, 0, 0, 0]);
    expected.extend(words(&[1 << 16 | 1, 64, 1, 0, 0x1000, 0, 0x1000, 0]));
    expected.extend(words(&[1 << 16 | 2, 0, 1, 2]));
    assert_eq!(reply.body, expected);
    assert_eq!(reply.fds.len(), 1);
}

/// Conformance: S23.
#[test]
fn a_client_that_takes_no_descriptors_is_offered_no_mapping() {
    let server = Server::of(description);
    let mut client = Client::connect(&server.path());
    let json = r#"{"capabilities":{"max_msg_fds":0}}"#;
    client.call(command::VERSION, &client::version(0, 0, json)).ok();
    for (index, argsz) in [(3, 32), (2, 32), (2, 80)] {
        let reply = client.region_info(index, argsz).ok();
        assert_eq!(reply.u32(4) & MMAP, 0, "region {index}");
        assert!(reply.fds.is_empty(), "region {index}");
    }
    client.write(3, 0, &[1, 2]);
    assert_eq!(client.read(3, 0, 2), [1, 2], "messages reach the memory");
}

/// Conformance: S23.
#[test]
fn a_client_that_leaves_the_number_of_descriptors_out_takes_one() {
    let server = Server::of(description);
    let mut client = Client::connect(&server.path());
    client.call(command::VERSION, &client::version(0, 0, "{}")).ok();
    assert_eq!(client.region_info(3, 32).ok().fds.len(), 1);
}
