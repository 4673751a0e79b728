//! The `vfio_device` object: its references, its registration, its place in a device set.
//!
//! Three counts, never to be mixed up: object references ([`DeviceRef`]), registrations ([`Registration`]), and the
//! open count. This module holds the first two and all that other threads may see of the third.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::Errno;
use crate::mdev::MdevObject;
use crate::ops::VfioDevice;

/// Indexes go up to this (`MINORMASK`).
const MAX_INDEX: u32 = 1_048_575;

/// Locks, also after another thread has panicked: what is guarded here is consistent after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `vfio_main.c` keeps in static variables: the indexes, the device sets, the UUIDs. One for a process; clones
/// are the same one.
#[derive(Clone, Debug, Default)]
pub struct Vfio {
    tables: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    indexes: BTreeSet<u32>,
    sets: BTreeMap<u64, Weak<DeviceSet>>,
    uuids: HashSet<Uuid>,
}

impl Vfio {
    /// A core without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lowest index that nothing holds.
    pub(crate) fn take_index(&self) -> Result<Index, Errno> {
        let indexes = &mut lock(&self.tables).indexes;
        // Held indexes come in ascending order: the first that is not equal to its position leaves a gap before it.
        let index =
            (0..).zip(indexes.iter()).find(|(free, held)| free != *held).map(|(free, _)| free);
        let index = index.unwrap_or(u32::try_from(indexes.len()).unwrap_or(u32::MAX));
        if index > MAX_INDEX {
            return Err(Errno::NOSPC);
        }
        indexes.insert(index);
        Ok(Index { vfio: self.clone(), index })
    }

    /// The set of devices with this key; made when its first member comes, gone when its last member is released.
    pub(crate) fn device_set(&self, key: u64) -> Arc<DeviceSet> {
        let sets = &mut lock(&self.tables).sets;
        sets.retain(|_, set| set.strong_count() > 0);
        if let Some(set) = sets.get(&key).and_then(Weak::upgrade) {
            return set;
        }
        let set = Arc::new(DeviceSet::default());
        sets.insert(key, Arc::downgrade(&set));
        set
    }

    /// Number of device sets with a key that have a member.
    pub fn device_sets(&self) -> usize {
        lock(&self.tables).sets.values().filter(|set| set.strong_count() > 0).count()
    }

    pub(crate) fn take_uuid(&self, uuid: Uuid) -> Result<(), Errno> {
        if lock(&self.tables).uuids.insert(uuid) { Ok(()) } else { Err(Errno::EXIST) }
    }

    pub(crate) fn free_uuid(&self, uuid: Uuid) {
        lock(&self.tables).uuids.remove(&uuid);
    }
}

/// An index that is held, and free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Index {
    vfio: Vfio,
    pub(crate) index: u32,
}

impl Drop for Index {
    fn drop(&mut self) {
        lock(&self.vfio.tables).indexes.remove(&self.index);
    }
}

/// Devices whose `open` and `close` do not overlap (`vfio_device_set`).
#[derive(Debug, Default)]
pub(crate) struct DeviceSet {
    pub(crate) opening: Mutex<()>,
}

/// How far a device has come in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum State {
    /// Made by `init`, and not to be seen yet.
    Initialized,
    /// Can be opened.
    Registered,
    /// Cannot be opened any more, but is still in use.
    Unregistering,
    /// Nobody uses it; it goes with its last reference.
    Unregistered,
}

#[derive(Debug)]
struct Life {
    state: State,
    registrations: u32,
    open_count: u32,
}

/// The object behind [`DeviceRef`]. Dropped when the last reference goes: that is the device's release.
pub(crate) struct Object {
    index: u32,
    held: Option<Index>,
    name: String,
    set: Option<Arc<DeviceSet>>,
    life: Mutex<Life>,
    idle: Condvar,
    /// Where the owner ([`Device`](crate::Device)) leaves the private state for whoever drops the last reference.
    private: Mutex<Option<Box<dyn VfioDevice>>>,
    /// What must outlive the device: its UUID and its share of the parent's capacity.
    mdev: Option<MdevObject>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("name", &self.name)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // The contract's order: device set, index, release, and the mdev object last.
        self.set = None;
        self.held = None;
        if let Some(private) = lock(&self.private).take() {
            private.release();
        }
    }
}

/// A counted reference to a device: clone is `get`, drop is `put`. It keeps the object alive, and nothing else.
#[derive(Clone, Debug)]
pub struct DeviceRef(pub(crate) Arc<Object>);

/// For the log: node name and, of an mdev, the type.
impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mdev() {
            Some(mdev) => write!(f, "{} ({})", self.name(), mdev.kind().name),
            None => f.write_str(self.name()),
        }
    }
}

impl DeviceRef {
    pub(crate) fn new(held: Index, set: Option<Arc<DeviceSet>>, mdev: Option<MdevObject>) -> Self {
        let life = Life { state: State::Initialized, registrations: 0, open_count: 0 };
        let index = held.index;
        Self(Arc::new(Object {
            index,
            held: Some(held),
            name: format!("vfio{index}"),
            set: Some(set.unwrap_or_default()),
            life: Mutex::new(life),
            idle: Condvar::new(),
            private: Mutex::new(None),
            mdev,
        }))
    }

    /// Index of the device's node: the lowest that was free when the device was made, held until release.
    pub fn index(&self) -> u32 {
        self.0.index
    }

    /// Name of the device's node: `vfio0`, `vfio1` ...
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The mdev that the device belongs to, if it was made by a parent.
    pub fn mdev(&self) -> Option<&MdevObject> {
        self.0.mdev.as_ref()
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        lock(&self.0.life).state
    }

    /// How many users have it open.
    pub fn open_count(&self) -> u32 {
        lock(&self.0.life).open_count
    }

    /// Takes a registration: as long as it is held, unregistering the device does not come to its end. `None` if the
    /// device is not registered, or not any more (`vfio_device_try_get_registration`).
    pub fn try_get_registration(&self) -> Option<Registration> {
        let mut life = lock(&self.0.life);
        if life.state != State::Registered {
            return None;
        }
        life.registrations += 1;
        Some(Registration(self.clone()))
    }

    /// Waits until nobody uses the device any more; `false` if that takes longer than `timeout`. Only of use to a
    /// thread that does not serve the device itself.
    pub fn wait_unregistered(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut life = lock(&self.0.life);
        while life.state != State::Unregistered {
            // A deadline further away than time can be told: rounds without end.
            let left = deadline
                .map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
                .min(Duration::from_secs(3600));
            if left.is_zero() {
                return false;
            }
            life = self.0.idle.wait_timeout(life, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Makes the device known; the first registration is the core's own.
    pub(crate) fn register(&self) -> Result<(), Errno> {
        let mut life = lock(&self.0.life);
        if life.state != State::Initialized {
            return Err(Errno::INVAL);
        }
        life.state = State::Registered;
        life.registrations = 1;
        Ok(())
    }

    /// Hides the device and drops the core's own registration. Without effect unless it is registered.
    pub(crate) fn unregister(&self) {
        let mut life = lock(&self.0.life);
        if life.state == State::Registered {
            life.state = State::Unregistering;
            self.put(&mut life);
        }
    }

    /// Its owner goes: a device that was never registered will not be.
    pub(crate) fn retire(&self) {
        let mut life = lock(&self.0.life);
        if life.state == State::Initialized {
            life.state = State::Unregistered;
            self.0.idle.notify_all();
        }
    }

    fn put(&self, life: &mut Life) {
        life.registrations -= 1;
        if life.registrations == 0 {
            life.state = State::Unregistered;
            self.0.idle.notify_all();
        }
    }

    pub(crate) fn set_open_count(&self, count: u32) {
        lock(&self.0.life).open_count = count;
    }

    pub(crate) fn device_set(&self) -> Option<&DeviceSet> {
        self.0.set.as_deref()
    }

    /// Leaves the private state to whoever drops the last reference.
    pub(crate) fn leave(&self, private: Box<dyn VfioDevice>) {
        *lock(&self.0.private) = Some(private);
    }
}

/// A registration of a device, held by each connection to it. Dropping it gives it back.
#[derive(Debug)]
pub struct Registration(DeviceRef);

impl Registration {
    /// The device.
    pub fn device(&self) -> &DeviceRef {
        &self.0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut life = lock(&self.0.0.life);
        self.0.put(&mut life);
    }
}
