//! The map of BAR2, and what each access does.

use super::*;

/// All bytes of BAR2, read byte by byte.
fn all(device: &mut Device) -> Vec<u8> {
    (0..0x1000).map(|offset| load::<1>(device, MMIO, offset)[0]).collect()
}

#[test]
fn without_edid_nothing_but_the_dispi_registers_answers() {
    let mut device = card("mbochs-medium");
    for (offset, width) in [(0, 1), (0, 2), (0, 4), (0x100, 8), (0x400, 1), (0x600, 4)] {
        store(&mut device, MMIO, offset, &[0xff; 8][..width]);
    }
    assert!(all(&mut device).iter().all(|byte| *byte == 0));
    for offset in (0..0x1000).step_by(2).filter(|at| !(0x500..0x516).contains(at)) {
        set(&mut device, offset, 0xffff);
        assert_eq!(get(&mut device, offset), 0, "{offset:#x}");
    }
    assert_eq!(get(&mut device, ID), 0xb0c5, "and so the device is the same");
}

#[test]
fn a_dispi_register_answers_to_two_bytes_at_its_offset_alone() {
    let mut device = card("mbochs-small");
    set(&mut device, XRES, 0x1234);
    for width in [1, 4] {
        store(&mut device, MMIO, 0x500 + 4 * (width as u64 - 1), &[0xff; 4][..width]);
    }
    store(&mut device, MMIO, XRES, &[0xff]);
    store(&mut device, MMIO, XRES + 1, &[0xff]);
    // Two bytes that are not aligned are two accesses of one.
    store(&mut device, MMIO, XRES - 1, &[0xff; 2]);
    store(&mut device, MMIO, XRES + 1, &[0xff; 2]);
    assert_eq!(get(&mut device, XRES), 0x1234);
    assert_eq!(load(&mut device, MMIO, XRES), [0]);
    assert_eq!(load(&mut device, MMIO, XRES - 2), [0; 4]);
    assert_eq!(load(&mut device, MMIO, XRES + 1), [0; 2]);
    assert_eq!(load(&mut device, MMIO, 0x500), [0; 0x16 - 2], "as words of four bytes");
    assert_eq!(load(&mut device, MMIO, XRES), [0x34, 0x12]);
}

#[test]
fn an_access_of_any_length_is_taken_apart_by_alignment() {
    // At an offset that is a multiple of 2 but not of 4: two bytes, four bytes, two bytes.
    let mut device = card("mbochs-small");
    store(&mut device, MMIO, XRES, &[1, 1, 2, 2, 3, 3, 4, 4]);
    let [xres, yres, bpp, enable] = [XRES, YRES, BPP, ENABLE].map(|at| get(&mut device, at));
    assert_eq!((xres, yres, bpp, enable), (0x0101, 0, 0, 0x0404));
    assert_eq!(load(&mut device, MMIO, XRES), [1, 1, 0, 0, 0, 0, 4, 4]);
}

#[test]
fn each_register_is_at_its_offset() {
    let mut device = card("mbochs-large");
    let offsets = [XRES, YRES, BPP, ENABLE, 0x50a, VIRT_WIDTH, 0x50e, X_OFFSET, Y_OFFSET];
    for (value, offset) in (1..).zip(offsets) {
        set(&mut device, offset, 0xf000 | value);
    }
    for (value, offset) in (1..).zip(offsets) {
        assert_eq!(get(&mut device, offset), 0xf000 | value, "{offset:#x}");
    }
}

#[test]
fn id_and_video_memory_64k_are_read_only() {
    for (name, units) in [("mbochs-small", 0x40), ("mbochs-medium", 0x100), ("mbochs-large", 0x400)]
    {
        let mut device = card(name);
        set(&mut device, ID, 0xb0c0);
        set(&mut device, VIDEO_MEMORY_64K, 1);
        assert_eq!((get(&mut device, ID), get(&mut device, VIDEO_MEMORY_64K)), (0xb0c5, units));
    }
}

#[test]
fn blanking_by_the_vga_ports_leaves_the_picture_on() {
    let mut device = card("mbochs-small");
    show(&mut device, 800, 600);
    let before = device.display().unwrap().generation;
    // As the guest's driver blanks: colour emulation, the flip-flop, the palette's source off.
    store(&mut device, MMIO, 0x402, &[0x01]);
    assert_eq!(load(&mut device, MMIO, 0x41a), [0]);
    store(&mut device, MMIO, 0x400, &[0x00]);
    assert_eq!(device.display().unwrap().generation, before);
}

#[test]
fn a_reset_clears_the_registers_and_leaves_memory_and_monitor() {
    let mut device = made("mbochs-medium", &Options::default());
    device.open(OpenMode::Exclusive).unwrap();
    let edid = load::<128>(&mut device, MMIO, 0);
    show(&mut device, 1024, 768);
    store(&mut device, 0, 0x1234, b"pixels");
    device.reset();
    assert!(device.display().is_none());
    let registers: Vec<_> = (ID..0x516).step_by(2).map(|at| get(&mut device, at)).collect();
    assert_eq!(registers, [0xb0c5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x100]);
    assert_eq!(&load(&mut device, 0, 0x1234), b"pixels");
    assert_eq!(edid[..4], [0, 0xff, 0xff, 0xff]);
    assert_eq!(load(&mut device, MMIO, 0), edid);
}

#[test]
fn the_registers_outlive_their_client() {
    let mut device = card("mbochs-medium");
    show(&mut device, 1024, 768);
    set(&mut device, Y_OFFSET, 7);
    device.close();
    device.open(OpenMode::Exclusive).unwrap();
    let found = [XRES, YRES, BPP, ENABLE, Y_OFFSET].map(|register| get(&mut device, register));
    assert_eq!(found, [1024, 768, 32, 0x41, 7]);
}
