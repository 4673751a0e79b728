#![cfg(test)]
//! Accesses to configuration space (PCI Local Bus 3.0 chapter 6).

use vfio_device::{BarKind, Capability, Device, Errno, Region};

use crate::support::{Call, Log, Probe, config_read, config_write, opened, plain};

/// An I/O BAR, a memory BAR, INTx, MSI, PM, a vendor capability and some bytes.
fn device() -> Device {
    let description = plain()
        .class(0x07, 0x00, 0x02)
        .revision(0x10)
        .subsystem(0x9abc, 0xdef0)
        .status_high(0x02)
        .initial_command(0x0003)
        .bar(0, BarKind::Io, Region::trapped(8))
        .bar(1, BarKind::Memory32, Region::trapped(4096))
        .intx()
        .msi(0)
        .capability(Capability::power_management())
        .capability(Capability::vendor(b"hello"))
        .config_bytes(0xf0, b"bytes");
    opened(description, Probe::new(&Log::default()))
}

/// The bits of a byte that a guest can change.
fn writable(device: &mut Device, offset: u64) -> u8 {
    config_write(device, offset, &[0xff]);
    let [ones] = config_read(device, offset);
    config_write(device, offset, &[0x00]);
    let [zeroes] = config_read(device, offset);
    ones ^ zeroes
}

#[test]
fn accesses_past_the_end_are_refused() {
    let mut device = device();
    for (offset, length) in [(256, 1), (255, 2), (0, 257), (u64::MAX, 1), (u64::MAX - 3, 4)] {
        let mut data = vec![0; length];
        assert_eq!(device.region_read(7, offset, &mut data), Err(Errno::INVAL), "{offset:#x}");
        assert_eq!(device.region_write(7, offset, &data), Err(Errno::INVAL), "{offset:#x}");
    }
    assert_eq!(device.region_read(7, 256, &mut []), Ok(()), "nothing, at the very end");
}

#[test]
fn every_width_at_every_offset_reads_the_same_bytes() {
    let mut device = device();
    let whole: [u8; 256] = config_read(&mut device, 0);
    for offset in 0..256 {
        for length in 1..=(256 - offset).min(17) {
            let mut data = vec![0xaa; length];
            device.region_read(7, offset as u64, &mut data).unwrap();
            assert_eq!(data, whole[offset..offset + length], "{length} at {offset:#x}");
        }
    }
}

#[test]
fn every_width_at_every_offset_writes_what_single_bytes_write() {
    for fill in [0x00, 0xff, 0x5a] {
        let (mut wide, mut narrow) = (device(), device());
        for offset in 0..256 {
            for length in 1..=(256 - offset).min(9) {
                config_write(&mut wide, offset as u64, &vec![fill; length]);
                (offset..offset + length)
                    .for_each(|at| config_write(&mut narrow, at as u64, &[fill]));
                let both = [&mut wide, &mut narrow].map(|device| config_read::<256>(device, 0));
                assert_eq!(both[0], both[1], "{length} at {offset:#x}");
            }
        }
    }
}

#[test]
fn the_device_hears_of_each_write_once_it_has_taken_effect() {
    let log = Log::default();
    let seen = log.clone();
    let probe = Probe::acting(&log, move |call, cx| {
        if let Call::ConfigWritten = call {
            seen.add(format!("line {:#x}", cx.config.byte(0x3c)));
        }
        Ok(())
    });
    let mut device = opened(plain().intx(), probe);
    log.take();
    config_write(&mut device, 0x3a, &[0, 0, 0x0b, 0]);
    config_read::<4>(&mut device, 0x3c);
    assert_eq!(log.take(), ["config 0x3a 4", "line 0xb"]);
}

#[test]
fn identity_is_read_only() {
    let mut device = device();
    let before: [u8; 256] = config_read(&mut device, 0);
    for offset in (0x00..0x04).chain(0x06..0x0c).chain(0x2c..0x30).chain(0x34..0x3c).chain([0x3d]) {
        assert_eq!(writable(&mut device, offset), 0, "{offset:#x}");
    }
    assert_eq!(before[..4], [0x34, 0x12, 0x78, 0x56]);
    assert_eq!(before[4..8], [0x03, 0x00, 0x10, 0x02]);
    assert_eq!(before[8..12], [0x10, 0x02, 0x00, 0x07]);
    assert_eq!(before[0x2c..0x30], [0xbc, 0x9a, 0xf0, 0xde]);
    assert_eq!(before[0x3c..0x40], [0, 1, 0, 0]);
    assert_eq!(before[0xf0..0xf5], *b"bytes");
}

#[test]
fn the_command_register_takes_the_bits_that_the_device_has_a_use_for() {
    use BarKind::{Io, Memory32};
    let bar = || Region::trapped(64);
    for (name, description, mask) in [
        ("nothing", plain(), [0x04, 0x00]),
        ("I/O", plain().bar(0, Io, bar()), [0x05, 0x00]),
        ("memory", plain().bar(0, Memory32, bar()), [0x06, 0x00]),
        ("ROM", plain().rom(Region::trapped(2048)), [0x06, 0x00]),
        ("INTx", plain().intx(), [0x04, 0x04]),
        ("all", plain().bar(0, Io, bar()).bar(1, Memory32, bar()).intx(), [0x07, 0x04]),
    ] {
        let mut device = opened(description, Probe::new(&Log::default()));
        let got = [0x04, 0x05].map(|offset| writable(&mut device, offset));
        assert_eq!(got, mask, "{name}");
    }
}

#[test]
fn the_interrupt_line_is_the_guests_if_there_is_a_pin() {
    assert_eq!(writable(&mut device(), 0x3c), 0xff);
    let mut without = opened(plain(), Probe::new(&Log::default()));
    assert_eq!(writable(&mut without, 0x3c), 0);
    assert_eq!(config_read(&mut without, 0x3d), [0]);
}

#[test]
fn a_reset_brings_everything_back_but_the_initial_command() {
    let mut device = device();
    let before: [u8; 256] = config_read(&mut device, 0);
    assert_eq!(before[4], 0x03);
    config_write(&mut device, 0, &[0xff; 256]);
    assert_ne!(config_read::<256>(&mut device, 0), before);
    device.reset();
    let after: [u8; 256] = config_read(&mut device, 0);
    assert_eq!(after[4..6], [0, 0]);
    assert_eq!((&after[..4], &after[6..]), (&before[..4], &before[6..]));
}

#[test]
fn interrupt_disable_in_the_initial_command_counts() {
    let probe = Probe::acting(&Log::default(), |call, cx| {
        if let Call::ConfigWritten = call {
            cx.irqs.set_level(0, 0, true);
        }
        Ok(())
    });
    let mut device = opened(plain().intx().initial_command(0x0400), probe);
    let (kept, sent) = crate::support::event();
    crate::support::set_fds(&mut device, 0, vfio_device::IrqAction::Trigger, vec![sent]).unwrap();
    config_write(&mut device, 0x3c, &[0]);
    assert_eq!(crate::support::signals(&kept), 0);
    config_write(&mut device, 0x05, &[0]);
    assert_eq!(crate::support::signals(&kept), 1);
}

#[test]
fn what_the_device_itself_sets_is_not_masked_and_goes_at_reset() {
    let probe = Probe::acting(&Log::default(), |call, cx| {
        if let Call::ConfigWritten = call {
            cx.config.set(0x07, &[0x42]);
            cx.config.set(0xff, &[1, 2, 3]); // past the end: nothing
            assert_eq!((cx.config.word(0xff), cx.config.size()), (0xff01, 256));
        }
        Ok(())
    });
    let mut device = opened(plain(), probe);
    config_write(&mut device, 0x07, &[0]);
    assert_eq!(config_read(&mut device, 0x07), [0x42]);
    device.reset();
    assert_eq!(config_read(&mut device, 0x07), [0]);
}
