//! The EDID that is made for a monitor: one block of version 1.4 (VESA E-EDID Release A, Revision 2).

use super::timing::Timing;
use super::{BLOCK, HEADER};

/// Three letters of five bits: LNX, as in the sets that the Linux kernel has built in.
const VENDOR: [u8; 2] = letters(*b"LNX").to_be_bytes();
/// The PCI function's device id.
const PRODUCT: u16 = 0x1111;
/// The year in which the sample came to Linux, counted from 1990.
const YEAR: u8 = (2018 - 1990) as u8;
/// Digital, 8 bits a colour, over no interface in particular.
const DIGITAL_8_BIT: u8 = 0xa0;
/// Gamma 2.2, as 220 - 100.
const GAMMA: u8 = 120;
/// sRGB is the default; the first timing is the native one; only the modes that are listed.
const FEATURES: u8 = 0x06;
/// sRGB's primaries and white point.
const SRGB: [u8; 10] = [0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54];
/// A standard timing that is not used.
const NO_STANDARD: [u8; 2] = [0x01, 0x01];
/// A digital timing with separate sync pulses, horizontal positive, vertical negative.
const SYNC: u8 = 0x1a;
/// Pixels per inch: what desktops take for normal size.
const DENSITY: u32 = 96;

/// How an EDID speaks of a mode that VESA's DMT standard has numbered.
enum Listed {
    /// By a bit of the three bytes of established timings.
    Established([u8; 3]),
    /// By a width and one of four aspect ratios.
    Standard(u8),
}
use Listed::{Established, Standard};

const WIDE_16_10: u8 = 0x00;
const WIDE_4_3: u8 = 0x40;
const WIDE_5_4: u8 = 0x80;
const WIDE_16_9: u8 = 0xc0;

/// Modes of the DMT standard at 60 Hz: how they are listed; width, height, clock in kHz, pixels of a row, rows.
const DMT: [(Listed, [u32; 5]); 12] = [
    (Established([0x20, 0, 0]), [640, 480, 25_175, 800, 525]),
    (Established([0x01, 0, 0]), [800, 600, 40_000, 1056, 628]),
    (Established([0, 0x08, 0]), [1024, 768, 65_000, 1344, 806]),
    (Standard(WIDE_16_9), [1280, 720, 74_250, 1650, 750]),
    (Standard(WIDE_16_10), [1280, 800, 83_500, 1680, 831]),
    (Standard(WIDE_5_4), [1280, 1024, 108_000, 1688, 1066]),
    (Standard(WIDE_16_10), [1440, 900, 106_500, 1904, 934]),
    (Standard(WIDE_4_3), [1600, 1200, 162_000, 2160, 1250]),
    (Standard(WIDE_16_10), [1680, 1050, 146_250, 2240, 1089]),
    (Standard(WIDE_16_9), [1920, 1080, 148_500, 2200, 1125]),
    (Standard(WIDE_16_10), [1920, 1200, 193_250, 2592, 1245]),
    (Standard(WIDE_16_9), [2048, 1152, 162_000, 2250, 1200]),
];
/// Places for standard timings; the preferred mode takes none, so that what is listed here always fits.
const STANDARD_PLACES: usize = 8;

/// The block for a monitor of this name (13 characters of ASCII at most) with a preferred mode, and those of DMT's modes
/// that are `usable`.
pub(super) fn block(
    name: &str,
    preferred: &Timing,
    usable: impl Fn(u32, u32) -> bool,
) -> [u8; BLOCK] {
    let mut established = [0; 3];
    let mut standard = Vec::with_capacity(2 * STANDARD_PLACES);
    let mut range = Range::of(preferred);
    for (listed, [width, height, clock, h_total, v_total]) in &DMT {
        if !usable(*width, *height) {
            continue;
        }
        match listed {
            Established(bits) => established.iter_mut().zip(bits).for_each(|(to, bit)| *to |= bit),
            _ if (*width, *height) == (preferred.width, preferred.height) => continue,
            _ if standard.len() == 2 * STANDARD_PLACES => continue,
            Standard(aspect) => standard.extend([low(*width / 8 - 31), *aspect]),
        }
        range.include(&Timing {
            clock: *clock,
            h_total: *h_total,
            v_total: *v_total,
            ..*preferred
        });
    }
    while standard.len() < 2 * STANDARD_PLACES {
        standard.extend(NO_STANDARD);
    }

    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.extend(HEADER);
    bytes.extend(VENDOR);
    bytes.extend(PRODUCT.to_le_bytes());
    bytes.extend([0; 4]); // no serial number
    bytes.extend([0, YEAR, 1, 4]); // no week; version 1.4
    bytes.extend([DIGITAL_8_BIT, centimetres(preferred.width), centimetres(preferred.height)]);
    bytes.extend([GAMMA, FEATURES]);
    bytes.extend(SRGB);
    bytes.extend(established);
    bytes.extend(standard);
    bytes.extend(detailed(preferred));
    bytes.extend(descriptor(0xfd, range.bytes()));
    bytes.extend(descriptor(0xfc, text(name)));
    bytes.extend(descriptor(0x10, [0; 13])); // a place that is not used
    bytes.push(0); // no extension
    bytes.push(bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte)));
    bytes.try_into().unwrap_or([0; BLOCK])
}

/// What the monitor can follow: the outermost of all its modes.
struct Range {
    /// Frames a second.
    vertical: (u64, u64),
    /// Thousands of rows a second.
    horizontal: (u64, u64),
    /// Tens of megahertz.
    clock: u64,
}

impl Range {
    fn of(timing: &Timing) -> Self {
        let vertical = (timing.v_rate() / 1000, timing.v_rate().div_ceil(1000));
        let horizontal = (timing.h_rate() / 1000, timing.h_rate().div_ceil(1000));
        Self { vertical, horizontal, clock: u64::from(timing.clock).div_ceil(10_000) }
    }

    fn include(&mut self, timing: &Timing) {
        let wider = |(low, high): (u64, u64), with: (u64, u64)| (low.min(with.0), high.max(with.1));
        let other = Self::of(timing);
        self.vertical = wider(self.vertical, other.vertical);
        self.horizontal = wider(self.horizontal, other.horizontal);
        self.clock = self.clock.max(other.clock);
    }

    fn bytes(&self) -> [u8; 13] {
        let rate = |rate: u64| u8::try_from(rate.max(1)).unwrap_or(u8::MAX);
        let (vertical, horizontal) = (self.vertical, self.horizontal);
        let [low_v, high_v] = [vertical.0, vertical.1].map(rate);
        let [low_h, high_h] = [horizontal.0, horizontal.1].map(rate);
        let limits_only = 0x01;
        let clock = rate(self.clock);
        [low_v, high_v, low_h, high_h, clock, limits_only, b'\n', 32, 32, 32, 32, 32, 32]
    }
}

/// 18 bytes that say something other than a timing.
fn descriptor(tag: u8, data: [u8; 13]) -> impl Iterator<Item = u8> {
    [0, 0, 0, tag, 0].into_iter().chain(data)
}

/// Text as a descriptor has it: ended by a line feed, if there is room, and filled with spaces.
fn text(words: &str) -> [u8; 13] {
    let mut text = [b' '; 13];
    text.iter_mut().zip(words.bytes().chain([b'\n'])).for_each(|(to, from)| *to = from);
    text
}

/// A detailed timing of 18 bytes.
fn detailed(timing: &Timing) -> [u8; 18] {
    let clock = low_word(timing.clock / 10).to_le_bytes();
    let (h_blank, v_blank) = (timing.h_total - timing.width, timing.v_total - timing.height);
    let (wide, high) = (millimetres(timing.width), millimetres(timing.height));
    let upper = |first: u32, second: u32| low(first >> 8 << 4 | second >> 8);
    [
        clock[0],
        clock[1],
        low(timing.width),
        low(h_blank),
        upper(timing.width, h_blank),
        low(timing.height),
        low(v_blank),
        upper(timing.height, v_blank),
        low(timing.h_front),
        low(timing.h_sync),
        low(timing.v_front << 4 | timing.v_sync & 0xf),
        low(timing.h_front >> 8 << 6
            | timing.h_sync >> 8 << 4
            | timing.v_front >> 4 << 2
            | timing.v_sync >> 4),
        low(wide),
        low(high),
        upper(wide, high),
        0, // no border
        0,
        SYNC,
    ]
}

fn millimetres(pixels: u32) -> u32 {
    (pixels * 254 + DENSITY * 5) / (DENSITY * 10)
}

fn centimetres(pixels: u32) -> u8 {
    low((millimetres(pixels) + 5) / 10).max(1)
}

/// The lowest eight bits.
fn low(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

/// The lowest sixteen bits.
fn low_word(value: u32) -> u16 {
    let [first, second, ..] = value.to_le_bytes();
    u16::from_le_bytes([first, second])
}

/// A vendor's three letters in five bits each.
const fn letters(of: [u8; 3]) -> u16 {
    let [a, b, c] = of;
    ((a - b'@') as u16) << 10 | ((b - b'@') as u16) << 5 | (c - b'@') as u16
}
