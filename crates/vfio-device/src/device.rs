//! A device as its owner holds it: everything that can be done to it.

mod access;

use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::description::Built;
use crate::irq::{IrqAction, IrqData, IrqIntercept, Irqs, eventfd};
use crate::object::{DeviceRef, Registration, State, lock};
use crate::ops::{Context, VfioDevice};
use crate::pci::Controls;
use crate::region::Region;
use crate::{ConfigSpace, Dma, DmaRange, Errno, Interest, SourceId, Sources, Timers};

/// How a user wants the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// As the one user, like a character device `/dev/vfio/devices/vfioN` or a vfio-user socket.
    Exclusive,
    /// Beside other shared users, like descriptors that an open VFIO group hands out.
    Shared,
}

/// What unregistering a device has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unregister {
    /// Nothing: no call into the device comes any more, and it goes with its last reference.
    Done,
    /// Users: [`request`](Device::request) asks them to go; ask again here when one has.
    InUse,
}

/// A device, held by the one who drives it: a plain value without a lock, to be kept by one thread at a time.
///
/// Every call returns at once. What others may hold are references ([`DeviceRef`]) and registrations.
/// Dropping it closes and unregisters the device, and puts the owner's reference.
pub struct Device {
    object: DeviceRef,
    ops: Option<Box<dyn VfioDevice>>,
    cx: Context,
    controls: Controls,
    is_pci: bool,
    can_reset: bool,
    mode: OpenMode,
    users: Vec<Registration>,
    requests: u32,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("object", &self.object).finish_non_exhaustive()
    }
}

/// Life cycle.
impl Device {
    pub(crate) fn new(object: DeviceRef, built: Built, ops: Box<dyn VfioDevice>) -> Self {
        let is_pci = built.config.is_some();
        let mut device = Self {
            object,
            ops: Some(ops),
            cx: Context {
                irqs: Irqs::new(&built.irqs, is_pci),
                timers: Timers::default(),
                sources: Sources::default(),
                config: built.config.unwrap_or_else(|| ConfigSpace::new(0)),
                dma: Dma::new(built.does_dma),
                regions: built.regions,
                is_opening: false,
                was_open: false,
            },
            controls: built.controls,
            is_pci,
            can_reset: built.can_reset,
            mode: OpenMode::Shared,
            users: Vec::new(),
            requests: 0,
        };
        device.controls_written();
        device
    }

    /// `init` has made it, and the core all that it lends.
    pub(crate) fn start(&mut self) {
        if let Some(ops) = &mut self.ops {
            ops.start(&mut self.cx);
        }
    }

    /// Another reference to the object.
    pub fn get(&self) -> DeviceRef {
        self.object.clone()
    }

    /// The owner's reference.
    pub fn object(&self) -> &DeviceRef {
        &self.object
    }

    /// Makes the device known: from here on it can be opened.
    ///
    /// # Errors
    /// `EINVAL` if it has been registered before. A device is registered once.
    pub fn register(&mut self) -> Result<(), Errno> {
        self.object.register()
    }

    /// A user comes. The first one makes the device's `open` run.
    ///
    /// # Errors
    /// `ENODEV` if the device is not registered, or not any more; `EBUSY` if it is in use and either user wants it for
    /// itself; what the device's `open` returned.
    pub fn open(&mut self, mode: OpenMode) -> Result<(), Errno> {
        let registration = self.object.try_get_registration().ok_or(Errno::NODEV)?;
        let in_use = !self.users.is_empty();
        if in_use && (mode == OpenMode::Exclusive || self.mode == OpenMode::Exclusive) {
            return Err(Errno::BUSY);
        }
        let object = self.object.clone();
        let _one_at_a_time = object.device_set().map(|set| lock(&set.opening));
        self.users.push(registration);
        self.publish_open_count();
        // Within `open` the count is 1 already, as in the kernel, and as it is within `close`.
        if !in_use && let Some(ops) = &mut self.ops {
            self.cx.is_opening = true;
            let opened = ops.open(&mut self.cx);
            self.cx.is_opening = false;
            if let Err(errno) = opened {
                self.users.clear();
                self.publish_open_count();
                return Err(errno);
            }
            self.cx.was_open = true;
        }
        self.mode = mode;
        Ok(())
    }

    /// A user goes. The last one makes the device's `close` run, and what it had set up is taken down; the device keeps
    /// its state. Without effect if the device is not open.
    pub fn close(&mut self) {
        let object = self.object.clone();
        let one_at_a_time = object.device_set().map(|set| lock(&set.opening));
        if self.users.len() == 1 {
            if let Some(ops) = &mut self.ops {
                ops.close(&mut self.cx);
            }
            self.take_down();
        }
        let registration = self.users.pop();
        self.publish_open_count();
        drop(one_at_a_time);
        drop(registration);
    }

    /// The device has panicked: nothing of it is called any more but `release`, in its time. The users go, what they had
    /// set up is taken down, the device is unregistered; accesses are refused with `ENODEV` from here on.
    pub fn abandon(&mut self) {
        self.object.unregister();
        self.take_down();
        self.users.clear();
        self.publish_open_count();
        self.object.retire();
        self.retire();
    }

    /// What the users had set up goes.
    fn take_down(&mut self) {
        self.controls.disable_msix(&mut self.cx.config);
        self.cx.irqs.close(&mut self.cx.sources);
        self.cx.dma.unmap_all();
    }

    fn publish_open_count(&self) {
        self.object.set_open_count(u32::try_from(self.users.len()).unwrap_or(u32::MAX));
    }

    /// Begins to unregister the device, or sees how far that has come: no new user from here on, those that are there
    /// stay until they go.
    pub fn unregister(&mut self) -> Unregister {
        self.object.unregister();
        match self.object.state() {
            State::Unregistering => return Unregister::InUse,
            State::Initialized | State::Registered => (),
            State::Unregistered => self.retire(),
        }
        Unregister::Done
    }

    /// No call into the device from here on: its private state waits for the last reference to go.
    fn retire(&mut self) {
        self.cx.timers.stop_all();
        self.cx.sources.remove_all();
        self.cx.dma.unmap_all();
        if let Some(ops) = self.ops.take() {
            self.object.leave(ops);
        }
    }

    /// Asks the users of a device that is being unregistered to go; to be called when that begins, and every 10 s from
    /// then on. Returns whether there was a way to ask. Without effect on a device that is not waited for.
    pub fn request(&mut self) -> bool {
        if self.object.state() != State::Unregistering {
            return false;
        }
        let count = self.requests;
        self.requests = self.requests.saturating_add(1);
        self.ops.as_mut().is_some_and(|ops| ops.request(count, &mut self.cx))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A `close` that panics must not take `release` away, nor meet a `release` that panics too while it unwinds.
        let left = catch_unwind(AssertUnwindSafe(|| {
            self.unregister();
            while !self.users.is_empty() {
                self.close();
            }
        }));
        if left.is_err() {
            log::error!("{}: the device panicked while it was closed", self.object);
        }
        self.abandon();
    }
}

/// What a client asks for. Once the device is unregistered and nobody uses it, accesses, interrupt set-up and DMA maps are
/// refused with `ENODEV`.
impl Device {
    /// Whether it is a PCI device (`VFIO_DEVICE_FLAGS_PCI`).
    pub fn is_pci(&self) -> bool {
        self.is_pci
    }

    /// Whether it says that it can be reset (`VFIO_DEVICE_FLAGS_RESET`).
    pub fn can_reset(&self) -> bool {
        self.can_reset
    }

    /// Number of region indexes.
    pub fn num_regions(&self) -> u32 {
        u32::try_from(self.cx.regions.len()).unwrap_or(u32::MAX)
    }

    /// The region with this index, `None` beyond the last.
    pub fn region(&self, index: u32) -> Option<&Region> {
        self.cx.regions.get(index as usize)
    }

    /// The interrupts: what they are and how they stand.
    pub fn irqs(&self) -> &Irqs {
        &self.cx.irqs
    }

    /// `VFIO_DEVICE_SET_IRQS`: `action` on the vectors `range` of `index`. An empty range at 0 with
    /// [`IrqAction::Trigger`] and [`IrqData::None`] takes the index down.
    ///
    /// # Errors
    /// `EINVAL` for an index, range, action or data that the index does not take, or if another of INTx, MSI and MSI-X
    /// is set up; `EBADF` and the like for a descriptor that cannot be used. Nothing has changed then.
    pub fn set_irqs<F>(
        &mut self,
        index: u32,
        action: IrqAction,
        range: Range<u32>,
        data: IrqData<'_, F>,
    ) -> Result<(), Errno>
    where
        F: ExactSizeIterator<Item = OwnedFd>,
    {
        self.check_in_use()?;
        self.cx.irqs.set((index, action), range, data, &mut self.cx.sources)
    }

    /// What a user sets up needs a user: it goes with the last.
    fn check_in_use(&self) -> Result<(), Errno> {
        let in_use = self.ops.is_some() && !self.users.is_empty();
        if in_use { Ok(()) } else { Err(Errno::NODEV) }
    }

    /// The memory that the client lets the device reach.
    pub fn dma(&self) -> &Dma {
        &self.cx.dma
    }

    /// `VFIO_IOMMU_MAP_DMA`: the device may reach `range`. Its bytes lie in `file`, from an offset on; without one, or in
    /// one that is no memory, they are out of the device's reach, and the map is made all the same. The file is kept
    /// until the last map in it has gone, if the device [does DMA](crate::Description::dma), and else closed at once.
    ///
    /// # Errors
    /// `EINVAL` for no bytes, bytes past the end of the address space or of any file, and for neither read nor write;
    /// `EEXIST` over an earlier map; `ENOSPC` when there are [`MAX_MAPS`](Dma::MAX_MAPS); `EMFILE` for a file more than
    /// [`MAX_FILES`](Dma::MAX_FILES).
    pub fn dma_map(&mut self, range: DmaRange, file: Option<(OwnedFd, u64)>) -> Result<(), Errno> {
        self.check_in_use()?;
        self.cx.dma.map(range, file)
    }

    /// `VFIO_IOMMU_UNMAP_DMA`: takes one map back. When this returns the device cannot reach it any more, and holds
    /// nothing of it.
    ///
    /// # Errors
    /// `ENOENT` if no map has exactly this address and size.
    pub fn dma_unmap(&mut self, address: u64, size: u64) -> Result<(), Errno> {
        self.check_in_use()?;
        self.cx.dma.unmap(address, size)
    }

    /// The same with all maps (`VFIO_DMA_UNMAP_FLAG_ALL`), even if there are none.
    pub fn dma_unmap_all(&mut self) {
        self.cx.dma.unmap_all();
    }

    /// Has `decide` say what becomes of each interrupt that is about to go out, for tests of those who receive them.
    /// Without it all are signalled. What [sticks](crate::Firing::Stuck) comes to rest when somebody else decides.
    pub fn intercept_irqs(&mut self, decide: Option<IrqIntercept>) {
        self.cx.irqs.intercept(decide);
    }

    /// Fires the vectors that [stick](crate::Firing::Stuck) and that no unmask fires.
    pub fn repeat_stuck_irqs(&mut self) {
        self.cx.irqs.repeat_stuck();
    }

    /// `VFIO_DEVICE_RESET`: configuration space, levels, timers (but for those that last), then the device itself. What the client set up stays.
    pub fn reset(&mut self) {
        self.cx.config.reset();
        self.cx.timers.reset();
        self.cx.irqs.reset();
        self.controls_written();
        if let Some(ops) = &mut self.ops {
            ops.reset(&mut self.cx);
        }
    }
}

/// What an event loop does with it.
impl Device {
    /// The descriptors to watch.
    pub fn sources(&self) -> &Sources {
        &self.cx.sources
    }

    /// Descriptors that are not watched any more, to be taken off the loop's epoll and then dropped: while a client holds
    /// the same open file, closing ours is not enough. To be asked whenever the
    /// [generation](Sources::generation) has changed.
    pub fn take_removed_sources(&mut self) -> Vec<OwnedFd> {
        self.cx.sources.take_removed()
    }

    /// A source can be read or written.
    pub fn source_ready(&mut self, id: SourceId, ready: Interest) {
        match id {
            SourceId::Device(id) => {
                if let Some(ops) = &mut self.ops {
                    ops.ready(id, ready, &mut self.cx);
                }
            }
            SourceId::Unmask { index, vector } => self.unmask_signalled(id, index, vector),
        }
    }

    /// The client, or KVM's resampler, unmasks by eventfd. One that cannot be read would wake us for ever: it is let go.
    fn unmask_signalled(&mut self, id: SourceId, index: u32, vector: u32) {
        let Some(fd) = self.cx.sources.get(id) else { return };
        match eventfd::take(fd) {
            Ok(true) => self.cx.irqs.unmask_by_eventfd(index, vector),
            Ok(false) => (),
            Err(_) => self.cx.sources.remove(id),
        }
    }

    /// When [`run_timers`](Self::run_timers) is to be called next.
    #[inline]
    pub fn next_timer(&self) -> Option<Instant> {
        match (self.cx.timers.next(), self.cx.irqs.holdoff.due()) {
            (Some(timer), Some(holdoff)) => Some(timer.min(holdoff)),
            (some, None) | (None, some) => some,
        }
    }

    /// Calls the device for each timer that is due at `now`.
    pub fn run_timers(&mut self, now: Instant) {
        self.cx.irqs.run_holdoff(now);
        self.cx.timers.begin_round();
        while let Some(id) = self.cx.timers.take_due(now) {
            if let Some(ops) = &mut self.ops {
                ops.timer(id, &mut self.cx);
            }
        }
    }

    /// The picture that the device shows, if it shows one.
    pub fn display(&self) -> Option<crate::display::Plane> {
        self.ops.as_ref().and_then(|ops| ops.display())
    }
}
