//! The kernel sample mbochs as a [`vfio_device`]: a Bochs display, with 4, 16 or 64 MB of video memory.
//!
//! [`Mbochs`] is the parent's driver: it makes devices of the types `mbochs-small`, `mbochs-medium` and `mbochs-large` out
//! of a pool of video memory. Identity, regions and registers are the sample's; video memory is one
//! [`SharedMemory`], which the guest maps, and from which the picture
//! ([`Plane`](vfio_device::Plane)) is read in place. [`Options`] say what monitor is plugged in.
#![forbid(unsafe_code)]

mod card;
pub mod dispi;
mod edid;
mod options;
pub mod spec;
mod types;

#[doc(no_inline)]
pub use vfio_device;
use vfio_device::{Errno, Init, Made, MdevDriver, MdevType, Pool, SharedMemory};

use card::Card;
pub use edid::{Edid, EdidError};
pub use options::{EdidSource, Options, OptionsError};
use types::{Model, TYPES};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Megabytes of video memory in a parent's pool, unless said otherwise (the sample's module parameter `count`).
pub const DEFAULT_MEGABYTES: u32 = 256;

/// Makes Bochs displays. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Mbochs {
    pool: Pool,
}

impl Mbochs {
    /// A driver with so many megabytes to give away, over all devices of all types.
    pub fn new(megabytes: u32) -> Self {
        Self { pool: Pool::new(megabytes) }
    }

    /// Makes a device of a type with these options; [`MdevDriver::init`] is the same with none.
    ///
    /// # Errors
    /// `EINVAL` for a type that is not one of ours, or not the one that the mdev has, or [options](Options::check) that it cannot have; `ENOSPC` if the
    /// pool has too little left; what [`SharedMemory::new`] answered. Nothing is left behind.
    pub fn make(
        &self,
        kind: &MdevType,
        options: &Options,
        init: &mut Init<'_>,
    ) -> Result<Made, Errno> {
        // It would be known, and counted, as one type and be another.
        if init.kind().is_some_and(|mdev| mdev != kind) {
            return Err(Errno::INVAL);
        }
        let model = Model::of(kind).ok_or(Errno::INVAL)?;
        let edid = options.edid(kind).map_err(|_| Errno::INVAL)?;
        let share = self.pool.reserve(model.megabytes)?;
        let memory = SharedMemory::new(card::MEMORY_NAME, model.memory())?;
        let description = Card::description(&memory);
        Ok((description, Box::new(Card::new(model, edid.as_ref(), memory, share))))
    }
}

impl Default for Mbochs {
    fn default() -> Self {
        Self::new(DEFAULT_MEGABYTES)
    }
}

impl MdevDriver for Mbochs {
    fn types(&self) -> &[MdevType] {
        &TYPES
    }

    fn available(&self, kind: &MdevType) -> u32 {
        Model::of(kind).map_or(0, |model| self.pool.free() / model.megabytes)
    }

    fn init(&self, kind: &MdevType, init: &mut Init<'_>) -> Result<Made, Errno> {
        self.make(kind, &Options::default(), init)
    }
}
