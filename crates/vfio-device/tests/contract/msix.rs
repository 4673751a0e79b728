#![cfg(test)]
//! MSI-X as a guest sees it: capability, table, pending bits, masks (PCI Local Bus 3.0 section 6.8.2).
#![expect(clippy::single_range_in_vec_init, reason = "one area is a list of one")]

use std::fs::File;

use vfio_device::{BarKind, BarOffset, Capability, Description, Device, Errno, IrqAction};
use vfio_device::{IrqFlags, OpenMode, Region, SharedMemory, Vfio};

use crate::support::{
    Call, Log, Probe, alloc, config_read, config_write, event, opened, plain, read, set, set_fds,
    signals,
};

const MSIX: u32 = 2;
/// Message control of the capability at 0x40: its upper byte.
const CONTROL_HIGH: u64 = 0x43;
const ENABLE: u8 = 0x80;
const FUNCTION_MASK: u8 = 0x40;
/// Offset of the pending bits in BAR 1 of `function`.
const PENDING: u64 = 0x1000;

const fn at(bar: u32, offset: u64) -> BarOffset {
    BarOffset { bar, offset }
}

/// Registers and table in BAR 1, the table at 0x20.
fn function(vectors: u32) -> Description {
    plain().bar(1, BarKind::Memory32, Region::trapped(8192)).msix(
        vectors,
        at(1, 0x20),
        at(1, PENDING),
    )
}

/// A device whose vector 0 to 99 is fired by a write of its number to register 0, its level set by one to register 1
/// (number, level).
fn device(vectors: u32) -> (Device, Log) {
    let log = Log::default();
    let probe = Probe::acting(&log, |call, cx| {
        match call {
            Call::Write { offset: 0, data: &[vector], .. } => {
                cx.irqs.trigger(MSIX, vector.into());
            }
            Call::Write { offset: 1, data: &[vector, level], .. } => {
                cx.irqs.set_level(MSIX, vector.into(), level != 0);
            }
            _ => (),
        }
        Ok(())
    });
    (opened(function(vectors), probe), log)
}

fn fire(device: &mut Device, vector: u8) {
    device.region_write(1, 0, &[vector]).unwrap();
}

/// Gives the vectors from 0 on somewhere to go.
fn armed(device: &mut Device, count: usize) -> Vec<File> {
    let (kept, sent) = (0..count).map(|_| event()).unzip();
    set_fds(device, MSIX, IrqAction::Trigger, sent).unwrap();
    kept
}

/// Writes a vector's Vector Control.
fn control(device: &mut Device, vector: u64, value: u32) {
    device.region_write(1, 0x20 + 16 * vector + 12, &value.to_le_bytes()).unwrap();
}

fn pending(device: &mut Device) -> u64 {
    u64::from_le_bytes(read(device, 1, PENDING))
}

#[test]
fn structures_that_cannot_be_are_refused_by_name() {
    let bars = || {
        let io = Region::trapped(256);
        plain().bar(0, BarKind::Io, io).bar(1, BarKind::Memory32, Region::trapped(4096))
    };
    let one_way =
        |how: fn(Region) -> Region| plain().bar(0, BarKind::Memory32, how(Region::trapped(4096)));
    let mapped = |areas: &[std::ops::Range<u64>]| {
        let memory = SharedMemory::new("test", 0x8000).unwrap();
        let region =
            if areas.is_empty() { Region::mapped(memory) } else { Region::sparse(memory, areas) };
        plain().bar(0, BarKind::Memory32, region)
    };
    for (description, words) in [
        (bars().msix(0, at(1, 0), at(1, 0x800)), &["0 vectors", "1 to 2048"][..]),
        (bars().msix(2049, at(1, 0), at(1, 0x800)), &["2049 vectors", "1 to 2048"]),
        (bars().msix(1, at(1, 4), at(1, 0x800)), &["table", "0x4 of BAR 1", "multiple of 8"]),
        (bars().msix(1, at(1, 0), at(1, 0x801)), &["pending", "0x801", "multiple of 8"]),
        (bars().msix(1, at(1, 1 << 32), at(1, 0)), &["table", "below 4 GiB"]),
        (bars().msix(1, at(6, 0), at(1, 0)), &["table", "BAR 6", "no BAR"]),
        (bars().msix(1, at(1, 0), at(7, 0)), &["pending", "BAR 7", "no BAR"]),
        (bars().msix(1, at(1, 0), at(14, 0)), &["pending", "BAR 14", "no BAR"]),
        (bars().msix(1, at(2, 0), at(1, 0)), &["table", "BAR 2", "does not have"]),
        (bars().msix(1, at(0, 0), at(1, 0)), &["table", "BAR 0", "I/O BAR"]),
        (bars().msix(1, at(1, 0x1000), at(1, 0)), &["table", "16 bytes at 0x1000", "past the end"]),
        (
            bars().msix(65, at(1, 0), at(1, 0xff8)),
            &["pending", "16 bytes at 0xff8", "past the end"],
        ),
        (bars().msix(2, at(1, 0x10), at(1, 0x28)), &["pending", "over the table"]),
        (bars().msix(2, at(1, 0x10), at(1, 0x10)), &["pending", "over the table"]),
        (mapped(&[]).msix(1, at(0, 0), at(0, 0x800)), &["region 0", "MSI-X", "mapped memory"]),
        (
            mapped(&[0x1000..0x2000]).msix(1, at(0, 0), at(0, 0x1ff8)),
            &["region 0", "MSI-X", "mapped memory"],
        ),
        (one_way(Region::read_only).msix(1, at(0, 0), at(0, 16)), &["table", "read and written"]),
        (one_way(Region::write_only).msix(1, at(0, 0), at(0, 16)), &["table", "read and written"]),
        (
            bars().msix(1, at(1, 0), at(1, 0x10)).msix(1, at(1, 0), at(1, 0x10)),
            &["0x11", "already"],
        ),
        (bars().msix(1, at(1, 0), at(1, 0x10)).irq(2, IrqFlags::MSIX, 2), &["irq index 2"]),
    ] {
        let text = description.build().unwrap_err().to_string();
        for word in words {
            assert!(text.contains(word), "`{text}` does not say `{word}`");
        }
    }
    mapped(&[0x1000..0x2000]).msix(1, at(0, 0), at(0, 0x2000)).build().unwrap();
    bars().msix(2, at(1, 0x10), at(1, 0x30)).build().unwrap();
    plain()
        .bar(0, BarKind::Memory64, Region::trapped(1 << 16))
        .msix(2048, at(0, 0), at(0, 0x8000))
        .build()
        .unwrap();
}

#[test]
fn the_capability_says_how_many_vectors_there_are_and_where() {
    let bars = plain().bar(0, BarKind::Memory32, Region::trapped(1 << 16)).bar(
        4,
        BarKind::Prefetchable64,
        Region::trapped(4096),
    );
    let mut device =
        opened(bars.msix(2048, at(0, 0x100), at(4, 0x808)), Probe::new(&Log::default()));
    let expected = [0x11, 0, 0xff, 0x07, 0x00, 0x01, 0, 0, 0x0c, 0x08, 0, 0];
    assert_eq!(config_read(&mut device, 0x40), expected);
    config_write(&mut device, 0x40, &[0xff; 12]);
    let mut written = expected;
    written[3] = 0xc7; // Enable and Function Mask
    assert_eq!(config_read(&mut device, 0x40), written);
    let info = device.irqs().info(MSIX).unwrap();
    assert_eq!((info.flags.bits(), info.count), (1, 2048), "EVENTFD, and not NORESIZE");
}

#[test]
fn the_table_is_at_rest_masked_and_keeps_what_a_guest_may_write() {
    let (mut device, log) = device(3);
    for vector in 0..3 {
        let entry: [u8; 16] = read(&mut device, 1, 0x20 + 16 * vector);
        assert_eq!(entry, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    }
    log.take();
    device.region_write(1, 0x30, &[0xff; 16]).unwrap();
    let entry: [u8; 16] = read(&mut device, 1, 0x30);
    let written =
        [0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0, 0, 0];
    assert_eq!(entry, written, "address low bits and reserved bits read as 0");
    for (offset, byte) in [(0u64, 0xfc), (7, 0xff), (11, 0xff), (12, 0x01), (13, 0)] {
        assert_eq!(read(&mut device, 1, 0x30 + offset), [byte], "one byte at {offset}");
    }
    assert_eq!(log.take(), Vec::<String>::new(), "the device hears nothing of it");
}

#[test]
fn registers_around_the_structures_are_the_devices() {
    let (mut device, log) = device(2);
    log.take();
    device.region_write(1, 0x1c, &[7; 4 + 32 + 3]).unwrap();
    assert_eq!(log.take(), ["write 1 0x1c [07, 07, 07, 07]", "write 1 0x40 [07, 07, 07]"]);
    let _: [u8; 16] = read(&mut device, 1, PENDING - 4);
    assert_eq!(log.take(), ["read 1 0xffc 4", "read 1 0x1008 4"]);
    let address: [u8; 4] = read(&mut device, 1, 0x20);
    assert_eq!(address, [4, 7, 7, 7]);
}

#[test]
fn pending_bits_cannot_be_written() {
    let (mut device, log) = device(3);
    log.take();
    device.region_write(1, PENDING, &[0xff; 8]).unwrap();
    assert_eq!(pending(&mut device), 0);
    assert_eq!(log.take(), Vec::<String>::new());
}

#[test]
fn a_client_that_keeps_the_table_itself_gets_every_interrupt() {
    let (mut device, _) = device(3);
    let events = armed(&mut device, 3);
    fire(&mut device, 1);
    fire(&mut device, 1);
    assert_eq!(events.iter().map(signals).collect::<Vec<_>>(), [0, 2, 0]);
    assert_eq!(pending(&mut device), 0);
}

#[test]
fn a_vector_that_the_guest_masks_shows_as_pending_and_fires_once_at_unmask() {
    let (mut device, _) = device(3);
    let events = armed(&mut device, 3);
    control(&mut device, 1, 1);
    (0..3).for_each(|_| fire(&mut device, 1));
    fire(&mut device, 2);
    assert_eq!(events.iter().map(signals).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(pending(&mut device), 0b010);
    control(&mut device, 1, 0xffff_fffe);
    assert_eq!(events.iter().map(signals).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(pending(&mut device), 0);
    control(&mut device, 1, 0);
    assert_eq!(signals(&events[1]), 0, "not twice");
}

#[test]
fn function_mask_holds_all_vectors_while_enabled() {
    let (mut device, _) = device(65);
    let events = armed(&mut device, 65);
    config_write(&mut device, CONTROL_HIGH, &[FUNCTION_MASK]);
    fire(&mut device, 0);
    assert_eq!(signals(&events[0]), 1, "MSI-X is not enabled: the bit says nothing");
    config_write(&mut device, CONTROL_HIGH, &[ENABLE | FUNCTION_MASK]);
    control(&mut device, 9, 1);
    for vector in [0, 9, 63, 64] {
        fire(&mut device, vector);
    }
    assert!(events.iter().all(|event| signals(event) == 0));
    assert_eq!(pending(&mut device), 1 << 63 | 1 << 9 | 1);
    assert_eq!(read(&mut device, 1, PENDING + 8), 1u64.to_le_bytes());
    config_write(&mut device, CONTROL_HIGH, &[ENABLE]);
    let heard: Vec<_> = (0..65).filter(|&vector| signals(&events[vector]) == 1).collect();
    assert_eq!(heard, [0, 63, 64]);
    assert_eq!(pending(&mut device), 1 << 9, "masked by the table as well");
    control(&mut device, 9, 0);
    assert_eq!((signals(&events[9]), pending(&mut device)), (1, 0));
}

#[test]
fn what_is_pending_waits_for_a_client_that_sets_the_vector_up_later() {
    let (mut device, _) = device(1);
    control(&mut device, 0, 1);
    fire(&mut device, 0);
    assert_eq!(pending(&mut device), 1);
    let events = armed(&mut device, 1);
    assert_eq!(signals(&events[0]), 0);
    control(&mut device, 0, 0);
    assert_eq!(signals(&events[0]), 1);
}

#[test]
fn what_the_guest_unmasks_before_the_client_listens_is_not_lost() {
    let (mut device, _) = device(2);
    config_write(&mut device, CONTROL_HIGH, &[ENABLE | FUNCTION_MASK]);
    control(&mut device, 1, 1);
    fire(&mut device, 0);
    fire(&mut device, 1);
    config_write(&mut device, CONTROL_HIGH, &[ENABLE]);
    control(&mut device, 1, 0);
    assert_eq!(pending(&mut device), 0b11, "nobody has heard of them");
    let events = armed(&mut device, 2);
    assert_eq!(events.iter().map(signals).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(pending(&mut device), 0);
}

#[test]
fn what_the_guest_masks_stays_pending_while_the_client_sets_its_vectors_up_anew() {
    for by_table in [true, false] {
        let (mut device, _) = device(2);
        let events = armed(&mut device, 2);
        if by_table {
            control(&mut device, 0, 1);
        } else {
            config_write(&mut device, CONTROL_HIGH, &[ENABLE | FUNCTION_MASK]);
        }
        fire(&mut device, 0);
        set(&mut device, MSIX, IrqAction::Trigger, 0..0).unwrap();
        assert_eq!(pending(&mut device), 1);
        let anew = armed(&mut device, 2);
        control(&mut device, 0, 0);
        config_write(&mut device, CONTROL_HIGH, &[ENABLE]);
        assert_eq!((signals(&events[0]), signals(&anew[0])), (0, 1), "by the table: {by_table}");
        assert_eq!(pending(&mut device), 0);
    }
}

#[test]
fn pending_bits_can_lie_below_the_table() {
    let description =
        plain().bar(0, BarKind::Memory32, Region::trapped(4096)).msix(2, at(0, 0x100), at(0, 0x40));
    let log = Log::default();
    let mut device = opened(description, Probe::new(&log));
    log.take();
    let mut all = [0xaa; 0x140];
    device.region_read(0, 0, &mut all).unwrap();
    assert_eq!(log.take(), ["read 0 0x0 64", "read 0 0x48 184", "read 0 0x120 32"]);
    assert_eq!((all[0x40..0x48] == [0; 8], all[0x10c], all[0x11c]), (true, 1, 1));
}

#[test]
fn a_rise_of_a_level_is_one_message() {
    let (mut device, _) = device(1);
    let events = armed(&mut device, 1);
    for _ in 0..2 {
        device.region_write(1, 1, &[0, 1]).unwrap();
    }
    assert_eq!(signals(&events[0]), 1);
    control(&mut device, 0, 1);
    device.region_write(1, 1, &[0, 0]).unwrap();
    device.region_write(1, 1, &[0, 1]).unwrap();
    device.region_write(1, 1, &[0, 0]).unwrap();
    control(&mut device, 0, 0);
    assert_eq!((pending(&mut device), signals(&events[0])), (0, 0), "its cause has gone");
    control(&mut device, 0, 1);
    device.region_write(1, 1, &[0, 1]).unwrap();
    fire(&mut device, 0);
    device.region_write(1, 1, &[0, 0]).unwrap();
    assert_eq!(pending(&mut device), 1, "an event of its own");
    control(&mut device, 0, 0);
    assert_eq!(signals(&events[0]), 1);
}

#[test]
fn vectors_are_set_up_one_by_one_and_taken_down_together() {
    let (mut device, _) = device(4);
    let (kept, sent) = event();
    let one = vfio_device::IrqData::Eventfd(vec![sent].into_iter());
    device.set_irqs(MSIX, IrqAction::Trigger, 2..3, one).unwrap();
    fire(&mut device, 1);
    fire(&mut device, 2);
    assert_eq!(signals(&kept), 1);
    assert_eq!(set(&mut device, MSIX, IrqAction::Mask, 2..3), Err(Errno::INVAL), "not by message");
    set(&mut device, MSIX, IrqAction::Trigger, 0..0).unwrap();
    fire(&mut device, 2);
    assert_eq!(signals(&kept), 0);
}

#[test]
fn a_reset_leaves_the_table_at_rest_and_nothing_pending() {
    let (mut device, _) = device(2);
    let events = armed(&mut device, 2);
    config_write(&mut device, CONTROL_HIGH, &[ENABLE | FUNCTION_MASK]);
    device.region_write(1, 0x20, &[0xff; 16]).unwrap();
    fire(&mut device, 0);
    fire(&mut device, 1);
    device.reset();
    assert_eq!(config_read(&mut device, CONTROL_HIGH), [0]);
    assert_eq!(pending(&mut device), 0);
    let entry: [u8; 16] = read(&mut device, 1, 0x20);
    assert_eq!(entry, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert!(events.iter().all(|event| signals(event) == 0), "what was pending is gone");
    fire(&mut device, 0);
    assert_eq!(signals(&events[0]), 1, "where it goes, the client has said, and it stays");
}

#[test]
fn the_next_client_finds_nothing_held() {
    let log = Log::default();
    let probe = Probe::acting(&log, |call, cx| {
        if let Call::Write { offset: 0, .. } = call {
            cx.irqs.trigger(MSIX, 0);
        }
        Ok(())
    });
    let mut device = alloc(&Vfio::new(), function(1), probe);
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    for by_table in [true, false] {
        if by_table {
            control(&mut device, 0, 1);
        } else {
            config_write(&mut device, CONTROL_HIGH, &[ENABLE | FUNCTION_MASK]);
        }
        fire(&mut device, 0);
        device.close();
        device.open(OpenMode::Exclusive).unwrap();
        assert_eq!((pending(&mut device), config_read(&mut device, CONTROL_HIGH)), (0, [0]));
        config_write(&mut device, 0x3c, &[11]);
        let events = armed(&mut device, 1);
        fire(&mut device, 0);
        assert_eq!(signals(&events[0]), 1, "by the table: {by_table}");
    }
}

#[test]
fn an_own_capability_leaves_the_table_to_the_device() {
    let body = [0, 0, 0, 0, 0, 0, 0, 0x08, 0, 0];
    let own = Capability::raw(0x11, body, [0, 0xc0]);
    let bar = Region::trapped(4096);
    let description =
        plain().bar(0, BarKind::Memory32, bar).capability(own).irq(2, IrqFlags::MSIX, 1);
    let log = Log::default();
    let mut device = opened(description, Probe::new(&log));
    log.take();
    device.region_write(0, 12, &[1, 0, 0, 0]).unwrap();
    assert_eq!(log.take(), ["write 0 0xc [01, 00, 00, 00]"]);
}
