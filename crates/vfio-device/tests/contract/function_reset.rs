#![cfg(test)]
//! Resets that a guest asks for by configuration space: PCI Express FLR, Advanced Features FLR, D3hot to D0.

use vfio_device::{BarKind, Capability, Description, Device, Region};

use crate::support::{Call, Log, Probe, config_read, config_write, opened, plain};

/// A device with a timer and a level that are on from its opening, and one capability at 0x40.
fn device(capability: Capability) -> (Device, Log) {
    let description: Description =
        plain().bar(0, BarKind::Memory32, Region::trapped(16)).intx().capability(capability);
    let log = Log::default();
    let probe = Probe::acting(&log, |call, cx| {
        if let Call::Open = call {
            cx.irqs.set_level(0, 0, true);
            cx.timers.start(1, std::time::Duration::from_secs(3600));
        }
        Ok(())
    });
    let mut device = opened(description, probe);
    config_write(&mut device, 0x10, &0xfebf_0000_u32.to_le_bytes());
    log.take();
    (device, log)
}

/// Asserts that the function has been reset, once, and that the device heard of nothing else.
#[track_caller]
fn assert_reset(device: &mut Device, log: &Log) {
    assert_eq!(log.take(), ["reset"]);
    assert_eq!(config_read(device, 0x10), [0; 4], "the BAR");
    assert!(!device.irqs().level(0, 0));
    assert_eq!(device.next_timer(), None);
}

#[track_caller]
fn assert_no_reset(device: &mut Device, log: &Log) {
    let calls = log.take();
    assert!(!calls.iter().any(|call| call == "reset"), "{calls:?}");
    assert_eq!(config_read(device, 0x10), 0xfebf_0000_u32.to_le_bytes());
}

#[test]
fn pci_express_function_level_reset_at_any_width_and_the_bit_reads_0() {
    // Device control is at offset 8 of the capability, its bit 15 starts the reset.
    for (offset, data) in [
        (0x48, &[0x00, 0x80][..]),
        (0x49, &[0x80]),
        (0x48, &[0x10, 0xa8, 0, 0]),
        (0x47, &[0, 0, 0xff]),
        (0x40, &[0xff; 16]),
    ] {
        let (mut device, log) = device(Capability::pci_express());
        config_write(&mut device, offset, data);
        assert_reset(&mut device, &log);
        assert_eq!(config_read(&mut device, 0x48), [0x10, 0x28], "device control as at reset");
    }
}

#[test]
fn other_writes_to_pci_express_registers_are_no_reset() {
    let (mut device, log) = device(Capability::pci_express());
    for (offset, data) in [
        (0x48, &[0x80][..]),
        (0x48, &[0xff, 0x7f]),
        (0x4a, &[0x00, 0x80]),
        (0x47, &[0x80, 0x80]),
        (0x68, &[0xff, 0xff]),
        (0x50, &[0xff, 0xff]),
    ] {
        config_write(&mut device, offset, data);
        assert_no_reset(&mut device, &log);
    }
}

#[test]
fn pci_express_says_what_it_is_and_keeps_what_may_be_written() {
    let (mut device, _) = device(Capability::pci_express());
    assert_eq!(device.region(7).unwrap().size(), 4096);
    assert_eq!(config_read(&mut device, 0x40), [0x10, 0, 0x02, 0], "version 2, endpoint");
    let [.., high] = config_read::<4>(&mut device, 0x44);
    assert_eq!(high & 0x10, 0x10, "FLR capable");
    assert_eq!(config_read(&mut device, 0x4c), [0x11, 0, 0, 0], "2.5 GT/s, x1");
    assert_eq!(config_read(&mut device, 0x52), [0x11, 0]);
    for (offset, written, kept) in [
        (0x48u64, [0xff, 0x7f], [0xff, 0x78]),
        (0x50, [0xff, 0xff], [0xc3, 0x00]),
        (0x68, [0xff, 0xff], [0x1f, 0x00]),
        (0x70, [0xff, 0xff], [0x0f, 0x00]),
    ] {
        config_write(&mut device, offset, &written);
        assert_eq!(config_read(&mut device, offset), kept, "{offset:#x}");
        config_write(&mut device, offset, &[0, 0]);
        assert_eq!(config_read(&mut device, offset), [0, 0], "{offset:#x}");
    }
    let before: [u8; 0x3c] = config_read(&mut device, 0x40);
    for offset in (0x40..0x7c).filter(|at| ![0x48, 0x49, 0x50, 0x68, 0x70].contains(at)) {
        config_write(&mut device, offset, &[0xff]);
    }
    assert_eq!(config_read(&mut device, 0x40), before, "the rest is read-only");
}

#[test]
fn advanced_features_reset_a_conventional_function() {
    let (mut device, log) = device(Capability::advanced_features());
    assert_eq!(device.region(7).unwrap().size(), 256);
    assert_eq!(config_read(&mut device, 0x40), [0x13, 0, 6, 0x03, 0, 0]);
    config_write(&mut device, 0x44, &[0xfe]);
    assert_no_reset(&mut device, &log);
    config_write(&mut device, 0x42, &[0, 0, 1, 0]);
    assert_reset(&mut device, &log);
    assert_eq!(config_read(&mut device, 0x44), [0]);
}

#[test]
fn an_own_capability_that_cannot_flr_does_not() {
    let express: Vec<u8> = [&[0x02, 0x00][..], &[0; 0x38]].concat();
    let (mut device, log) = device(Capability::raw(0x10, express, [0, 0, 0, 0, 0, 0, 0, 0x80]));
    config_write(&mut device, 0x48, &[0x00, 0x80]);
    assert_no_reset(&mut device, &log);
    let (mut device, log) = self::device(Capability::raw(0x13, [6, 0x01, 0, 0], []));
    config_write(&mut device, 0x44, &[1]);
    assert_no_reset(&mut device, &log);
}

#[test]
fn the_way_back_from_d3hot_resets_only_where_no_soft_reset_is_clear() {
    let (mut device, log) = device(Capability::power_management());
    config_write(&mut device, 0x44, &[3]);
    config_write(&mut device, 0x44, &[0]);
    assert_no_reset(&mut device, &log);

    let (mut device, log) = self::device(Capability::power_management_with_reset());
    assert_eq!(config_read(&mut device, 0x40), [1, 0, 3, 0, 0, 0, 0, 0]);
    config_write(&mut device, 0x44, &[0]);
    config_write(&mut device, 0x44, &[3, 0]);
    config_write(&mut device, 0x44, &[3, 0]);
    config_write(&mut device, 0x45, &[0]);
    assert_no_reset(&mut device, &log);
    assert_eq!(config_read(&mut device, 0x44), [3]);
    config_write(&mut device, 0x44, &[0, 0]);
    assert_reset(&mut device, &log);
    assert_eq!(config_read(&mut device, 0x44), [0]);
}

#[test]
fn a_power_state_that_the_function_does_not_have_is_not_taken() {
    let (mut device, log) = device(Capability::power_management_with_reset());
    for state in [1, 2] {
        config_write(&mut device, 0x44, &[state]);
        assert_eq!(config_read(&mut device, 0x44), [0]);
    }
    config_write(&mut device, 0x44, &[3]);
    config_write(&mut device, 0x44, &[1]);
    assert_eq!(config_read(&mut device, 0x44), [3]);
    assert_no_reset(&mut device, &log);
}

#[test]
fn only_the_way_back_from_d3hot_resets() {
    // D1 and D2 are there: bits 9 and 10 of the capabilities.
    let power = Capability::raw(0x01, [0x03, 0x06, 0, 0, 0, 0], [0, 0, 0x03]);
    let (mut device, log) = device(power);
    for state in [1, 0, 2, 0, 1, 2, 0, 3, 1, 0] {
        config_write(&mut device, 0x44, &[state]);
        assert_eq!(config_read(&mut device, 0x44), [state]);
        assert_no_reset(&mut device, &log);
    }
    config_write(&mut device, 0x44, &[3]);
    log.take();
    config_write(&mut device, 0x44, &[0]);
    assert_reset(&mut device, &log);
}
