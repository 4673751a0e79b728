//! The `vfio_device` life cycle and device contract, in user space.
#![forbid(unsafe_code)]

mod alloc;
mod config;
mod description;
mod device;
mod display;
mod irq;
mod mdev;
mod memory;
mod migration;
mod object;
mod ops;
mod pci;
mod region;
mod sources;
mod timers;
mod validate;

pub use alloc::{Init, Made};
pub use config::ConfigSpace;
pub use description::{BAR0, Built, CONFIG, Description, PCI_IRQS, PCI_REGIONS, ROM, VGA};
pub use device::{Device, OpenMode, Unregister};
pub use display::Plane;
pub use irq::{ERR, INTX, IrqAction, IrqData, IrqFlags, IrqInfo, Irqs, MSI, MSIX, REQ};
pub use mdev::{DEVICE_API, MdevDriver, MdevObject, MdevType, Parent, Pool, Share};
pub use memory::SharedMemory;
pub use migration::Migration;
pub use object::{DeviceRef, Registration, State, Vfio};
pub use ops::{Context, VfioDevice};
pub use pci::{BarKind, Capability};
pub use region::Region;
/// An error number of the kernel's, as the life cycle and every message answer it.
pub use rustix::io::Errno;
pub use sources::{Interest, Source, SourceId, Sources};
pub use timers::Timers;
pub use validate::DescriptionError;
