//! What the monitor says of itself: EDID blobs, made or given, and the region by which a client plugs one in.

mod block;
mod region;
mod timing;

use std::fmt;

use crate::spec::EDID_WINDOW_SIZE;
pub(crate) use region::EdidRegion;
use timing::Timing;

/// Bytes of a block.
const BLOCK: usize = 128;
/// How the first block begins.
const HEADER: [u8; 8] = [0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];
/// Where the first block says how many others follow.
const EXTENSIONS: usize = 126;

/// An EDID whose outer form is right: one to eight blocks of 128 bytes, with header, checksums and number of extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edid {
    bytes: Vec<u8>,
}

impl Edid {
    /// Takes a blob that somebody else has made, a monitor say. What its blocks tell is not looked at.
    ///
    /// # Errors
    /// [`EdidError`] says in words what is wrong with its form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EdidError> {
        let length = bytes.len();
        if length == 0 || !length.is_multiple_of(BLOCK) {
            return Err(EdidError::Length(length));
        }
        if length > EDID_WINDOW_SIZE {
            return Err(EdidError::TooLong(length));
        }
        if !bytes.starts_with(&HEADER) {
            return Err(EdidError::Header);
        }
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            let sum = block.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
            if sum != 0 {
                return Err(EdidError::Checksum { block: number });
            }
        }
        let (said, found) =
            (bytes.get(EXTENSIONS).map_or(0, |it| usize::from(*it)), length / BLOCK - 1);
        if said != found {
            return Err(EdidError::Extensions { said, found });
        }
        Ok(Self { bytes: bytes.to_vec() })
    }

    /// Makes one for a monitor of this name whose preferred mode is `width` x `height` at 60 Hz; `usable` says which
    /// others it may list. `None` if a detailed timing cannot carry that mode.
    pub(crate) fn generate(
        name: &str,
        (width, height): (u32, u32),
        usable: impl Fn(u32, u32) -> bool,
    ) -> Option<Self> {
        let sizes = SMALLEST..=LARGEST;
        if !sizes.contains(&width) || !sizes.contains(&height) {
            return None;
        }
        let timing = Timing::reduced_blanking(width, height)?;
        if timing.clock > MAX_CLOCK {
            return None;
        }
        Some(Self { bytes: block::block(name, &timing, usable).to_vec() })
    }

    /// The blob.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The fewest pixels or rows of a mode that an EDID is made for. With less a monitor would have a side below 10 cm and a
/// pixel clock below 10 MHz, which those who check EDIDs do not believe.
pub(crate) const SMALLEST: u32 = 400;
/// The most pixels or rows that a detailed timing can tell, in 12 bits.
pub(crate) const LARGEST: u32 = 4095;
/// The fastest pixel clock that it can tell, in kHz: 16 bits of 10 kHz.
const MAX_CLOCK: u32 = 655_350;

/// Why bytes are no EDID, in words that can follow "FILE is no EDID: ".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EdidError {
    /// The length is not that of whole blocks.
    Length(usize),
    /// More blocks than a guest can see.
    TooLong(usize),
    /// The first eight bytes are not an EDID's.
    Header,
    /// The bytes of a block do not add up to 0.
    Checksum {
        /// Which one, from 0.
        block: usize,
    },
    /// The first block says that other than so many blocks follow.
    Extensions {
        /// What it says.
        said: usize,
        /// What follows.
        found: usize,
    },
}

impl fmt::Display for EdidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(0) => write!(f, "it is empty"),
            Self::Length(length) => {
                write!(f, "it has {length} bytes, which are no whole number of 128-byte blocks")
            }
            Self::TooLong(length) => {
                write!(f, "it has {length} bytes, and the device has room for {EDID_WINDOW_SIZE}")
            }
            Self::Header => write!(f, "it does not begin with 00 ff ff ff ff ff ff 00"),
            Self::Checksum { block } => write!(f, "the checksum of its block {block} is wrong"),
            Self::Extensions { said, found } => {
                write!(f, "extension blocks that it announces: {said}, that it has: {found}")
            }
        }
    }
}

impl std::error::Error for EdidError {}
