//! The EDID region, and the EDID as the guest sees it.

use mbochs::Edid;

use super::*;

const EDID_OFFSET: u64 = 0x00;
const EDID_MAX_SIZE: u64 = 0x04;
const EDID_SIZE: u64 = 0x08;
const MAX_XRES: u64 = 0x0c;
const MAX_YRES: u64 = 0x10;
const LINK_STATE: u64 = 0x14;
const BLOB: u64 = 0x800;

const UP: u32 = 1;
const DOWN: u32 = 2;

fn register(device: &mut Device, offset: u64) -> u32 {
    u32::from_le_bytes(load(device, EDID, offset))
}

fn put(device: &mut Device, offset: u64, value: u32) {
    store(device, EDID, offset, &value.to_le_bytes());
}

/// Bytes of a blob: none is 0.
fn pattern() -> Vec<u8> {
    (0..0x400u32).map(|at| (at % 255 + 1) as u8).collect()
}

/// What the guest sees.
fn seen(device: &mut Device) -> Vec<u8> {
    load::<0x400>(device, MMIO, 0).to_vec()
}

#[test]
fn the_guest_sees_nothing_unless_the_link_is_up() {
    let mut device = card("mbochs-small");
    store(&mut device, EDID, BLOB, &pattern());
    put(&mut device, EDID_SIZE, 0x400);
    for state in [0, DOWN, 3, 0x0101, u32::MAX] {
        put(&mut device, LINK_STATE, state);
        assert_eq!(register(&mut device, LINK_STATE), state);
        assert_eq!(seen(&mut device), [0; 0x400], "{state}");
    }
    put(&mut device, LINK_STATE, UP);
    assert_eq!(seen(&mut device), pattern());
}

#[test]
fn the_guest_sees_edid_size_bytes_and_no_more() {
    let mut device = card("mbochs-small");
    store(&mut device, EDID, BLOB, &pattern());
    put(&mut device, LINK_STATE, UP);
    for size in [0, 1, 2, 127, 128, 253, 0x3ff, 0x400] {
        put(&mut device, EDID_SIZE, size);
        let mut expected = pattern();
        expected[size as usize..].fill(0);
        assert_eq!(seen(&mut device), expected, "{size}");
        // By each width that a guest can use, also across the end.
        for offset in 0..0x3fc {
            let at = offset as usize;
            assert_eq!(load::<1>(&mut device, MMIO, offset), expected[at..at + 1]);
            assert_eq!(
                load::<2>(&mut device, MMIO, offset),
                expected[at..at + 2],
                "{size} {offset}"
            );
            assert_eq!(
                load::<4>(&mut device, MMIO, offset),
                expected[at..at + 4],
                "{size} {offset}"
            );
        }
        assert_eq!(load::<8>(&mut device, MMIO, 0x3fc)[4..], [0; 4], "VGA ports follow");
    }
}

#[test]
fn the_guest_cannot_change_it() {
    let mut device = card("mbochs-small");
    store(&mut device, EDID, BLOB, &pattern());
    put(&mut device, EDID_SIZE, 0x400);
    put(&mut device, LINK_STATE, UP);
    for width in [1, 2, 4, 0x400] {
        store(&mut device, MMIO, 0, &vec![0; width]);
    }
    assert_eq!(seen(&mut device), pattern());
}

#[test]
fn a_size_beyond_the_maximum_is_not_taken() {
    let mut device = card("mbochs-small");
    for size in [0x401, 0x800, 0x1_0000, 0x0100_0080, u32::MAX] {
        put(&mut device, EDID_SIZE, 0x80);
        put(&mut device, EDID_SIZE, size);
        assert_eq!(register(&mut device, EDID_SIZE), 0x80, "{size:#x}");
    }
}

#[test]
fn the_registers_tell_where_the_blob_is_and_what_the_type_can_show() {
    for (name, xres, yres) in
        [("mbochs-small", 800, 600), ("mbochs-medium", 1920, 1440), ("mbochs-large", 0, 0)]
    {
        let mut device = card(name);
        let expected = [0x800, 0x400, 0, xres, yres, 0];
        let offsets = [EDID_OFFSET, EDID_MAX_SIZE, EDID_SIZE, MAX_XRES, MAX_YRES, LINK_STATE];
        assert_eq!(offsets.map(|offset| register(&mut device, offset)), expected, "{name}");
        for offset in [EDID_OFFSET, EDID_MAX_SIZE, MAX_XRES, MAX_YRES] {
            put(&mut device, offset, 0x123);
        }
        assert_eq!(offsets.map(|offset| register(&mut device, offset)), expected, "{name}");
    }
}

#[test]
fn a_register_takes_four_bytes_at_its_offset_alone() {
    let mut device = card("mbochs-small");
    put(&mut device, EDID_SIZE, 0x100);
    for (offset, width) in
        [(EDID_SIZE, 1), (EDID_SIZE, 2), (EDID_SIZE + 2, 2), (EDID_SIZE + 1, 1), (EDID_SIZE - 2, 4)]
    {
        store(&mut device, EDID, offset, &[0x01; 4][..width]);
    }
    assert_eq!(register(&mut device, EDID_SIZE), 0x100);
    assert_eq!(load(&mut device, EDID, EDID_SIZE), [0; 2]);
    assert_eq!(load(&mut device, EDID, EDID_SIZE + 1), [0; 1]);
    assert_eq!(load(&mut device, EDID, EDID_SIZE - 2), [0; 4]);
    // A client that reads the structure at once has all of it.
    let whole = load::<24>(&mut device, EDID, 0);
    assert_eq!(whole[..12], [0, 8, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn the_blob_can_be_stored_and_read_back_in_parts() {
    let mut device = card("mbochs-small");
    for (number, chunk) in pattern().chunks(7).enumerate() {
        store(&mut device, EDID, BLOB + 7 * number as u64, chunk);
    }
    assert_eq!(load::<0x400>(&mut device, EDID, BLOB).to_vec(), pattern());
    assert_eq!(seen(&mut device), [0; 0x400], "not yet");
}

#[test]
fn around_registers_and_blob_there_is_nothing() {
    let mut device = card("mbochs-small");
    store(&mut device, EDID, 0x18, &[0xff; 0x800 - 0x18]);
    store(&mut device, EDID, 0xc00, &[0xff; 0x400]);
    // Into the blob's end and beyond it.
    store(&mut device, EDID, 0xbfe, &[0xab; 4]);
    let bytes = load::<0x1000>(&mut device, EDID, 0);
    assert!(bytes[0x18..0xbfe].iter().chain(&bytes[0xc00..]).all(|byte| *byte == 0));
    assert_eq!(bytes[0xbfe..0xc00], [0xab; 2]);
}

#[test]
fn a_made_edid_is_plugged_in_from_the_start() {
    for name in ["mbochs-small", "mbochs-medium", "mbochs-large"] {
        let driver = Mbochs::default();
        let kind = driver.types().iter().find(|kind| kind.name == name).unwrap();
        let edid = Options::default().edid(kind).unwrap().unwrap();
        let mut device = made(name, &Options::default());
        device.open(OpenMode::Exclusive).unwrap();
        assert_eq!(register(&mut device, EDID_SIZE), 128);
        assert_eq!(register(&mut device, LINK_STATE), UP);
        assert_eq!(&load::<128>(&mut device, EDID, BLOB), edid.bytes(), "{name}");
        assert_eq!(seen(&mut device)[..128], *edid.bytes(), "{name}");
        assert_eq!(seen(&mut device)[128..], [0; 0x380], "{name}");
    }
}

#[test]
fn a_given_edid_is_plugged_in_whole() {
    let mut bytes = vec![0; 1024];
    bytes[..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    (bytes[126], bytes[127]) = (7, 0xff); // 6 * ff + 7 + ff = 0x700
    (bytes[1022], bytes[1023]) = (0x55, 0xab);
    let edid = EdidSource::Blob(Edid::from_bytes(&bytes).unwrap());
    let mut device = made("mbochs-large", &Options { edid, ..Options::default() });
    device.open(OpenMode::Exclusive).unwrap();
    assert_eq!(register(&mut device, EDID_SIZE), 1024);
    assert_eq!(seen(&mut device), bytes);
}

#[test]
fn a_client_can_plug_in_another_monitor_and_it_outlives_the_client() {
    let mut device = made("mbochs-medium", &Options::default());
    device.open(OpenMode::Exclusive).unwrap();
    put(&mut device, LINK_STATE, DOWN);
    assert_eq!(seen(&mut device), [0; 0x400]);
    store(&mut device, EDID, BLOB, &pattern()[..256]);
    put(&mut device, EDID_SIZE, 256);
    put(&mut device, LINK_STATE, UP);
    device.close();
    device.open(OpenMode::Exclusive).unwrap();
    assert_eq!(seen(&mut device)[..256], pattern()[..256]);
    assert_eq!(seen(&mut device)[256..], [0; 0x300]);
}
