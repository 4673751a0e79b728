#![cfg(test)]
//! EDIDs that are given and EDIDs that are made, byte by byte from the standard.

use mbochs::{Edid, EdidError, EdidSource, Mbochs, Options, OptionsError};
use vfio_device::{MdevDriver, MdevType};

fn kind(name: &str) -> MdevType {
    *Mbochs::default().types().iter().find(|kind| kind.name == name).unwrap()
}

fn of(name: &str, options: &Options) -> Result<Option<Edid>, OptionsError> {
    options.edid(&kind(name))
}

fn sized(name: &str, xres: u32, yres: u32) -> Result<Option<Edid>, OptionsError> {
    of(name, &Options { xres: Some(xres), yres: Some(yres), ..Options::default() })
}

/// The block that is made for a type with a preferred mode.
fn made(name: &str, xres: u32, yres: u32) -> Vec<u8> {
    sized(name, xres, yres).unwrap().unwrap().bytes().to_vec()
}

fn usual(name: &str) -> Vec<u8> {
    of(name, &Options::default()).unwrap().unwrap().bytes().to_vec()
}

fn refusal(bytes: &[u8]) -> String {
    Edid::from_bytes(bytes).unwrap_err().to_string()
}

/// Sets the last byte of each block.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    for block in bytes.chunks_mut(128) {
        let sum = block[..127].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        block[127] = sum.wrapping_neg();
    }
    bytes
}

/// An EDID of so many blocks that says so.
fn blocks(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; 128 * number];
    bytes[..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    bytes[126] = u8::try_from(number - 1).unwrap();
    sealed(bytes)
}

#[test]
fn bytes_that_are_no_edid_are_refused_with_the_reason() {
    assert_eq!(refusal(&[]), "it is empty");
    for length in [1, 127, 129, 255] {
        let words = format!("it has {length} bytes, which are no whole number of 128-byte blocks");
        assert_eq!(refusal(&vec![0; length]), words);
    }
    assert_eq!(refusal(&blocks(9)), "it has 1152 bytes, and the device has room for 1024");
    let header = "it does not begin with 00 ff ff ff ff ff ff 00";
    for position in 0..8 {
        let mut bytes = blocks(1);
        bytes[position] ^= 0x10;
        assert_eq!(refusal(&sealed(bytes)), header);
    }
}

#[test]
fn damaged_edids_are_refused_with_the_block() {
    for block in 0..3 {
        let mut bytes = blocks(3);
        bytes[128 * block + 60] ^= 1;
        let words = format!("the checksum of its block {block} is wrong");
        assert_eq!(refusal(&bytes), words);
        assert_eq!(Edid::from_bytes(&bytes), Err(EdidError::Checksum { block }));
    }
}

#[test]
fn an_edid_must_have_as_many_extensions_as_it_says() {
    for (number, said) in [(1, 1), (2, 0), (2, 2), (8, 255)] {
        let mut bytes = blocks(number);
        bytes[126] = said;
        let words =
            format!("extension blocks that it announces: {said}, that it has: {}", number - 1);
        assert_eq!(refusal(&sealed(bytes)), words);
    }
}

#[test]
fn an_edid_of_one_to_eight_blocks_is_taken_as_it_is() {
    for number in 1..=8 {
        let bytes = blocks(number);
        assert_eq!(Edid::from_bytes(&bytes).unwrap().bytes(), bytes);
    }
}

#[test]
fn what_is_made_would_be_taken() {
    for name in ["mbochs-small", "mbochs-medium", "mbochs-large"] {
        let bytes = usual(name);
        assert_eq!(Edid::from_bytes(&bytes).unwrap().bytes(), bytes);
    }
}

#[test]
fn a_type_that_is_not_ours_has_no_options() {
    let other = MdevType { name: "mtty-1", ..kind("mbochs-small") };
    let words = Options::default().check(&other).unwrap_err().to_string();
    assert_eq!(words, "mtty-1 is not a type of mbochs");
}

#[test]
fn a_width_or_height_that_no_monitor_has_is_refused() {
    for (xres, yres, words) in [
        (0, 600, "xres is 400 to 4095, not 0"),
        (399, 600, "xres is 400 to 4095, not 399"),
        (4096, 600, "xres is 400 to 4095, not 4096"),
        (u32::MAX, 600, "xres is 400 to 4095, not 4294967295"),
        (800, 399, "yres is 400 to 4095, not 399"),
        (800, 4096, "yres is 400 to 4095, not 4096"),
    ] {
        assert_eq!(sized("mbochs-large", xres, yres).unwrap_err().to_string(), words);
    }
    for (xres, yres) in [(400, 400), (4095, 400), (400, 4095)] {
        assert!(sized("mbochs-large", xres, yres).is_ok(), "{xres}x{yres}");
    }
}

#[test]
fn a_mode_beyond_the_types_largest_is_refused() {
    for (name, xres, yres, words) in [
        ("mbochs-small", 801, 600, "mbochs-small shows 800x600 at most, not 801x600"),
        ("mbochs-small", 800, 601, "mbochs-small shows 800x600 at most, not 800x601"),
        ("mbochs-medium", 1921, 400, "mbochs-medium shows 1920x1440 at most, not 1921x400"),
        ("mbochs-medium", 400, 1441, "mbochs-medium shows 1920x1440 at most, not 400x1441"),
    ] {
        assert_eq!(sized(name, xres, yres).unwrap_err().to_string(), words);
    }
    assert!(sized("mbochs-small", 800, 600).is_ok());
    assert!(sized("mbochs-medium", 1456, 1440).is_ok());
}

#[test]
fn a_mode_that_takes_more_than_half_of_video_memory_is_refused() {
    let words =
        "1920x1440 takes more than half of the 16 MB of mbochs-medium, and guests would not use it";
    assert_eq!(sized("mbochs-medium", 1920, 1440).unwrap_err().to_string(), words);
    let words =
        "4095x2049 takes more than half of the 64 MB of mbochs-large, and guests would not use it";
    assert_eq!(sized("mbochs-large", 4095, 2049).unwrap_err().to_string(), words);
    for (name, xres, yres) in [("mbochs-medium", 1920, 1092), ("mbochs-large", 4095, 2048)] {
        assert!(sized(name, xres, yres).is_ok(), "{name}");
        assert!(sized(name, xres, yres + 1).is_err(), "{name}");
    }
}

#[test]
fn a_preferred_mode_needs_an_edid_that_is_made() {
    let words = "xres and yres are for an EDID that is made, so they need edid=auto";
    let blob = EdidSource::Blob(Edid::from_bytes(&blocks(1)).unwrap());
    for edid in [EdidSource::Off, blob] {
        for (xres, yres) in [(Some(800), None), (None, Some(600)), (Some(800), Some(600))] {
            let options = Options { xres, yres, edid: edid.clone() };
            assert_eq!(of("mbochs-small", &options).unwrap_err().to_string(), words);
        }
        assert!(of("mbochs-small", &Options { edid, ..Options::default() }).is_ok());
    }
}

#[test]
fn a_blob_is_what_it_is_and_off_is_none() {
    let edid = Edid::from_bytes(&blocks(2)).unwrap();
    let options = Options { edid: EdidSource::Blob(edid.clone()), ..Options::default() };
    assert_eq!(of("mbochs-large", &options), Ok(Some(edid)));
    let options = Options { edid: EdidSource::Off, ..Options::default() };
    assert_eq!(of("mbochs-large", &options), Ok(None));
}

#[test]
fn width_and_height_can_be_given_alone() {
    let options = |xres, yres| Options { xres, yres, ..Options::default() };
    let preferred = |options| size(of("mbochs-large", &options).unwrap().unwrap().bytes());
    assert_eq!(preferred(options(None, None)), (1280, 800));
    assert_eq!(preferred(options(Some(1600), None)), (1600, 800));
    assert_eq!(preferred(options(None, Some(720))), (1280, 720));
    assert_eq!(size(&usual("mbochs-medium")), (1280, 800));
    assert_eq!(size(&usual("mbochs-small")), (800, 600));
}

/// What the first detailed timing tells: clock in 10 kHz, width, horizontal blank, height, vertical blank.
fn timing(edid: &[u8]) -> [u32; 5] {
    let byte = |at: usize| u32::from(edid[54 + at]);
    [
        byte(0) | byte(1) << 8,
        byte(2) | byte(4) >> 4 << 8,
        byte(3) | (byte(4) & 0xf) << 8,
        byte(5) | byte(7) >> 4 << 8,
        byte(6) | (byte(7) & 0xf) << 8,
    ]
}

fn size(edid: &[u8]) -> (u32, u32) {
    let [_, width, _, height, _] = timing(edid);
    (width, height)
}

#[test]
fn the_preferred_timing_is_vesas_reduced_blanking() {
    // Width, height; clock in 10 kHz, rows all in all, rows of the vertical sync pulse: as VESA's own tables and the
    // program `cvt -r` have them.
    for (width, height, clock, v_total, v_sync) in [
        (640, 480, 2350, 494, 4),
        (800, 600, 3550, 618, 4),
        (1024, 768, 5600, 790, 4),
        (1280, 720, 6400, 741, 5),
        (1280, 768, 6825, 790, 7),
        (1280, 800, 7100, 823, 6),
        (1280, 1024, 9100, 1054, 7),
        (1400, 1050, 10_100, 1080, 4),
        (1440, 900, 8875, 926, 6),
        (1680, 1050, 11_900, 1080, 6),
        (1920, 1080, 13_850, 1111, 5),
        (1920, 1200, 15_400, 1235, 6),
        (2560, 1440, 24_150, 1481, 5),
        (2560, 1600, 26_850, 1646, 6),
        (3840, 2160, 53_325, 2222, 5),
    ] {
        let edid = made("mbochs-large", width, height);
        assert_eq!(
            timing(&edid),
            [clock, width, 160, height, v_total - height],
            "{width}x{height}"
        );
        // Front porches of 48 and 3, a horizontal pulse of 32; no upper bits.
        assert_eq!(edid[54 + 8..54 + 12], [48, 32, 0x30 | v_sync, 0], "{width}x{height}");
        // No border; digital, pulses apart, horizontal positive, vertical negative.
        assert_eq!(edid[54 + 15..54 + 18], [0, 0, 0x1a]);
    }
}

#[test]
fn a_width_that_is_no_multiple_of_8_is_kept() {
    assert_eq!(size(&made("mbochs-large", 1366, 768)), (1366, 768));
    assert_eq!(size(&made("mbochs-small", 799, 599)), (799, 599));
}

#[test]
fn the_block_is_the_standards_byte_by_byte() {
    let expected = [
        &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00][..], // header
        &[0x31, 0xd8, 0x11, 0x11, 0, 0, 0, 0],                 // LNX, product 0x1111, no serial
        &[0, 28, 1, 4],                                        // 2018; EDID 1.4
        &[0xa0, 34, 21, 120, 0x06], // digital, 8 bits; cm; gamma 2.2; sRGB, first is native
        &[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54], // sRGB
        &[0x21, 0x08, 0x00],        // 640x480, 800x600, 1024x768
        &[0x81, 0xc0, 0x81, 0x80, 0x95, 0x00, 0xa9, 0x40], // 1280x720 1280x1024 1440x900 1600x1200
        &[0xb3, 0x00, 0xd1, 0xc0, 0x01, 0x01, 0x01, 0x01], // 1680x1050 1920x1080
        &[0xbc, 0x1b, 0x00, 0xa0, 0x50, 0x20, 0x17, 0x30], // 71 MHz, 1280+160, 800+23
        &[0x30, 0x20, 0x36, 0x00, 0x53, 0xd4, 0x10, 0, 0, 0x1a], // 339 x 212 mm
        &[0, 0, 0, 0xfd, 0, 59, 61, 31, 75, 17, 0x01], // Hz, kHz, 10 MHz; no formula
        b"\n      ",
        &[0, 0, 0, 0xfc, 0],
        b"mbochs-medium",
        &[0, 0, 0, 0x10, 0],
        &[0; 13],
        &[0, 0x0a],
    ]
    .concat();
    assert_eq!(usual("mbochs-medium"), expected);
}

#[test]
fn the_monitor_has_the_types_name() {
    let name = |edid: Vec<u8>| String::from_utf8(edid[95..108].to_vec()).unwrap();
    assert_eq!(name(usual("mbochs-small")), "mbochs-small\n");
    assert_eq!(name(usual("mbochs-large")), "mbochs-large\n");
}

#[test]
fn other_modes_are_listed_if_the_type_can_show_them_twice() {
    let standard = |edid: &[u8]| -> Vec<(u8, u8)> {
        let used = edid[38..54].chunks(2).filter(|pair| *pair != [1, 1]);
        used.map(|pair| (pair[0], pair[1])).collect()
    };
    let small = usual("mbochs-small");
    assert_eq!((&small[35..38], standard(&small)), (&[0x21, 0, 0][..], vec![]));
    let medium = made("mbochs-medium", 1600, 900);
    assert_eq!(medium[35..38], [0x21, 0x08, 0]);
    // 1280x720, 1280x800, 1280x1024, 1440x900, 1600x1200, 1680x1050, 1920x1080; 1920x1200 is too much.
    let seven = [(129, 0xc0), (129, 0), (129, 0x80), (149, 0), (169, 0x40), (179, 0), (209, 0xc0)];
    assert_eq!(standard(&medium), seven);
    // The preferred one is not listed again, and makes room for 2048x1152.
    let large = usual("mbochs-large");
    let wide = [(129, 0xc0), (129, 0x80), (149, 0), (169, 0x40), (179, 0), (209, 0xc0)];
    assert_eq!(standard(&large), [&wide[..], &[(209, 0), (225, 0xc0)]].concat());
}

#[test]
fn the_range_limits_hold_all_that_is_listed() {
    let range = |edid: Vec<u8>| edid[77..82].to_vec();
    assert_eq!(range(usual("mbochs-small")), [59, 61, 31, 38, 4]);
    assert_eq!(range(usual("mbochs-large")), [59, 61, 31, 75, 20]);
    assert_eq!(range(made("mbochs-large", 3840, 2160)), [59, 61, 31, 134, 54]);
    assert_eq!(range(made("mbochs-large", 2048, 4095)), [59, 61, 31, 253, 56]);
}
