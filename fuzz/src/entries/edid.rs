//! EDID blobs that somebody brings, and those that are made for a mode.

use mbochs::{Edid, EdidSource, Mbochs, Options};
use vfio_device::MdevDriver;
use vfio_device::testing::Harness;

use super::input::Input;

const MMIO: u32 = 2;

/// The bytes as a blob, as they are, with a form that is right, and with one byte of that changed; and the first of them
/// as a mode that one is made for.
pub fn edid(data: &[u8]) {
    blob(data);
    let mut mended = mended(data);
    blob(&mended);
    mode(&mut Input(data));
    let mut input = Input(data);
    let (at, value) = (usize::from(input.half()) % mended.len(), input.byte());
    mended[at] ^= value;
    blob(&mended);
}

/// Whole blocks of it, with header, number of extensions and checksums.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().max(1).next_multiple_of(128), 0);
    data[..8].copy_from_slice(&[0, 255, 255, 255, 255, 255, 255, 0]);
    data[126] = (data.len() / 128 - 1) as u8;
    for block in data.chunks_mut(128) {
        let (sum, rest) = block.split_last_mut().expect("a block");
        *sum = rest.iter().fold(0, |sum, byte| sum.wrapping_sub(*byte));
    }
    data
}

fn blob(data: &[u8]) {
    let result = Edid::from_bytes(data);
    let edid = match result {
        Ok(edid) => edid,
        Err(error) => {
            assert!(!is_edid(data), "refused: {error}");
            return assert!(!error.to_string().is_empty());
        }
    };
    assert!(is_edid(data) && edid.bytes() == data);
    let driver = Mbochs::default();
    let kind = driver.types()[usize::from(data[16] % 3)];
    let options = Options { edid: EdidSource::Blob(edid.clone()), ..Options::default() };
    assert_eq!(options.edid(&kind), Ok(Some(edid)));
    let mut device = Harness::new(|init| driver.make(&kind, &options, init));
    let mut seen = [0xa5; 0x400];
    device.device().region_read(MMIO, 0, &mut seen).expect("the window can be read");
    assert!(seen.starts_with(data) && seen[data.len()..].iter().all(|byte| *byte == 0));
}

/// The rule: whole blocks, up to eight; header, checksums, number of extensions.
fn is_edid(data: &[u8]) -> bool {
    let sum = |block: &[u8]| block.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 256;
    (1..=8).any(|blocks| data.len() == 128 * blocks)
        && data.starts_with(&[0, 255, 255, 255, 255, 255, 255, 0])
        && data.chunks(128).all(|block| sum(block) == 0)
        && usize::from(data[126]) == data.len() / 128 - 1
}

fn mode(input: &mut Input<'_>) {
    let what = input.byte();
    let driver = Mbochs::default();
    let number = usize::from(what % 3);
    let kind = driver.types()[number];
    let mut side = |given: bool| given.then(|| u32::from(input.half()) >> (what >> 6));
    let (xres, yres) = (side(what & 8 != 0), side(what & 16 != 0));
    let preferred = [(800, 600), (1280, 800), (1280, 800)][number];
    let (width, height) = (xres.unwrap_or(preferred.0), yres.unwrap_or(preferred.1));
    let most: (u32, u32) = [(800, 600), (1920, 1440), (4095, 4095)][number];
    let memory = [4 << 20, 16 << 20, 64 << 20][number];
    let allowed = (400..=most.0).contains(&width)
        && (400..=most.1).contains(&height)
        && 8 * u64::from(width) * u64::from(height) <= memory;
    let options = Options { xres, yres, ..Options::default() };
    let made = options.edid(&kind);
    // Some modes are too fast for a timing's pixel clock.
    assert!(made.is_err() || allowed, "{width}x{height} of {}", kind.name);
    assert_eq!(options.check(&kind).is_ok(), made.is_ok());
    match made {
        Ok(edid) => {
            let edid = edid.expect("one was asked for");
            assert!(is_edid(edid.bytes()) && edid.bytes().len() == 128);
            let timing = |at: usize| u32::from(edid.bytes()[54 + at]);
            let clock = timing(0) | timing(1) << 8;
            let found = (timing(2) | (timing(4) & 0xf0) << 4, timing(5) | (timing(7) & 0xf0) << 4);
            let blank = (timing(3) | (timing(4) & 0xf) << 8, timing(6) | (timing(7) & 0xf) << 8);
            assert_eq!(found, (width, height));
            // 60 Hz, as near as steps of 250 kHz allow.
            let pixels = u64::from(width + blank.0) * u64::from(height + blank.1);
            let rate = u64::from(clock) * 10_000 * 1000 / pixels;
            assert!((59_000..=60_000).contains(&rate), "{width}x{height} at {rate} mHz");
        }
        Err(error) => {
            let clock = u64::from(width + 160) * u64::from(height + 200) * 60;
            assert!(!allowed || clock > 655_000_000, "{width}x{height} of {}: {error}", kind.name);
        }
    }
}
