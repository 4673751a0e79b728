#![cfg(test)]
//! How the builder lays configuration space out: BARs, ROM, capabilities.

use vfio_device::{BarKind, Capability, Description, Device, IrqFlags, Region};

use crate::support::{Log, Probe, config_read, config_write, opened, plain};

fn device(description: Description) -> Device {
    opened(description, Probe::new(&Log::default()))
}

fn express() -> Description {
    plain().capability(Capability::pci_express())
}

/// Sizes a register as a guest does: all ones, read back.
fn sized(device: &mut Device, offset: u64) -> u32 {
    config_write(device, offset, &[0xff; 4]);
    u32::from_le_bytes(config_read(device, offset))
}

#[test]
fn bars_answer_sizing_with_their_size_and_type() {
    use BarKind::{Io, Memory32, Prefetchable32};
    for (kind, size, answer) in [
        (Io, 4, 0xffff_fffd),
        (Io, 8, 0xffff_fff9),
        (Io, 256, 0xffff_ff01),
        (Memory32, 16, 0xffff_fff0),
        (Memory32, 4096, 0xffff_f000),
        (Memory32, 1 << 31, 0x8000_0000),
        (Prefetchable32, 16 << 20, 0xff00_0008),
    ] {
        for index in 0..6 {
            let mut device = device(plain().bar(index, kind, Region::trapped(size)));
            for register in 0..6 {
                let expected = if register == index { answer } else { 0 };
                let got = sized(&mut device, u64::from(0x10 + 4 * register));
                assert_eq!(got, expected, "{kind:?} {size} at {index}, BAR {register}");
            }
            assert_eq!(device.region(index).unwrap().size(), size);
        }
    }
}

#[test]
fn a_64_bit_bar_takes_two_registers_and_one_region() {
    for (size, low, high) in [
        (16, 0xffff_fffc, 0xffff_ffff),
        (1 << 31, 0x8000_000c, 0xffff_ffff),
        (1 << 32, 0x0000_000c, 0xffff_ffff),
        (8 << 30, 0x0000_000c, 0xffff_fffe),
        (1 << 62, 0x0000_000c, 0xc000_0000),
    ] {
        let bar = Region::trapped(size);
        let mut device = device(plain().bar(4, BarKind::Prefetchable64, bar));
        assert_eq!([0x20, 0x24].map(|at| sized(&mut device, at)), [low, high], "{size:#x}");
        assert_eq!(device.region(4).unwrap().size(), size);
        assert_eq!(device.region(5).unwrap().size(), 0);
    }
    let mut device = device(plain().bar(0, BarKind::Memory64, Region::trapped(8 << 30)));
    let sizes = [0x10, 0x14, 0x18].map(|at| sized(&mut device, at));
    assert_eq!(sizes, [0x0000_0004, 0xffff_fffe, 0], "not prefetchable");
}

#[test]
fn an_address_in_a_bar_is_kept_and_its_low_bits_are_not() {
    let mut device = device(plain().bar(0, BarKind::Io, Region::trapped(8)));
    config_write(&mut device, 0x10, &0xc0d7_u32.to_le_bytes());
    assert_eq!(config_read(&mut device, 0x10), 0xc0d1_u32.to_le_bytes());
    config_write(&mut device, 0x11, &[0xee]);
    assert_eq!(config_read(&mut device, 0x10), 0xeed1_u32.to_le_bytes());
}

#[test]
fn a_rom_answers_sizing_and_has_an_enable_bit() {
    assert_eq!(sized(&mut device(plain()), 0x30), 0, "no ROM, or QEMU believes in one");
    for (size, answer) in [(2048, 0xffff_f801), (1 << 20, 0xfff0_0001)] {
        let mut device = device(plain().rom(Region::trapped(size)));
        assert_eq!(sized(&mut device, 0x30), answer);
        let rom = device.region(6).unwrap();
        assert_eq!((rom.size(), rom.is_read_only()), (size, true));
    }
}

/// The standard list: where, which id.
fn walk(device: &mut Device) -> Vec<(u8, u8)> {
    let mut list = Vec::new();
    let [mut at] = config_read(device, 0x34);
    while at != 0 {
        let [id, next] = config_read(device, u64::from(at));
        list.push((at, id));
        at = next;
    }
    list
}

#[test]
fn without_capabilities_there_is_no_list() {
    let mut device = device(plain());
    assert_eq!(config_read(&mut device, 0x06), [0]);
    assert_eq!(walk(&mut device), []);
}

#[test]
fn capabilities_follow_each_other_at_multiples_of_four_and_step_over_other_bytes() {
    let description = plain()
        .config_bytes(0x50, b"something")
        .capability(Capability::vendor(b"123456")) // 9 bytes at 0x40
        .capability(Capability::power_management()) // does not fit in 0x4c..0x50
        .msi(2)
        .capability(Capability::vendor(b""));
    let mut device = device(description);
    assert_eq!(config_read(&mut device, 0x06), [0x10]);
    assert_eq!(walk(&mut device), [(0x40, 0x09), (0x5c, 0x01), (0x64, 0x05), (0x74, 0x09)]);
    assert_eq!(config_read(&mut device, 0x42), *b"\x09123456");
    assert_eq!(config_read(&mut device, 0x74), [0x09, 0x00, 0x03]);
    assert_eq!(config_read(&mut device, 0x50), *b"something");
}

#[test]
fn a_capability_list_can_fill_configuration_space_to_the_last_byte() {
    let mut device = device(plain().capability(Capability::vendor(&[7; 189])));
    assert_eq!(walk(&mut device), [(0x40, 0x09)]);
    assert_eq!(config_read(&mut device, 0x42), [192]);
    assert_eq!(config_read(&mut device, 0xff), [7]);
}

#[test]
fn msi_has_a_64_bit_address_and_lets_a_guest_set_what_it_may() {
    for (log2, control) in [(0, 0x80), (3, 0x86), (5, 0x8a)] {
        let mut device = device(plain().msi(log2));
        assert_eq!(config_read(&mut device, 0x40), [0x05, 0x00, control, 0x00]);
        assert_eq!(device.irqs().info(1).map(|info| info.count), Some(1 << log2));
        assert_eq!(device.irqs().info(1).map(|info| info.flags), Some(IrqFlags::MSI));
        config_write(&mut device, 0x40, &[0xff; 14]);
        let expected =
            [5, 0, control | 0x71, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(config_read(&mut device, 0x40), expected);
    }
}

#[test]
fn power_management_takes_the_power_state_only() {
    let mut device = device(plain().capability(Capability::power_management()));
    assert_eq!(config_read(&mut device, 0x40), [1, 0, 3, 0, 8, 0, 0, 0]);
    config_write(&mut device, 0x40, &[0xff; 8]);
    assert_eq!(config_read(&mut device, 0x40), [1, 0, 3, 0, 0x0b, 0, 0, 0]);
    config_write(&mut device, 0x44, &[0]);
    assert_eq!(config_read(&mut device, 0x44), [8]);
}

#[test]
fn the_masks_of_an_own_capability_hold_for_its_body_only() {
    let own = Capability::raw(0x13, [4, 0, 0, 0], [0xff, 0, 0x0f, 0, 0xff, 0xff]);
    let mut device = device(plain().capability(own).config_bytes(0x46, &[9, 9]));
    config_write(&mut device, 0x40, &[0xff; 8]);
    assert_eq!(config_read(&mut device, 0x40), [0x13, 0, 0xff, 0, 0x0f, 0, 9, 9]);
}

#[test]
fn pci_express_makes_configuration_space_4096_bytes_long() {
    assert_eq!(device(plain()).region(7).unwrap().size(), 256);
    assert_eq!(device(express()).region(7).unwrap().size(), 4096);
}

#[test]
fn data_of_a_vendor_capability_can_be_written_if_it_is_made_so() {
    let vendor = || Capability::vendor(b"abc");
    let mut device = device(plain().capability(vendor()).capability(vendor().writable()));
    for at in [0x40, 0x48] {
        config_write(&mut device, at, b"\x01\x02\x03xyz");
    }
    assert_eq!(config_read(&mut device, 0x40), *b"\x09\x48\x06abc");
    assert_eq!(config_read(&mut device, 0x48), *b"\x09\x00\x06xyz");
}

#[test]
fn an_extended_vendor_capability_has_its_own_header() {
    let vendor = || Capability::vendor_extended(0x1234, 0x5, b"abcde");
    let description =
        express().extended_capability(vendor()).extended_capability(vendor().writable());
    let mut device = device(description);
    // Next capability, version 1, id 0x000b; length 13, revision 5, the vendor's id.
    let headers = [0x1101_000b_u32.to_le_bytes(), 0x00d5_1234_u32.to_le_bytes()].concat();
    assert_eq!(config_read::<8>(&mut device, 0x100), *headers);
    for at in [0x100, 0x110] {
        config_write(&mut device, at, &[b'z'; 13]);
    }
    assert_eq!(config_read::<8>(&mut device, 0x100), *headers);
    assert_eq!(config_read(&mut device, 0x108), *b"abcde");
    assert_eq!(config_read(&mut device, 0x110), 0x0001_000b_u32.to_le_bytes());
    assert_eq!(config_read(&mut device, 0x114), 0x00d5_1234_u32.to_le_bytes());
    assert_eq!(config_read(&mut device, 0x118), *b"zzzzz");
}

#[test]
fn extended_capabilities_lie_from_0x100_on() {
    let vendor = Capability::extended(0x000b, 1, [1, 2, 3, 4, 5], [0, 0, 0, 0, 0xff]);
    let description = express()
        .extended_capability(Capability::serial_number(0x0102_0304_0506_0708))
        .extended_capability(vendor)
        .extended_capability(Capability::extended(0x0023, 0xf2, [0; 4], []));
    let mut device = device(description);
    assert_eq!(device.region(7).unwrap().size(), 4096);
    assert_eq!(config_read(&mut device, 0x100), 0x10c1_0003_u32.to_le_bytes());
    assert_eq!(config_read(&mut device, 0x104), [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(config_read(&mut device, 0x10c), 0x1181_000b_u32.to_le_bytes());
    assert_eq!(config_read(&mut device, 0x118), 0x0002_0023_u32.to_le_bytes());
    config_write(&mut device, 0x10c, &[0xee; 12]);
    assert_eq!(config_read(&mut device, 0x110), [1, 2, 3, 4, 0xee, 0, 0, 0]);
    let mut last = [0xaa; 4];
    device.region_read(7, 4092, &mut last).unwrap();
    assert_eq!(last, [0; 4]);
    assert!(device.region_read(7, 4093, &mut last).is_err());
}
