//! Pictures, of memory and of nothing.

use serde_json::json;
use vfio_device::SharedMemory;

use super::*;

/// A picture of these colours, 0xRRGGBB.
pub fn frame(width: u32, height: u32, colour: impl Fn(u32, u32) -> u32) -> Frame {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgb = pixels.flat_map(|(x, y)| colour(x, y).to_be_bytes()[1..].to_vec()).collect();
    Frame { mode: Mode { width, height }, rgb }
}

/// A plane as the server says it.
fn plane(width: u64, height: u64, stride: u64, offset: u64) -> Value {
    json!({
        "format": "XR24", "fourcc": 0x3432_5258, "width": width, "height": height,
        "stride": stride, "offset": offset, "size": stride * height, "generation": 0,
    })
}

fn view(bytes: &[u8]) -> MemoryView {
    let memory = SharedMemory::new("test", bytes.len() as u64).unwrap();
    memory.write(0, bytes).unwrap();
    MemoryView::attach(memory.fd().try_clone_to_owned().unwrap(), memory.size()).unwrap()
}

#[test]
fn a_plane_that_cannot_be_is_refused_in_words() {
    let changed = |member: &str, value: Value| {
        let mut plane = plane(640, 480, 2560, 0);
        plane[member] = value;
        plane
    };
    for (plane, words) in [
        (json!({}), "its fourcc is missing"),
        (json!([]), "its fourcc is missing"),
        (changed("fourcc", 0x3432_4241.into()), "its format is not XR24"),
        (changed("width", 0.into()), "its width cannot be"),
        (changed("height", 0.into()), "its height cannot be"),
        (changed("width", (-1).into()), "its width is missing"),
        (changed("width", "640".into()), "its width is missing"),
        (changed("height", (1u64 << 32).into()), "its height cannot be"),
        (changed("stride", 2559.into()), "its rows overlap, with 2559 bytes for 640 pixels"),
        (changed("stride", (u64::MAX / 2).into()), "it is outside of all memory"),
        (changed("offset", u64::MAX.into()), "it is outside of all memory"),
        (
            changed("offset", ((1u64 << 30) - 640 * 480 * 4 + 1).into()),
            "it is spread too far, over",
        ),
        (plane(1, 65537, 4096, 0), "it is spread too far, over 268435460 bytes from 0 on"),
        (plane(1, 2, 1 << 28, 0), "it is spread too far, over 268435460 bytes from 0 on"),
        (plane(1, 262_144, 4096, 0), "it is spread too far, over"),
        (changed("size", 4.into()), "it has 1228800 bytes, of which 4 are the display's"),
        (changed("size", 1_228_799.into()), "it has 1228800 bytes, of which 1228799 are the"),
        (changed("size", Value::Null), "its size is missing"),
        (plane(8193, 8192, 8193 * 4, 0), "it has too many pixels, 8193x8192"),
        (plane(u64::from(u32::MAX), u64::from(u32::MAX), 0, 0), "it has too many pixels"),
    ] {
        let why = Layout::new(&plane).unwrap_err();
        assert!(why.starts_with(words), "{plane}: {why}");
    }
}

#[test]
fn a_plane_ends_with_the_last_pixel_of_its_last_row() {
    assert_eq!(Layout::new(&Value::Null), Ok(None));
    let end = |plane| Layout::new(&plane).unwrap().unwrap().end();
    assert_eq!(end(plane(640, 480, 2560, 0)), 640 * 480 * 4);
    assert_eq!(end(plane(2, 3, 100, 7)), 7 + 200 + 8);
    assert_eq!(end(plane(8192, 8192, 8192 * 4, 0)), 8192 * 8192 * 4);
    assert_eq!(end(plane(1, 65536, 4096, 0)), 65535 * 4096 + 4);
    assert_eq!(end(plane(640, 480, 2560, (1 << 30) - 640 * 480 * 4)), 1 << 30);
}

#[test]
fn memory_that_ends_before_the_picture_is_not_read() {
    let layout = Layout::new(&plane(2, 3, 100, 7)).unwrap().unwrap();
    assert!(Frame::copy(&view(&[0; 214]), &layout).is_err());
    assert!(Frame::copy(&view(&[0; 215]), &layout).is_ok());
}

#[test]
fn colours_padding_and_offset_are_right() {
    // Blue, green, red, nothing.
    let mut bytes = vec![0xee; 40];
    bytes[4..12].copy_from_slice(&[1, 2, 3, 0xff, 4, 5, 6, 0]);
    bytes[24..32].copy_from_slice(&[7, 8, 9, 0, 10, 11, 12, 0xff]);
    let layout = Layout::new(&plane(2, 2, 20, 4)).unwrap().unwrap();
    let frame = Frame::copy(&view(&bytes), &layout).unwrap();
    assert_eq!(frame.rgb(), [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]);
    assert_eq!(frame.mode(), Mode { width: 2, height: 2 });
}

#[test]
fn the_hash_is_the_sha_256_of_red_green_blue() {
    // `printf abc | sha256sum`: one pixel of red 'a', green 'b', blue 'c'.
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let pixel = frame(1, 1, |_, _| 0x61_62_63);
    assert_eq!(pixel.hash(), hash);
    assert_eq!(pixel.summary(), format!("1x1 sha256:{hash}"));
}

#[test]
fn blank_is_one_colour_whichever() {
    let dot = |x, y| u32::from((x, y) == (7, 5));
    for colour in [0, 0xff_ffff, 0x12_34_56] {
        assert!(frame(8, 6, |_, _| colour).is_blank(&[]), "{colour:x}");
        assert!(!frame(8, 6, |x, y| colour ^ dot(x, y)).is_blank(&[]), "{colour:x}");
    }
    let picture = frame(8, 6, dot);
    assert!(picture.is_blank(&["1x1+7+5".parse().unwrap()]));
    assert!(!picture.is_blank(&["6x6+0+0".parse().unwrap(), "8x5+0+0".parse().unwrap()]));
    assert!(!frame(8, 6, |x, _| x & 1).is_blank(&["1x6+0+0".parse().unwrap()]));
    assert!(picture.is_blank(&["9x9+0+0".parse().unwrap()]), "all is ignored");
}

#[test]
fn a_difference_is_the_smallest_rectangle_around_it() {
    let black = frame(8, 6, |_, _| 0);
    let dots = frame(8, 6, |x, y| u32::from([(2, 1), (5, 4), (3, 2)].contains(&(x, y))));
    let between = |ignored: &[&str]| {
        let ignored: Vec<Rect> = ignored.iter().map(|it| it.parse().unwrap()).collect();
        dots.difference(&black, &ignored).map(|rect| rect.to_string())
    };
    assert_eq!(between(&[]).unwrap(), "4x4+2+1");
    assert_eq!(between(&["1x1+5+4"]).unwrap(), "2x2+2+1");
    assert_eq!(between(&["1x1+5+4", "3x2+0+1"]).unwrap(), "1x1+3+2");
    assert_eq!(between(&["8x6+0+0"]), None);
    assert_eq!(black.difference(&black, &[]), None);
    let wide = frame(6, 8, |_, _| 0);
    assert_eq!(wide.difference(&black, &[]).unwrap().to_string(), "6x8+0+0");
}
