#![cfg(test)]
//! The dispi registers alone, by their indexes.

use mbochs::dispi::{Dispi, Mode};

const ID: usize = 0;
const XRES: usize = 1;
const YRES: usize = 2;
const BPP: usize = 3;
const ENABLE: usize = 4;
const BANK: usize = 5;
const VIRT_WIDTH: usize = 6;
const VIRT_HEIGHT: usize = 7;
const X_OFFSET: usize = 8;
const Y_OFFSET: usize = 9;
const VIDEO_MEMORY_64K: usize = 10;

const MB: u64 = 1 << 20;

fn written(memory: u64, registers: &[(usize, u16)]) -> Dispi {
    let mut dispi = Dispi::new(memory);
    for &(index, value) in registers {
        dispi.write(index, value);
    }
    dispi
}

/// 4 MB, 800x600, and what is changed about it.
fn with(registers: &[(usize, u16)]) -> Option<Mode> {
    let base = [(BPP, 32), (XRES, 800), (YRES, 600), (ENABLE, 1)];
    written(4 * MB, &[&base, registers].concat()).mode()
}

#[test]
fn id_and_video_memory_64k_take_no_stores() {
    for value in [0, 1, 0xb0c0, 0xb0c4, 0xffff] {
        let dispi = written(4 * MB, &[(ID, value), (VIDEO_MEMORY_64K, value)]);
        assert_eq!((dispi.read(ID), dispi.read(VIDEO_MEMORY_64K)), (0xb0c5, 0x40));
    }
}

#[test]
fn there_are_no_registers_beyond_the_eleventh() {
    for index in [11, 12, 0x100, usize::MAX] {
        let dispi = written(4 * MB, &[(index, 0xffff)]);
        assert_eq!(dispi.read(index), 0);
        assert!((XRES..=Y_OFFSET).all(|index| dispi.read(index) == 0));
    }
}

#[test]
fn video_memory_64k_tells_the_size() {
    for (memory, units) in [(4 * MB, 0x40), (16 * MB, 0x100), (64 * MB, 0x400)] {
        assert_eq!(Dispi::new(memory).read(VIDEO_MEMORY_64K), units);
    }
}

#[test]
fn the_others_begin_with_0_and_keep_all_16_bits_of_whatever_is_stored() {
    for index in XRES..=Y_OFFSET {
        assert_eq!(Dispi::new(4 * MB).read(index), 0);
        for value in [0xffff, 0x8000, 0xa5a5, 0x0001, 0x0000] {
            let dispi = written(4 * MB, &[(index, value)]);
            let others = (XRES..=Y_OFFSET).filter(|other| *other != index);
            assert_eq!(dispi.read(index), value, "{index}");
            assert!(others.map(|other| dispi.read(other)).all(|other| other == 0), "{index}");
        }
    }
}

#[test]
fn getcaps_shows_no_maxima() {
    let dispi = written(4 * MB, &[(XRES, 640), (YRES, 480), (BPP, 8), (ENABLE, 0x02)]);
    assert_eq!([XRES, YRES, BPP].map(|index| dispi.read(index)), [640, 480, 8]);
}

#[test]
fn a_reset_leads_back_to_the_beginning() {
    let all: Vec<_> = (0..=10).map(|index| (index, 0x1234)).collect();
    let mut dispi = written(16 * MB, &all);
    dispi.reset();
    let registers: Vec<_> = (0..=10).map(|index| dispi.read(index)).collect();
    assert_eq!(registers, [0xb0c5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x100]);
    assert_eq!(dispi.mode(), None);
}

#[test]
fn there_is_no_picture_unless_enabled_with_32_bits_and_64_by_64_pixels() {
    assert_eq!(Dispi::new(4 * MB).mode(), None);
    for enable in [0x0000, 0x0040, 0xfffe] {
        assert_eq!(with(&[(ENABLE, enable)]), None, "ENABLE {enable:#x}");
    }
    for bits in [0, 4, 8, 15, 16, 24, 31, 33, 0x8020, 0xffff] {
        assert_eq!(with(&[(BPP, bits)]), None, "BPP {bits}");
    }
    for (xres, yres) in [(0, 600), (63, 600), (800, 0), (800, 63), (63, 63)] {
        assert_eq!(with(&[(XRES, xres), (YRES, yres)]), None, "{xres}x{yres}");
    }
    let mode = with(&[(XRES, 64), (YRES, 64)]).unwrap();
    let (stride, offset, size) = (256, 0, 16384);
    assert_eq!(mode, Mode { width: 64, height: 64, stride, offset, size });
}

#[test]
fn a_row_is_as_long_as_the_wider_of_xres_and_virt_width() {
    let strides = [0, 799, 800, 801, 1024].map(|width| with(&[(VIRT_WIDTH, width)]));
    let strides = strides.map(|mode| mode.unwrap().stride);
    assert_eq!(strides, [3200, 3200, 3200, 3204, 4096]);
    assert_eq!(with(&[(VIRT_WIDTH, 1024)]).unwrap().size, 4096 * 600);
}

#[test]
fn the_offsets_are_pixels_and_rows() {
    let mode = with(&[(X_OFFSET, 3), (Y_OFFSET, 5)]).unwrap();
    assert_eq!((mode.width, mode.height, mode.offset), (800, 600, 3 * 4 + 5 * 3200));
    let mode = with(&[(VIRT_WIDTH, 1000), (X_OFFSET, 200), (Y_OFFSET, 1)]).unwrap();
    assert_eq!((mode.stride, mode.offset, mode.size), (4000, 4800, 2_400_000));
}

#[test]
fn what_reaches_beyond_video_memory_is_no_picture() {
    // 1310 rows of 3200 bytes are in 4 MB, and 2304 bytes: 576 pixels.
    assert_eq!(with(&[(Y_OFFSET, 711)]), None);
    assert_eq!(with(&[(Y_OFFSET, 710), (X_OFFSET, 577)]), None);
    let last = with(&[(Y_OFFSET, 710), (X_OFFSET, 576)]).unwrap();
    assert_eq!(last.offset + last.size, 4 * MB);
    // Exactly all of it, and one row more.
    assert_eq!(with(&[(XRES, 1024), (YRES, 1025)]), None);
    assert_eq!(with(&[(XRES, 1024), (YRES, 1024)]).unwrap().size, 4 * MB);
    for registers in [[0xffff; 5], [0xffff, 64, 0xffff, 0, 0], [64, 0xffff, 0xffff, 0, 0]] {
        let indexes = [XRES, YRES, VIRT_WIDTH, X_OFFSET, Y_OFFSET];
        let registers: Vec<_> = indexes.into_iter().zip(registers).collect();
        assert_eq!(with(&registers), None, "{registers:?}");
    }
}

#[test]
fn the_rest_is_without_effect_on_the_picture() {
    let plain = with(&[]).unwrap();
    for value in [1, 600, 0x147a, 0xffff] {
        assert_eq!(with(&[(VIRT_HEIGHT, value), (BANK, value)]), Some(plain));
    }
    for enable in [0x01, 0x21, 0x41, 0x81, 0xffff] {
        assert_eq!(with(&[(ENABLE, enable)]), Some(plain), "{enable:#x}");
    }
}
