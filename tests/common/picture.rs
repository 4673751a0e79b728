//! Pictures: what a display shows, and what it should show.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use crate::random::Random;

/// A shadow of the framebuffer is copied by a worker, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that shows a picture.
pub trait Screen {
    /// `mdev-user screenshot`, without the file.
    fn screenshot(&self) -> Command;
}

/// Rows of pixels from the top, three bytes a pixel: red, green, blue.
#[derive(Clone, PartialEq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// What `mdev-user screenshot` writes.
    #[track_caller]
    pub fn seen(screen: &impl Screen) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("screen.png");
        let output = screen.screenshot().arg(&file).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaint.is_empty(), "screenshot: {complaint}");
        Self::decode(&file)
    }

    fn decode(file: &Path) -> Self {
        let decoder = png::Decoder::new(io::BufReader::new(fs::File::open(file).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        let (width, height) = (info.width as usize, info.height as usize);
        rgb.truncate(info.buffer_size());
        Self { width, height, rgb }
    }

    fn of_pixels((width, height): (usize, usize), mut pixel: impl FnMut() -> u32) -> Self {
        let rgb = (0..width * height).flat_map(|_| {
            let [_, red, green, blue] = pixel().to_be_bytes();
            [red, green, blue]
        });
        Self { width, height, rgb: rgb.collect() }
    }

    /// Another one for each seed.
    pub fn random(size: (usize, usize), seed: u64) -> Self {
        let mut random = Random::of(seed, 0);
        Self::of_pixels(size, || (random.next() >> 40) as u32)
    }

    /// What `flip` in the guest paints into the buffer of this number.
    pub fn flipped(size: (usize, usize), mut state: u32) -> Self {
        Self::of_pixels(size, || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        })
    }

    /// mdpy's test pattern: row `i` of `height` is grey, of the level `i * 255 / height`, rounded down.
    pub fn gradient((width, height): (usize, usize)) -> Self {
        let mut pixels = (0..).map(|number: usize| {
            let level = (number / width * 255 / height) as u32;
            level << 16 | level << 8 | level
        });
        Self::of_pixels((width, height), || pixels.next().unwrap())
    }

    /// The same with other pixels in the upper left corner.
    pub fn with(&self, pixels: &[[u8; 3]]) -> Self {
        let mut other = self.clone();
        other.rgb[..pixels.len() * 3].copy_from_slice(pixels.as_flattened());
        other
    }

    /// In the guest's format, XRGB8888: little-endian words, whose upper byte has no meaning and here is random.
    pub fn xrgb(&self) -> Vec<u8> {
        let mut random = Random::of(self.rgb.len() as u64, 1);
        let pixels = self.rgb.chunks_exact(3);
        pixels.flat_map(|rgb| [rgb[2], rgb[1], rgb[0], random.next() as u8]).collect()
    }

    /// Asserts that just this is seen now.
    #[track_caller]
    pub fn is_seen(&self, screen: &impl Screen) {
        let seen = Self::seen(screen);
        assert!(seen == *self, "{}", self.difference(&seen));
    }

    /// Waits until just this is seen.
    #[track_caller]
    pub fn comes(&self, screen: &impl Screen) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = Self::seen(screen);
            if seen == *self {
                return;
            }
            assert!(Instant::now() < deadline, "{}", self.difference(&seen));
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn difference(&self, seen: &Self) -> String {
        if (self.width, self.height) != (seen.width, seen.height) {
            return format!("{seen:?} is seen and not {self:?}");
        }
        let pixels = |picture: &Self| -> Vec<[u8; 3]> {
            picture.rgb.chunks_exact(3).map(|rgb| [rgb[0], rgb[1], rgb[2]]).collect()
        };
        let (wanted, found) = (pixels(self), pixels(seen));
        let other: Vec<_> = (0..wanted.len()).filter(|&at| wanted[at] != found[at]).collect();
        let Some(&first) = other.first() else { return "no difference".into() };
        format!(
            "{} of {} pixels differ, first {},{}: {:02x?} is seen and not {:02x?}",
            other.len(),
            wanted.len(),
            first % self.width,
            first / self.width,
            found[first],
            wanted[first]
        )
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a picture of {}x{}", self.width, self.height)
    }
}
