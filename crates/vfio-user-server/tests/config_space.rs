#![cfg(test)]
//! Configuration space as a client sees it: what a guest sizes, what it may store, and what stays as it is.

#[path = "common/client.rs"]
mod client;
#[path = "common/heard.rs"]
mod heard;
#[path = "common/server.rs"]
mod server;

use std::os::fd::AsFd;

use client::{Client, access, command::REGION_WRITE, errno::EINVAL};
use heard::{Heard, Log};
use server::{Server, card};
use vfio_device::{BarKind, BarOffset, Capability, Description, Region};

const CONFIG: u32 = 7;

/// Writes ones to a register and reads back what it made of them.
fn sized(client: &mut Client, register: u64, width: usize) -> u64 {
    client.write(CONFIG, register, &vec![0xff; width]);
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(&client.read(CONFIG, register, width as u32));
    u64::from_le_bytes(bytes)
}

/// A function with 4096 bytes of configuration space.
fn express() -> Description {
    card()
        .capability(Capability::power_management())
        .capability(Capability::pci_express())
        .extended_capability(Capability::serial_number(8 << 32 | 4))
}

/// Conformance: B21.
#[test]
fn a_write_of_any_length_at_any_offset_of_4096_bytes_stays_within() {
    let server = Server::of(express);
    let mut client = Client::negotiated(&server.path());
    let identity = client.read(CONFIG, 0, 4);
    for offset in (0..0x140).chain((0x140..4096).step_by(61)).chain(4090..4096) {
        let whole = access(CONFIG, offset, 4096, &[0xff; 4096]);
        let reply = client.call(REGION_WRITE, &whole);
        if offset == 0 {
            drop(reply.ok())
        } else {
            reply.refused(EINVAL)
        }
        let rest = 4096 - offset as usize;
        client.write(CONFIG, offset, &vec![0xff; rest]);
    }
    client.still_in_step();
    assert_eq!(client.read(CONFIG, 0, 4), identity);
    assert_eq!(client.read(CONFIG, 0x104, 8), [4, 0, 0, 0, 8, 0, 0, 0]);
}

/// Conformance: B30.
#[test]
fn every_byte_takes_a_store_of_one_byte() {
    for (server, size) in [(Server::of(card), 256), (Server::of(express), 4096)] {
        let mut client = Client::negotiated(&server.path());
        for offset in 0..size {
            for byte in [0xff, 0] {
                client.write(CONFIG, offset, &[byte]);
            }
        }
        client.still_in_step();
    }
}

/// Conformance: A48.
#[test]
fn bars_of_32_bits_are_sized_and_those_that_are_not_there_read_0() {
    let server = Server::of(|| {
        let bar = |size| Region::trapped(size);
        Description::pci(1, 2)
            .bar(1, BarKind::Memory32, bar(4 << 10))
            .bar(2, BarKind::Memory32, bar(8 << 10))
            .bar(3, BarKind::Memory32, bar(16 << 10))
    });
    let mut client = Client::negotiated(&server.path());
    for (register, mask) in [
        (0x14, 0xffff_f000),
        (0x18, 0xffff_e000),
        (0x1c, 0xffff_c000),
        (0x10, 0),
        (0x20, 0),
        (0x24, 0),
    ] {
        assert_eq!(sized(&mut client, register, 4), mask, "register {register:#x}");
    }
}

/// Conformance: A49.
#[test]
fn bars_of_64_bits_are_sized_over_both_their_registers() {
    let server = Server::of(|| {
        let bar = |gib: u64| Region::trapped(gib << 30);
        Description::pci(1, 2)
            .bar(0, BarKind::Prefetchable64, bar(4))
            .bar(2, BarKind::Prefetchable64, bar(8))
            .bar(4, BarKind::Memory64, bar(16))
    });
    let mut client = Client::negotiated(&server.path());
    // 64-bit and prefetchable, and 64-bit alone.
    for (register, gib, kind) in [(0x10, 4, 0xc), (0x18, 8, 0xc), (0x20, 16, 0x4)] {
        let size: u64 = gib << 30;
        let expected = 0_u64.wrapping_sub(size) | kind;
        assert_eq!(sized(&mut client, register, 8), expected, "8 bytes at once, {register:#x}");
        let halves = [sized(&mut client, register, 4), sized(&mut client, register + 4, 4)];
        assert_eq!(halves[0] | halves[1] << 32, expected, "one after the other, {register:#x}");
        assert_eq!(client.region_info((register as u32 - 0x10) / 4, 32).ok().u64(16), size);
    }
}

/// Conformance: A105.
#[test]
fn what_the_device_puts_into_it_is_what_a_client_reads() {
    let log = Log::default();
    let device = Heard { log: log.clone(), busy: None };
    let server = Server::start(move || (card(), Box::new(device)));
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.read(CONFIG, 0xc0, 2), [0, 0]);
    client.write(0, 0x10, &[0xca, 0xfe]);
    assert_eq!(client.read(CONFIG, 0xc0, 2), [0xca, 0xfe]);
    assert_eq!(client.read(CONFIG, 0xc1, 2), [0xfe, 0]);
    client.write(CONFIG, 0xc0, &[1, 1]);
    assert_eq!(client.read(CONFIG, 0xc0, 2), [0xca, 0xfe], "a guest cannot change it");
}

/// Power management at 0x40, vendor capabilities at 0x48 and 0x50, MSI with 16 vectors at 0x60.
fn conventional() -> Description {
    card()
        .capability(Capability::power_management())
        .capability(Capability::vendor(b"abc"))
        .capability(Capability::vendor(b"Hello world.").writable())
        .msi(4)
}

/// Conformance: A174, A175, A177, A179.
#[test]
fn what_a_guest_may_not_change_takes_its_stores_and_stays() {
    let server = Server::of(conventional);
    let mut client = Client::negotiated(&server.path());
    let before = client.read(CONFIG, 0, 256);
    assert_eq!(before[0x4b..0x4e], *b"abc");
    for (what, offset, width) in [
        ("id of a capability", 0x40, 1),
        ("next of a capability", 0x41, 1),
        ("length of a read-only vendor capability", 0x4a, 1),
        ("its data", 0x4b, 3),
        ("PMC", 0x42, 1),
        ("PMC, misaligned", 0x43, 1),
        ("PMC", 0x42, 2),
        ("bridge extensions", 0x46, 1),
        ("data", 0x47, 1),
        ("both", 0x46, 2),
    ] {
        for byte in [0, 0xff] {
            client.write(CONFIG, offset, &vec![byte; width]);
            client.still_in_step();
            assert_eq!(client.read(CONFIG, 0, 256), before, "{what}: {width} at {offset:#x}");
        }
    }
    client.write(CONFIG, 0x43, &[0, 0]);
    assert_eq!(client.read(CONFIG, 0x42, 2), before[0x42..0x44], "PMC, misaligned and across");
}

/// Conformance: A178.
#[test]
fn power_state_is_stored_by_one_byte_and_by_two() {
    let server = Server::of(conventional);
    let mut client = Client::negotiated(&server.path());
    for (data, state) in [(&[3, 0][..], 3), (&[0], 0), (&[3], 3), (&[0, 0], 0)] {
        client.write(CONFIG, 0x44, data);
        assert_eq!(client.read(CONFIG, 0x44, 1)[0] & 3, state, "{data:?}");
    }
}

/// Conformance: A176.
#[test]
fn a_writable_vendor_capability_is_written_and_its_header_is_not() {
    let server = Server::of(conventional);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.read(CONFIG, 0x53, 12), b"Hello world.");
    client.write(CONFIG, 0x53, b"Bye world.");
    assert_eq!(client.read(CONFIG, 0x53, 12), b"Bye world.d.");
    let header = client.read(CONFIG, 0x50, 3);
    client.write(CONFIG, 0x50, &[0xff; 3]);
    assert_eq!(client.read(CONFIG, 0x50, 3), header);
}

/// Conformance: A182, A183, A184, A185.
#[test]
fn msi_control_takes_what_its_bits_can_hold() {
    const CONTROL: u64 = 0x62;
    let server = Server::of(conventional);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.read(CONFIG, 0x60, 1), [5]);
    let mut control = |value: u16| {
        client.write(CONFIG, CONTROL, &value.to_le_bytes());
        client.still_in_step();
        let read = client.read(CONFIG, CONTROL, 2);
        u16::from_le_bytes([read[0], read[1]])
    };
    // 64-bit addresses (bit 7) and 16 vectors (bits 3:1) stand in each.
    assert_eq!(control(0), 0x0088);
    assert_eq!(control(0xffff), 0x00f9);
    assert_eq!(control(5 << 4), 0x00d8, "32 vectors: more than there are");
    assert_eq!(control(1 | 4 << 4), 0x00c9, "on, all 16");
    client.write(CONFIG, CONTROL + 2, &[0xff; 10]);
    client.write(CONFIG, CONTROL, &[0; 12]);
    assert_eq!(client.read(CONFIG, CONTROL, 12), [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A serial number at 0x100, vendor data at 0x10c and 0x11c.
fn extended() -> Description {
    let vendor = |data: &[u8]| Capability::vendor_extended(0x1234, 0, data);
    express()
        .extended_capability(vendor(b"abcde"))
        .extended_capability(vendor(b"Hello world.").writable())
}

/// Conformance: A191, A192, A193, A195.
#[test]
fn extended_capabilities_that_are_read_only_take_stores_and_stay() {
    let server = Server::of(extended);
    let mut client = Client::negotiated(&server.path());
    let before = client.read(CONFIG, 0x100, 0x30);
    assert_eq!(before[4..12], [4, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(before[0x14..0x19], *b"abcde");
    for (what, offset, width) in [
        ("a header", 0x100, 1),
        ("a header", 0x10c, 4),
        ("the vendor's header", 0x110, 1),
        ("the vendor's header", 0x110, 4),
        ("its data", 0x114, 1),
        ("its data", 0x114, 5),
        ("the serial number", 0x104, 8),
    ] {
        client.write(CONFIG, offset, &vec![0xff; width]);
        client.still_in_step();
        assert_eq!(client.read(CONFIG, 0x100, 0x30), before, "{what}: {width} at {offset:#x}");
    }
}

/// Conformance: A194.
#[test]
fn writable_extended_vendor_data_are_written_and_headers_are_not() {
    let server = Server::of(extended);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.read(CONFIG, 0x124, 12), b"Hello world.");
    client.write(CONFIG, 0x124, b"Bye world.");
    assert_eq!(client.read(CONFIG, 0x124, 12), b"Bye world.d.");
    let headers = client.read(CONFIG, 0x11c, 8);
    client.write(CONFIG, 0x11c, &[0xff; 8]);
    assert_eq!(client.read(CONFIG, 0x11c, 8), headers);
}

/// A device with one capability at 0x40, a client that has moved BAR 0, and what the device hears.
fn resettable(capability: Capability) -> (Server, Client, Log) {
    let log = Log::default();
    let device = Heard { log: log.clone(), busy: None };
    let server = Server::start(move || (card().capability(capability), Box::new(device)));
    let mut client = Client::negotiated(&server.path());
    client.write(CONFIG, 0x10, &[0, 0, 0xc0, 0xfe]);
    (server, client, log)
}

/// Conformance: A180.
#[test]
fn a_function_level_reset_by_device_control_is_a_reset() {
    const DEVICE_CONTROL: u64 = 0x48;
    let (_server, mut client, log) = resettable(Capability::pci_express());
    let irq = client::eventfd(0);
    client.set_irqs([0x24, 0, 0, 1], &[], &[irq.as_fd()]).ok();
    client.write(CONFIG, DEVICE_CONTROL, &[0, 0x80]);
    assert_eq!(log.all(), ["open", "reset"]);
    assert_eq!(client.read(CONFIG, DEVICE_CONTROL, 2)[1] & 0x80, 0, "the bit reads 0");
    assert_eq!(client.read(CONFIG, 0x10, 4), [0; 4], "the BAR");
    assert_eq!(client::holders(&irq), 2, "what the client set up stays");
    client.still_in_step();
}

/// Conformance: A181.
#[test]
fn a_function_level_reset_comes_with_a_store_of_any_width() {
    let (_server, mut client, log) = resettable(Capability::pci_express());
    // Device control is at 0x48; its bit 15 is the highest of the byte at 0x49.
    for (offset, data, resets) in [
        (0x47, &[0x80][..], 0),
        (0x49, &[0x7f], 0),
        (0x49, &[0x80], 1),
        (0x47, &[0, 0, 0x80], 1),
        (0x49, &[0x80, 0, 0], 1),
        (0x4a, &[0x80, 0x80], 0),
        (0x48, &[0, 0x80, 0, 0], 1),
    ] {
        let before = log.count("reset");
        client.write(CONFIG, offset, data);
        assert_eq!(log.count("reset") - before, resets, "{data:x?} at {offset:#x}");
        client.still_in_step();
    }
}

/// Conformance: A190.
#[test]
fn device_control_2_and_link_control_2_are_stored() {
    let (_server, mut client, log) = resettable(Capability::pci_express());
    // Completion timeout; target link speed. The other bits are not there.
    for (what, offset, mask) in [("device control 2", 0x68, 0x1f), ("link control 2", 0x70, 0x0f)] {
        for value in [0xff, 0x05, 0x00] {
            client.write(CONFIG, offset, &[value, value]);
            assert_eq!(client.read(CONFIG, offset, 2), [value & mask, 0], "{what}");
        }
    }
    assert_eq!(log.count("reset"), 0);
}

/// Conformance: A186, A187, A188, A189.
#[test]
fn msix_control_takes_enable_and_function_mask() {
    const CONTROL: u64 = 0x42;
    let server = Server::of(|| {
        let at = |offset| BarOffset { bar: 2, offset };
        card().bar(2, BarKind::Memory32, Region::trapped(0x10000)).msix(2048, at(0), at(0x8000))
    });
    let mut client = Client::negotiated(&server.path());
    let stands = client.read(CONFIG, 0x40, 12);
    assert_eq!((stands[0], &stands[2..]), (0x11, &[0xff, 7, 2, 0, 0, 0, 2, 0x80, 0, 0][..]));
    for (what, offset, data, control_high) in [
        ("all ones", CONTROL, &[0xff, 0xff][..], 0xc7),
        ("zeros", CONTROL, &[0, 0], 0x07),
        ("its second byte and the one behind it", CONTROL + 1, &[0xc0, 0xff], 0xc7),
        ("a byte of the table register", CONTROL + 2, &[0xff], 0xc7),
        ("Enable alone", CONTROL + 1, &[0x80], 0x87),
    ] {
        client.write(CONFIG, offset, data);
        client.still_in_step();
        let mut expected = stands.clone();
        expected[3] = control_high;
        assert_eq!(client.read(CONFIG, 0x40, 12), expected, "{what}");
    }
}
