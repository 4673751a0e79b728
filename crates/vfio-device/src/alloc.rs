//! How a device comes into being: `vfio_alloc_device` and what `init` sees.

use std::sync::Arc;

use crate::Errno;
use crate::description::Description;
use crate::device::Device;
use crate::mdev::MdevObject;
use crate::object::{DeviceRef, DeviceSet, Vfio};
use crate::ops::VfioDevice;

/// A device while `init` runs.
#[derive(Debug)]
pub struct Init<'a> {
    vfio: &'a Vfio,
    index: u32,
    set: &'a mut Option<Arc<DeviceSet>>,
}

impl Init<'_> {
    /// The index that the device will have.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Makes the device a member of the set named by `key`: `open` and `close` of its members do not overlap. Without
    /// it a device is a set of its own.
    pub fn assign_device_set(&mut self, key: u64) {
        *self.set = Some(self.vfio.device_set(key));
    }
}

/// What `init` makes: what the device is, and the private state that says how it behaves.
pub type Made = (Description, Box<dyn VfioDevice>);

impl Vfio {
    /// Makes a device: takes an index, then calls `init`. If that fails nothing is left behind, and nothing is
    /// released: what `init` had taken, it has given back itself. If its description is refused, the private state is
    /// released at once.
    ///
    /// # Errors
    /// `ENOSPC` when there is no index, what `init` returns, `EINVAL` for a description that cannot be built (the
    /// reason is logged).
    pub fn alloc(
        &self,
        init: impl FnOnce(&mut Init<'_>) -> Result<Made, Errno>,
    ) -> Result<Device, Errno> {
        self.alloc_mdev(None, init)
    }

    pub(crate) fn alloc_mdev(
        &self,
        mdev: Option<MdevObject>,
        init: impl FnOnce(&mut Init<'_>) -> Result<Made, Errno>,
    ) -> Result<Device, Errno> {
        let held = self.take_index()?;
        let index = held.index;
        let mut set = None;
        // On failure the set goes, then the index, by their own `Drop`.
        let (description, ops) = init(&mut Init { vfio: self, index, set: &mut set })?;
        match description.build() {
            Ok(built) => Ok(Device::new(DeviceRef::new(held, set, mdev), built, ops)),
            Err(error) => {
                log::error!("vfio{index}: {error}");
                // `init` has succeeded, and so there is something to release.
                drop(set);
                drop(held);
                ops.release();
                Err(Errno::INVAL)
            }
        }
    }
}
