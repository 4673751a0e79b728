//! Unit tests of a device, without a socket or a guest (feature `testing`).
//!
//! [`Harness`] is a device that one client has open: load, store, see what fired, let timers run out. [`Check`] holds a
//! device to what every device must survive, and to a reset that leads back to where it began. Both panic when the device
//! states or triggers a vector that its description lacks: in a guest that interrupt would never come, and nobody say why.
//!
//! ```
//! use vfio_device::testing::{Check, Harness};
//! use vfio_device::{BAR0, BarKind, Context, Description, INTX, Region, VfioDevice};
//!
//! /// Asserts INTx while its one register is odd.
//! #[derive(Default)]
//! struct Odd(u8);
//!
//! impl VfioDevice for Odd {
//!     fn region_read(&mut self, _: u32, _: u64, data: &mut [u8], _: &mut Context) {
//!         data.fill(self.0);
//!     }
//!     fn region_write(&mut self, _: u32, _: u64, data: &[u8], cx: &mut Context) {
//!         self.0 = data.last().copied().unwrap_or(self.0);
//!         cx.irqs.set_level(INTX, 0, self.0 & 1 == 1);
//!     }
//!     fn reset(&mut self, _: &mut Context) {
//!         *self = Self::default();
//!     }
//! }
//!
//! fn description() -> Description {
//!     Description::pci(0x1234, 0x0dd0).bar(0, BarKind::Io, Region::trapped(4)).intx()
//! }
//!
//! let mut odd = Harness::new(|_| Ok((description(), Box::new(Odd::default()))));
//! odd.write8(BAR0, 0, 6);
//! assert!(!odd.intx());
//! odd.write8(BAR0, 0, 7);
//! assert_eq!((odd.read16(BAR0, 0), odd.intx()), (0x0707, true));
//!
//! Check::new(|_| Ok((description(), Box::new(Odd::default())))).run();
//! ```
#![expect(clippy::panic, reason = "a test fails by a panic, which says why")]

mod check;

use std::fmt::Display;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::config::{COMMAND, COMMAND_BUS_MASTER};
use crate::validate::PAGE;
use crate::{
    CONFIG, Device, DmaRange, Errno, INTX, Init, IrqAction, IrqData, MSI, MSIX, Made, OpenMode,
    SharedMemory, Vfio,
};
pub use check::Check;

/// A device that one client has open. What it has no method for, [`device`](Self::device) has.
///
/// Each method that calls the device, or asks for its interrupts, panics if the device has stated or triggered a vector
/// that its description lacks.
#[derive(Debug)]
pub struct Harness {
    device: Device,
    /// Index and vector, and how often it had fired when that was last asked.
    seen: Vec<((u32, u32), u64)>,
}

macro_rules! accesses {
    ($($type:ident $read:ident $write:ident,)*) => {$(
        #[doc = concat!("Loads a little-endian `", stringify!($type), "`.\n\n# Panics\nIf the access is refused.")]
        #[track_caller]
        pub fn $read(&mut self, region: u32, offset: u64) -> $type {
            let mut data = [0; size_of::<$type>()];
            let done = self.device.region_read(region, offset, &mut data);
            must(done, || format!("a load at {offset:#x} of region {region}"));
            self.must_have_all_vectors();
            $type::from_le_bytes(data)
        }

        #[doc = concat!("Stores a little-endian `", stringify!($type), "`.\n\n# Panics\nIf the access is refused.")]
        #[track_caller]
        pub fn $write(&mut self, region: u32, offset: u64, value: $type) {
            let done = self.device.region_write(region, offset, &value.to_le_bytes());
            must(done, || format!("a store at {offset:#x} of region {region}"));
            self.must_have_all_vectors();
        }
    )*};
}

/// Region [`CONFIG`] is configuration space.
impl Harness {
    accesses! {
        u8 read8 write8,
        u16 read16 write16,
        u32 read32 write32,
        u64 read64 write64,
    }

    /// Makes a device, registers it and opens it.
    ///
    /// # Panics
    /// If that fails. A description that cannot be built says why.
    #[track_caller]
    pub fn new(init: impl FnOnce(&mut Init<'_>) -> Result<Made, Errno>) -> Self {
        let mut device = must(Vfio::new().alloc(init), || "alloc".into());
        must(device.register(), || "register".into());
        must(device.open(OpenMode::Exclusive), || "open".into());
        let it = Self { device, seen: Vec::new() };
        it.must_have_all_vectors();
        it
    }

    /// The device.
    pub fn device(&mut self) -> &mut Device {
        &mut self.device
    }

    /// Sets all vectors of an irq index up, as a driver does that has enabled them. INTx, MSI and MSI-X exclude each
    /// other.
    ///
    /// # Panics
    /// If the device does not have the index, or another one is set up.
    #[track_caller]
    pub fn arm(&mut self, index: u32) {
        let count = self.device.irqs().info(index).map_or(0, |info| info.count);
        let one = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let fds: Vec<_> = must((0..count).map(|_| one()).collect(), || "an eventfd".into());
        let data = IrqData::Eventfd(fds.into_iter());
        let done = self.device.set_irqs(index, IrqAction::Trigger, 0..count, data);
        must(done, || format!("setting irq index {index} up"));
    }

    /// Whether the device asserts INTx.
    #[track_caller]
    pub fn intx(&self) -> bool {
        self.must_have_all_vectors();
        self.device.irqs().level(INTX, 0)
    }

    /// How often a vector that was [armed](Self::arm) has fired since this was last asked. Of INTx [`intx`](Self::intx)
    /// says more: it fires once, and then not before its client unmasks it.
    #[track_caller]
    pub fn fired(&mut self, index: u32, vector: u32) -> u64 {
        self.must_have_all_vectors();
        let total = self.device.irqs().fired(index, vector);
        let at = self.seen.iter().position(|(of, _)| *of == (index, vector));
        let before = at.map_or(0, |at| self.seen.swap_remove(at).1);
        self.seen.push(((index, vector), total));
        total - before
    }

    /// Lets the device reach `size` bytes of zeroes at `address` by DMA, as a guest's memory that the client shares, and turns
    /// bus mastering on. The value returned is that memory.
    ///
    /// # Panics
    /// If the device does no DMA, other memory is there already, or `address` and `size` are no whole number of 4 KiB
    /// pages.
    #[track_caller]
    pub fn guest_memory(&mut self, address: u64, size: u64) -> SharedMemory {
        if !self.device.dma().is_wanted() {
            panic!("the device does no DMA; is `.dma()` missing?");
        }
        let what = || format!("{size:#x} bytes of guest memory at {address:#x}");
        if !(address | size).is_multiple_of(PAGE) {
            must(Err::<(), _>(Errno::INVAL), what);
        }
        let memory = must(SharedMemory::new("guest-memory", size), what);
        let file = must(memory.fd().try_clone_to_owned(), what);
        let range = DmaRange { address, size, readable: true, writable: true };
        must(self.device.dma_map(range, Some((file, 0))), what);
        if self.device.is_pci() {
            let command = self.read8(CONFIG, COMMAND as u64) | COMMAND_BUS_MASTER;
            self.write8(CONFIG, COMMAND as u64, command);
        }
        memory
    }

    /// Jumps to the moment when the next timer is due, and runs it. How far away that was; `None` if no timer runs.
    #[track_caller]
    pub fn skip_to_timer(&mut self) -> Option<Duration> {
        let due = self.device.next_timer()?;
        let away = due.saturating_duration_since(Instant::now());
        self.device.run_timers(due);
        self.must_have_all_vectors();
        Some(away)
    }

    /// Resets the device.
    #[track_caller]
    pub fn reset(&mut self) {
        self.device.reset();
        self.must_have_all_vectors();
    }

    #[track_caller]
    fn must_have_all_vectors(&self) {
        must_have_all_vectors(&self.device);
    }
}

/// The core ignores what a device says of a vector that it does not have. Here its author hears of it.
#[track_caller]
fn must_have_all_vectors(device: &Device) {
    let irqs = device.irqs();
    let Some(missing) = irqs.missing else { return };
    let count = irqs.info(missing.index).map_or(0, |info| info.count);
    let hint = match (missing.index, count) {
        (INTX, 0) if device.is_pci() => "is `.intx()` missing?".into(),
        (MSI, 0) if device.is_pci() => "is `.msi()` missing?".into(),
        (MSIX, 0) if device.is_pci() => "is `.msix()` missing?".into(),
        (_, 0) => "its description has no such irq index".into(),
        (_, 1) => "that index has one, 0".into(),
        _ => format!("that index has {count}, 0 to {}", count - 1),
    };
    panic!("{missing}; {hint}");
}

#[track_caller]
fn must<T, E: Display>(done: Result<T, E>, what: impl FnOnce() -> String) -> T {
    match done {
        Ok(it) => it,
        Err(error) => panic!("{}: {error}", what()), // at the caller's line
    }
}
