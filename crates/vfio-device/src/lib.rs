//! The `vfio_device` life cycle and device contract, in user space: no socket, no protocol, no thread.
//!
//! A device is a value with registers that implements [`VfioDevice`]. This crate keeps what the Linux kernel's VFIO core
//! keeps for a driver: its life from alloc to release, its regions, its interrupts, its configuration space. A server
//! (`vfio-user-server`) drives a [`Device`] and hands clients what they ask for.
//!
//! # Life
//!
//! ```text
//!    Vfio::alloc            register                  unregister
//!  init ----> Initialized ----------> Registered ----------------------> Unregistered ----> release
//!                                     |   ^    \                         ^   when the last
//!                          open 0->1  v   |     \ while open             |   reference goes
//!                                    close 1->0  +-----> Unregistering --+
//!                                                        request(0), request(1) ...
//!                                                        until the last close
//! ```
//!
//! The words are the kernel's. Three counts are kept, and none stands for another:
//!
//! | count | who holds one | when it reaches 0 |
//! |---|---|---|
//! | references | [`Device`], each [`DeviceRef`] | device set and index go back, `release` runs, then UUID and instance |
//! | registrations | the core from `register` to `unregister`, each open, each [`Registration`] | the device is [`Unregistered`](State::Unregistered): nothing calls it any more |
//! | opens | each [`Device::open`] | `close` runs, and what the client set up goes; the device's state stays |
//!
//! Every transition returns at once. What there is to wait for is the answer ([`Unregister::InUse`]), or can be waited
//! for from another thread ([`DeviceRef::wait_unregistered`]). `init` fails and leaves nothing behind, or succeeds, and
//! then `release` runs exactly once, in whatever thread drops the last reference.
//!
//! An mdev is a device that a [`Parent`] makes: with a UUID that is unique until release, out of a capacity that the
//! core counts or that the driver keeps in a [`Pool`].
//!
//! # Who answers what
//!
//! | what a client or guest does | who answers |
//! |---|---|
//! | asks for device, region and irq info | the core, from the [`Description`] |
//! | reads or writes configuration space, sizes a BAR | the core: value and mask ([`ConfigSpace`]); the device hears of it in [`config_written`](VfioDevice::config_written) |
//! | asks for a reset of the function (PCI Express or Advanced Features FLR, D3hot to D0) | the core, as any other reset |
//! | reads or writes the MSI-X table, reads the pending bits | the core ([`Description::msix`]) |
//! | an access out of bounds, to an absent region, against a region's permissions | the core: `EINVAL` |
//! | an access to [trapped](Region::trapped) bytes | the device: [`region_read`](VfioDevice::region_read), [`region_write`](VfioDevice::region_write) |
//! | an access to [mapped](Region::mapped) bytes | the core, or nobody: the client has mapped [`SharedMemory`] |
//! | an access across both ([sparse](Region::sparse)) | each part as above |
//! | sets interrupts up, masks, unmasks, fires by hand | the core ([`Irqs`]); the device only states what holds |
//! | lets the device reach its memory | the core keeps the maps, the device reads and writes through them ([`Dma`]) |
//! | resets | the core: configuration space, levels, timers; then the device: [`reset`](VfioDevice::reset) |
//! | is made | the device: [`start`](VfioDevice::start), where a back end begins to watch its descriptors |
//! | a host descriptor is ready, a time has come | the device: [`ready`](VfioDevice::ready), [`timer`](VfioDevice::timer) |
//! | comes and goes | the device, first and last only: [`open`](VfioDevice::open), [`close`](VfioDevice::close) |
//! | is asked to go | the device: [`request`](VfioDevice::request); by default irq index REQ |
//! | looks at the picture | the device: [`display`](VfioDevice::display) |
//! | migrates | the device for its registers: [`migration`](VfioDevice::migration); the core for the rest |
//!
//! A [`Description`] that would crash or hang QEMU is refused when the device is made: [`DescriptionError`] says why.
//!
//! # A whole device
//!
//! | offset | name | access | reset | meaning |
//! |---|---|---|---|---|
//! | 0x0 | ID | RO | `TALY` | identifies the device |
//! | 0x4 | COUNT | RW | 0 | a store of any value adds one |
//! | 0x8 | LIMIT | RW | ~0 | an interrupt is asserted while COUNT == LIMIT |
//!
//! ```
//! use vfio_device::{BarKind, Context, Description, Errno, INTX, OpenMode, Region, Unregister, Vfio};
//! use vfio_device::{BAR0, VfioDevice};
//!
//! const ID: u32 = u32::from_le_bytes(*b"TALY");
//!
//! struct Tally {
//!     count: u32,
//!     limit: u32,
//! }
//!
//! const RESET: Tally = Tally { count: 0, limit: !0 };
//!
//! impl VfioDevice for Tally {
//!     fn region_read(&mut self, _region: u32, offset: u64, data: &mut [u8], _cx: &mut Context) {
//!         let value = match offset {
//!             0x0 => ID,
//!             0x4 => self.count,
//!             0x8 => self.limit,
//!             _ => return, // `data` arrives zeroed
//!         };
//!         data.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
//!     }
//!
//!     fn region_write(&mut self, _region: u32, offset: u64, data: &[u8], cx: &mut Context) {
//!         match (offset, data.try_into().map(u32::from_le_bytes)) {
//!             (0x4, Ok(_)) => self.count = self.count.wrapping_add(1),
//!             (0x8, Ok(limit)) => self.limit = limit,
//!             _ => (), // no such register, or not 4 bytes wide
//!         }
//!         cx.irqs.set_level(INTX, 0, self.count == self.limit); // one place, from the state
//!     }
//!
//!     fn reset(&mut self, _cx: &mut Context) {
//!         *self = RESET;
//!     }
//! }
//!
//! fn main() -> Result<(), Errno> {
//!     let vfio = Vfio::new();
//!     let mut device = vfio.alloc(|_init| {
//!         let description = Description::pci(0x1234, 0x7a11)
//!             .class(0x08, 0x80, 0x00) // a system peripheral
//!             .bar(0, BarKind::Memory32, Region::trapped(16))
//!             .intx();
//!         Ok((description, Box::new(RESET)))
//!     })?;
//!     device.register()?;
//!
//!     // From here on it is a server that does this, as its client says.
//!     device.open(OpenMode::Exclusive)?;
//!     let mut id = [0; 4];
//!     device.region_read(BAR0, 0x0, &mut id)?;
//!     assert_eq!(&id, b"TALY");
//!     device.region_write(BAR0, 0x8, &2u32.to_le_bytes())?;
//!     for asserted in [false, true, false] {
//!         device.region_write(BAR0, 0x4, &[0; 4])?;
//!         assert_eq!(device.irqs().level(INTX, 0), asserted);
//!     }
//!     assert_eq!(device.open(OpenMode::Exclusive), Err(Errno::BUSY));
//!     assert_eq!(device.unregister(), Unregister::InUse);
//!     device.close();
//!     assert_eq!(device.unregister(), Unregister::Done);
//!     Ok(())
//! }
//! ```
//!
//! # Where the rest goes
//!
//! * **Memory** that a client may map: [`Region::mapped`] or [`Region::sparse`] over [`SharedMemory`]; read-only for the
//!   client over [`SharedMemory::new_read_only`]. A client keeps what it was handed: [`Context::replace_memory`] gives the
//!   next one another.
//! * **A picture**: [`VfioDevice::display`] returns a [`Plane`], which holds the memory that it lies in. It is what the
//!   kernel answers to `VFIO_DEVICE_QUERY_GFX_PLANE`; vfio-user has no such message, so a viewer on the host asks for it, and reads
//!   the memory in place ([`MemoryView`]).
//! * **Migration**: [`VfioDevice::migration`] returns the device's [`Migration`], which saves and loads its registers.
//!   No client migrates over vfio-user yet.
//! * **DMA**: [`Description::dma`] says that the device does it, [`Context::dma`](Context) does it.
//! * **A back end on the host**: [`Context::sources`](Context) for descriptors, [`Context::timers`](Context) for times.
//! * **What a driver shares between its devices**: a [`Pool`] whose [`Share`] is a field of the private state, or any
//!   `Arc` of the driver's own. It goes back when `release` drops it.
//! * **Unit tests** of a device, without socket or guest: feature `testing`, module `testing`.
//! * **Teardown in layers**: [`VfioDevice::release`] first, then the fields' `Drop` in their order.

mod alloc;
mod config;
mod description;
mod device;
mod display;
mod dma;
mod irq;
mod mdev;
mod memory;
mod migration;
mod object;
mod ops;
mod pci;
mod region;
mod sources;
#[cfg(feature = "testing")]
pub mod testing;
mod timers;
mod validate;

pub use alloc::{AllocError, Init, Made};
pub use config::ConfigSpace;
pub use description::{BAR0, Built, CONFIG, Description, PCI_IRQS, PCI_REGIONS, ROM, VGA};
pub use device::{Device, OpenMode, Unregister};
pub use display::Plane;
pub use dma::{Dma, DmaRange};
pub use irq::{
    ERR, Firing, INTX, IrqAction, IrqData, IrqFlags, IrqInfo, IrqIntercept, Irqs, MSI, MSIX, REQ,
};
pub use mdev::{DEVICE_API, MdevDriver, MdevObject, MdevType, Parent, Pool, Share};
pub use memory::{MemoryView, SharedMemory};
pub use migration::Migration;
pub use object::{DeviceRef, Registration, State, Vfio};
pub use ops::{Context, VfioDevice};
pub use pci::{BarKind, BarOffset, Capability};
pub use region::Region;
/// An error number of the kernel's, as the life cycle and every message answer it.
pub use rustix::io::Errno;
pub use sources::{Interest, Source, SourceId, Sources};
pub use timers::Timers;
#[doc(no_inline)]
pub use uuid::Uuid;
pub use validate::DescriptionError;
#[doc(no_inline)]
pub use vm_memory::VolatileSlice;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
