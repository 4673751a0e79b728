//! The kernel sample mdpy as a [`vfio_device`]: a PCI display with a framebuffer of one fixed mode.
//!
//! [`Mdpy`] is the parent's driver: it makes devices of the types `mdpy-vga`, `mdpy-xga` and `mdpy-hd`, four at once
//! unless told otherwise. Identity, capability, memory and test pattern are the sample's. The framebuffer is a memory
//! object that client, guest and viewer map; no access to it comes here.
#![forbid(unsafe_code)]

mod card;
pub mod spec;

#[doc(no_inline)]
pub use vfio_device;
use vfio_device::{Errno, Init, Made, MdevDriver, MdevType};

use card::Card;
use spec::Mode;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Displays that a parent has at once, unless said otherwise (the sample's parameter `count`).
pub const DEFAULT_MAX: u32 = 4;

const TYPES: [MdevType; 3] = [
    MdevType {
        name: "mdpy-vga",
        pretty_name: "mdpy-vga",
        description: Some("virtual display, 640x480 framebuffer"),
    },
    MdevType {
        name: "mdpy-xga",
        pretty_name: "mdpy-xga",
        description: Some("virtual display, 1024x768 framebuffer"),
    },
    MdevType {
        name: "mdpy-hd",
        pretty_name: "mdpy-hd",
        description: Some("virtual display, 1920x1080 framebuffer"),
    },
];

/// Makes displays.
#[derive(Clone, Debug)]
pub struct Mdpy {
    max: u32,
}

impl Mdpy {
    /// A driver of a parent with at most `max` displays at once, over all types.
    pub fn new(max: u32) -> Self {
        Self { max }
    }

    /// The mode of a type.
    pub fn mode(kind: &MdevType) -> Mode {
        match kind.name {
            "mdpy-hd" => Mode { width: 1920, height: 1080 },
            "mdpy-xga" => Mode { width: 1024, height: 768 },
            _ => Mode { width: 640, height: 480 },
        }
    }
}

impl Default for Mdpy {
    fn default() -> Self {
        Self::new(DEFAULT_MAX)
    }
}

impl MdevDriver for Mdpy {
    fn types(&self) -> &[MdevType] {
        &TYPES
    }

    fn max_instances(&self) -> Option<u32> {
        Some(self.max)
    }

    fn init(&self, kind: &MdevType, _init: &mut Init<'_>) -> Result<Made, Errno> {
        let card = Card::new(Self::mode(kind))?;
        Ok((card.description(), Box::new(card)))
    }
}
