//! mdev: parents that make devices of certain types, as `drivers/vfio/mdev` does.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

use crate::{AllocError, Device, Errno, Init, Made, Vfio};

/// A type of mdev (`struct mdev_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MdevType {
    /// Name below `mdev_supported_types`, with the parent's prefix: `mtty-2`.
    pub name: &'static str,
    /// The `name` attribute, for people: `Dual port serial`.
    pub pretty_name: &'static str,
    /// The `description` attribute, if the driver has one.
    pub description: Option<&'static str>,
}

/// The `device_api` attribute of every type so far.
pub const DEVICE_API: &str = "vfio-pci";

/// What makes the devices of a parent (`struct mdev_driver`).
pub trait MdevDriver: Send + Sync {
    /// The types, in the order in which they are shown.
    fn types(&self) -> &[MdevType];

    /// How many instances there can be at once over all types, if it is the core that counts them. `None`: the driver
    /// does, and says so in [`available`](Self::available).
    fn max_instances(&self) -> Option<u32> {
        None
    }

    /// How many more instances of a type there can be. Only asked if `max_instances` is `None`.
    fn available(&self, kind: &MdevType) -> u32 {
        let _ = kind;
        0
    }

    /// Makes the private state of a device of this type, or leaves nothing behind.
    ///
    /// # Errors
    /// What the creator is told: `ENOSPC` when the driver's own capacity is used up.
    fn init(&self, kind: &MdevType, init: &mut Init<'_>) -> Result<Made, Errno>;
}

/// A parent device (`struct mdev_parent`). Clones are the same one.
#[derive(Clone)]
pub struct Parent {
    inner: Arc<ParentInner>,
}

struct ParentInner {
    vfio: Vfio,
    driver: Box<dyn MdevDriver>,
    /// Instances that the core counts and that are still free.
    free: Option<AtomicU32>,
    /// Held for reading while a device is made: none comes after the parent has been unregistered.
    unregistered: RwLock<bool>,
}

impl std::fmt::Debug for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parent").field("types", &self.types()).finish_non_exhaustive()
    }
}

impl Parent {
    /// Registers a parent.
    pub fn register(vfio: &Vfio, driver: impl MdevDriver + 'static) -> Self {
        let free = driver.max_instances().map(AtomicU32::new);
        let driver = Box::new(driver);
        Self {
            inner: Arc::new(ParentInner {
                vfio: vfio.clone(),
                driver,
                free,
                unregistered: RwLock::new(false),
            }),
        }
    }

    /// The types that it can make.
    pub fn types(&self) -> &[MdevType] {
        self.inner.driver.types()
    }

    /// The type of this name.
    pub fn find(&self, name: &str) -> Option<&MdevType> {
        self.types().iter().find(|kind| kind.name == name)
    }

    /// The `available_instances` attribute of a type.
    pub fn available_instances(&self, kind: &MdevType) -> u32 {
        match &self.inner.free {
            Some(free) => free.load(Ordering::Relaxed),
            None => self.inner.driver.available(kind),
        }
    }

    /// Makes a device of type `kind` that is known by `uuid`, with the driver's `init`. It is not registered yet.
    ///
    /// # Errors
    /// `ENODEV` if the parent has been unregistered, `EINVAL` for a type of another parent, `EEXIST` if any parent has a
    /// device of this UUID that is not released yet, `EUSERS` if the core counts the instances and all are in use, what
    /// the driver's `init` returned (`ENOSPC` if its own capacity is used up), `EINVAL` for a description that cannot be
    /// built (the reason is logged).
    pub fn create(&self, kind: &MdevType, uuid: Uuid) -> Result<Device, Errno> {
        self.create_with(kind, uuid, |init| self.inner.driver.init(kind, init))
    }

    /// The same with another `init`, which is to be the driver's own for devices that have options.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with(
        &self,
        kind: &MdevType,
        uuid: Uuid,
        init: impl FnOnce(&mut Init<'_>) -> Result<Made, Errno>,
    ) -> Result<Device, Errno> {
        let inner = &self.inner;
        let unregistered = inner.unregistered.read().unwrap_or_else(PoisonError::into_inner);
        if *unregistered {
            return Err(Errno::NODEV);
        }
        if !self.types().contains(kind) {
            return Err(Errno::INVAL);
        }
        inner.vfio.take_uuid(uuid)?;
        // From here on what has been taken goes back by itself, the UUID last.
        let mut object = MdevObject { uuid, kind: *kind, counted: false, parent: self.clone() };
        if let Some(free) = &inner.free {
            take(free, 1).map_err(|()| Errno::USERS)?;
            object.counted = true;
        }
        inner.vfio.alloc_mdev(Some(object), init).map_err(|error| {
            if let AllocError::Description(error) = &error {
                log::error!("{}: {error}", kind.name);
            }
            error.errno()
        })
    }

    /// Unregisters the parent: it makes no more devices. Those that exist are their owners' to remove. Waits for an
    /// `init` of its driver that runs in another thread; not to be called by one.
    pub fn unregister(&self) {
        *self.inner.unregistered.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// What an mdev holds until the last reference to its device has gone: its UUID and its share of what the core counts
/// (`struct mdev_device`).
#[derive(Debug)]
pub struct MdevObject {
    uuid: Uuid,
    kind: MdevType,
    counted: bool,
    parent: Parent,
}

impl MdevObject {
    /// Its UUID.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its type.
    pub fn kind(&self) -> &MdevType {
        &self.kind
    }
}

impl Drop for MdevObject {
    fn drop(&mut self) {
        if let Some(free) = self.parent.inner.free.as_ref().filter(|_| self.counted) {
            free.fetch_add(1, Ordering::Relaxed);
        }
        self.parent.inner.vfio.free_uuid(self.uuid);
    }
}

/// A capacity that the types of a driver share: 24 ports, 256 MB. Clones are the same pool.
#[derive(Clone, Debug)]
pub struct Pool(Arc<AtomicU32>);

impl Pool {
    /// A pool of so many units, all free.
    pub fn new(units: u32) -> Self {
        Self(Arc::new(AtomicU32::new(units)))
    }

    /// Units that are free.
    pub fn free(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes `units`, all or none; they go back when the share is dropped, which a device does at its release.
    ///
    /// # Errors
    /// `ENOSPC` if not so many are free.
    pub fn reserve(&self, units: u32) -> Result<Share, Errno> {
        take(&self.0, units).map_err(|()| Errno::NOSPC)?;
        Ok(Share { pool: self.clone(), units })
    }
}

/// Units of a [`Pool`] in use.
#[derive(Debug)]
pub struct Share {
    pool: Pool,
    units: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.0.fetch_add(self.units, Ordering::Relaxed);
    }
}

fn take(free: &AtomicU32, units: u32) -> Result<(), ()> {
    free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(units))
        .map(drop)
        .map_err(drop)
}
