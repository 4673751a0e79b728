//! The kernel sample mtty as a [`vfio_device`]: a PCI serial card with one or two 16550A ports.
//!
//! [`Mtty`] is the parent's driver: it makes devices of the types `mtty-1` and `mtty-2` out of a pool of ports. Identity,
//! regions and irqs are the sample's; the UART is a right one. Each port loops back to itself, unless it is
//! [made](Mtty::make) with another [`Line`], and no byte is lost at any burst size.
#![forbid(unsafe_code)]

mod card;
mod connector;
mod feed;
mod fifo;
mod host;
pub mod line;
mod paced;
mod receiver;
mod settings;
pub mod spec;
pub mod uart;

#[doc(no_inline)]
pub use vfio_device;
use vfio_device::{Errno, Init, Made, MdevDriver, MdevType, Pool};

use card::Card;
use line::{Line, LoopbackPlug};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Ports in a parent's pool, unless said otherwise (the sample's `MAX_MTTYS`).
pub const DEFAULT_PORTS: u32 = 24;

const TYPES: [MdevType; 2] = [
    MdevType { name: "mtty-1", pretty_name: "Single port serial", description: None },
    MdevType { name: "mtty-2", pretty_name: "Dual port serial", description: None },
];

/// Makes serial cards. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Mtty {
    pool: Pool,
}

impl Mtty {
    /// A driver with so many ports to give away, over all devices of both types.
    pub fn new(ports: u32) -> Self {
        Self { pool: Pool::new(ports) }
    }

    /// Makes a card of a type with one line for each of its ports; [`MdevDriver::init`] is the same with
    /// [`LoopbackPlug`]s.
    ///
    /// # Errors
    /// `EINVAL` for a type that is not one of ours, or not the one that the mdev has, or for more or fewer lines than it has ports;
    /// `ENOSPC` if the pool has too few ports left. Nothing is left behind.
    pub fn make(
        &self,
        kind: &MdevType,
        lines: Vec<Box<dyn Line>>,
        init: &mut Init<'_>,
    ) -> Result<Made, Errno> {
        // It would be known, and counted, as one type and be another.
        if init.kind().is_some_and(|mdev| mdev != kind) || !TYPES.contains(kind) {
            return Err(Errno::INVAL);
        }
        let ports = Self::ports(kind);
        if lines.len() != ports as usize {
            return Err(Errno::INVAL);
        }
        let share = self.pool.reserve(ports)?;
        Ok((Card::description(ports), Box::new(Card::new(lines, share))))
    }

    /// Ports of a card of this type, 1 or 2.
    pub fn ports(kind: &MdevType) -> u32 {
        if kind.name == "mtty-2" { 2 } else { 1 }
    }
}

impl Default for Mtty {
    fn default() -> Self {
        Self::new(DEFAULT_PORTS)
    }
}

impl MdevDriver for Mtty {
    fn types(&self) -> &[MdevType] {
        &TYPES
    }

    fn available(&self, kind: &MdevType) -> u32 {
        self.pool.free() / Self::ports(kind)
    }

    fn init(&self, kind: &MdevType, init: &mut Init<'_>) -> Result<Made, Errno> {
        let plugs = (0..Self::ports(kind)).map(|_| Box::new(LoopbackPlug) as Box<dyn Line>);
        self.make(kind, plugs.collect(), init)
    }
}
