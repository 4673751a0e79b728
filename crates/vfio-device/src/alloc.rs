//! How a device comes into being: `vfio_alloc_device` and what `init` sees.

use std::sync::Arc;

use thiserror::Error;

use crate::Errno;
use crate::description::Description;
use crate::device::Device;
use crate::mdev::{MdevObject, MdevType};
use crate::object::{DeviceRef, DeviceSet, Vfio};
use crate::ops::VfioDevice;
use crate::validate::DescriptionError;

/// A device while `init` runs.
#[derive(Debug)]
pub struct Init<'a> {
    vfio: &'a Vfio,
    index: u32,
    set: &'a mut Option<Arc<DeviceSet>>,
    kind: Option<MdevType>,
}

impl Init<'_> {
    /// The index that the device will have.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The type that the device will have, if it is an mdev.
    pub fn kind(&self) -> Option<&MdevType> {
        self.kind.as_ref()
    }

    /// Makes the device a member of the set named by `key`: `open` and `close` of its members do not overlap. Without
    /// it a device is a set of its own.
    pub fn assign_device_set(&mut self, key: u64) {
        *self.set = Some(self.vfio.device_set(key));
    }
}

/// What `init` makes: what the device is, and the private state that says how it behaves.
pub type Made = (Description, Box<dyn VfioDevice>);

/// Why there is no device.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllocError {
    /// What `init` returned; `ENOSPC` also when there is no index left.
    #[error("the device cannot be made: {0}")]
    Errno(#[from] Errno),
    /// What `init` made cannot be shown to a client.
    #[error("the device's description cannot be built: {0}")]
    Description(#[from] DescriptionError),
}

impl AllocError {
    /// The error number, as the kernel's `vfio_alloc_device` would return it: `EINVAL` for a description.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Errno(errno) => *errno,
            Self::Description(_) => Errno::INVAL,
        }
    }
}

impl From<AllocError> for Errno {
    fn from(error: AllocError) -> Self {
        error.errno()
    }
}

impl Vfio {
    /// Makes a device: takes an index, then calls `init`. If that fails nothing is left behind, and nothing is
    /// released: what `init` had taken, it has given back itself. If its description is refused, the private state is
    /// released at once.
    ///
    /// # Errors
    /// `ENOSPC` when there is no index, what `init` returns, or what is wrong with the description.
    pub fn alloc(
        &self,
        init: impl FnOnce(&mut Init<'_>) -> Result<Made, Errno>,
    ) -> Result<Device, AllocError> {
        self.alloc_mdev(None, init)
    }

    pub(crate) fn alloc_mdev(
        &self,
        mdev: Option<MdevObject>,
        init: impl FnOnce(&mut Init<'_>) -> Result<Made, Errno>,
    ) -> Result<Device, AllocError> {
        let held = self.take_index()?;
        let index = held.index;
        let mut set = None;
        let kind = mdev.as_ref().map(|mdev| *mdev.kind());
        // On failure the set goes, then the index, by their own `Drop`.
        let (description, ops) = init(&mut Init { vfio: self, index, set: &mut set, kind })?;
        match description.build() {
            Ok(built) => {
                let mut device = Device::new(DeviceRef::new(held, set, mdev), built, ops);
                device.start();
                Ok(device)
            }
            Err(error) => {
                // `init` has succeeded, and so there is something to release.
                drop(set);
                drop(held);
                ops.release();
                Err(error.into())
            }
        }
    }
}
