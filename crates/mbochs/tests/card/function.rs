//! Configuration space, regions, irqs.

use vfio_device::Errno;

use super::*;

/// Type, video memory, what BAR0 reads after all ones.
const SIZES: [(&str, u64, u32); 3] = [
    ("mbochs-small", 4 << 20, 0xffc0_0008),
    ("mbochs-medium", 16 << 20, 0xff00_0008),
    ("mbochs-large", 64 << 20, 0xfc00_0008),
];

fn word(device: &mut Device, offset: u64) -> u32 {
    u32::from_le_bytes(load(device, CONFIG, offset))
}

#[test]
fn accesses_beyond_a_region_or_to_none_are_refused_with_einval() {
    for (name, memory, _) in SIZES {
        let mut device = card(name);
        let mut refused = |region: u32, offset: u64| {
            let load = device.region_read(region, offset, &mut [0; 4]);
            let store = device.region_write(region, offset, &[0; 4]);
            assert_eq!(
                (load, store),
                (Err(Errno::INVAL), Err(Errno::INVAL)),
                "{region} {offset:x}"
            );
        };
        for (region, size) in [(0, memory), (MMIO, 0x1000), (CONFIG, 0x100), (EDID, 0x1000)] {
            refused(region, size - 3);
            refused(region, size);
            refused(region, u64::MAX - 1);
        }
        for region in [1, 3, 4, 5, 6, 8, 10, u32::MAX] {
            refused(region, 0);
        }
    }
}

#[test]
fn configuration_space_identifies_the_display_as_the_sample_does() {
    for (name, ..) in SIZES {
        let mut expected = [0; 256];
        expected[..12].copy_from_slice(&[0x34, 0x12, 0x11, 0x11, 3, 0, 0, 0, 1, 0, 0x80, 3]);
        expected[0x10] = 0x08;
        expected[0x2c..0x30].copy_from_slice(&[0xf4, 0x1a, 0x00, 0x11]);
        assert_eq!(load(&mut card(name), CONFIG, 0), expected, "{name}");
    }
}

#[test]
fn bar0_is_as_large_as_video_memory_and_bar2_a_page() {
    for (name, memory, sized) in SIZES {
        let mut device = card(name);
        for (offset, expected) in [(0x10, sized), (0x14, 0), (0x18, 0xffff_f000), (0x1c, 0)] {
            store(&mut device, CONFIG, offset, &[0xff; 4]);
            assert_eq!(word(&mut device, offset), expected, "{name} {offset:#x}");
        }
        store(&mut device, CONFIG, 0x30, &[0xff; 4]);
        assert_eq!(word(&mut device, 0x30), 0, "no ROM");
        assert_eq!(device.region(0).unwrap().size(), memory);
        assert_eq!(device.region(0).unwrap().memory().unwrap().size(), memory);
        assert!(device.region(0).unwrap().areas().is_none(), "mapped from end to end");
    }
}

#[test]
fn a_bar_takes_addresses_at_multiples_of_its_size() {
    let mut device = card("mbochs-medium");
    store(&mut device, CONFIG, 0x10, &0xfebf_fff0u32.to_le_bytes());
    store(&mut device, CONFIG, 0x18, &0xfebf_fff0u32.to_le_bytes());
    assert_eq!((word(&mut device, 0x10), word(&mut device, 0x18)), (0xfe00_0008, 0xfebf_f000));
}

#[test]
fn the_command_register_is_the_samples_until_the_first_reset() {
    let mut device = card("mbochs-small");
    assert_eq!(load(&mut device, CONFIG, 4), [0x03, 0x00]);
    // Memory and bus master can be written. There is no I/O, so its bit cannot: it is there for the sample's sake.
    for (stored, found) in [([0xff, 0xff], [0x07, 0x00]), ([0x00, 0x00], [0x01, 0x00])] {
        store(&mut device, CONFIG, 4, &stored);
        assert_eq!(load(&mut device, CONFIG, 4), found);
    }
    device.reset();
    assert_eq!(load(&mut device, CONFIG, 4), [0x00, 0x00]);
}

#[test]
fn region_9_is_the_edid_region() {
    let device = card("mbochs-small");
    let region = device.region(EDID).unwrap();
    assert_eq!(region.kind(), Some((1, 1)));
    assert!(region.memory().is_none() && !region.is_read_only() && !region.is_write_only());
    assert_eq!(device.num_regions(), 10);
}

#[test]
fn there_is_no_interrupt() {
    let device = card("mbochs-large");
    let counts = [0, 1, 2, 3, 4].map(|index| device.irqs().info(index).unwrap().count);
    assert_eq!(counts, [0, 0, 0, 1, 0], "ERR has one, which never fires");
}
