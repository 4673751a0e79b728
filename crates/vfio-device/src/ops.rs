//! The contract that a device implements.

use crate::display::Plane;
use crate::migration::Migration;
use crate::{ConfigSpace, Dma, Errno, Interest, Irqs, Region, SharedMemory, Sources, Timers};

/// What the core keeps for a device and lends it for the time of a call.
#[derive(Debug)]
#[non_exhaustive]
pub struct Context {
    /// Interrupts: the device states what holds, best in one place.
    pub irqs: Irqs,
    /// Timers.
    pub timers: Timers,
    /// File descriptors that can wake the device.
    pub sources: Sources,
    /// PCI configuration space; empty for a device of another bus.
    pub config: ConfigSpace,
    /// The memory that the client lets the device read and write: guest memory.
    pub dma: Dma,
    pub(crate) regions: Vec<Region>,
    /// Whether `open` runs.
    pub(crate) is_opening: bool,
    pub(crate) was_open: bool,
}

impl Context {
    /// Whether the device has had a user before: in [`open`](VfioDevice::open), one before this. What is in memory that a
    /// client maps is then known to that client, which keeps it.
    pub fn was_open(&self) -> bool {
        self.was_open
    }

    /// From now on the mapped bytes of a region lie in `memory`. For a device that is opened again: whoever was handed the
    /// earlier memory keeps that, cannot see or disturb what is in the new one, and finds no byte in the old one as soon
    /// as nobody in this process has a clone of it.
    ///
    /// # Errors
    /// `EBUSY` outside of [`open`](VfioDevice::open): a client has mapped what is there. `EINVAL` if the region has no
    /// mapped bytes, or if the earlier memory has another size, or another answer to whether clients may write it.
    /// Nothing has changed then.
    pub fn replace_memory(&mut self, region: u32, memory: SharedMemory) -> Result<(), Errno> {
        if !self.is_opening {
            return Err(Errno::BUSY);
        }
        let region = self.regions.get_mut(region as usize).ok_or(Errno::INVAL)?;
        region.replace_memory(memory)
    }
}

/// What a device does: `struct vfio_device_ops`, less all that the core can answer from the
/// [`Description`](crate::Description).
///
/// `init` is the function that makes the value (see [`Vfio::alloc`](crate::Vfio::alloc)); `self` is the private state.
/// Accesses come bounds-checked and cannot fail, as loads and stores on a bus cannot. Calls never overlap and must not
/// block: the device shares its thread with others.
pub trait VfioDevice: Send {
    /// The device has been made: the first call that it gets, once, and before anybody can open it. The place to watch
    /// descriptors and to start timers of a back end that works whether or not there is a client. `init`, which makes the
    /// value, has no context yet.
    fn start(&mut self, cx: &mut Context) {
        let _ = cx;
    }

    /// A load from the trapped bytes of a region other than configuration space. `data` arrives zeroed; it can have
    /// any length and alignment inside the region.
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], cx: &mut Context);

    /// A store to the trapped bytes of a region other than configuration space, of any length and alignment.
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context);

    /// `VFIO_DEVICE_RESET`. Configuration space is back at its reset values already;
    /// levels are low, timers stopped but for those that [last](Timers::start_lasting). What the client set up (where interrupts go, which are masked, DMA maps) stays.
    fn reset(&mut self, cx: &mut Context);

    /// The first user comes: open count 0 to 1.
    ///
    /// # Errors
    /// What it returns goes to that user; the device is then not open, and `close` is not called.
    fn open(&mut self, cx: &mut Context) -> Result<(), Errno> {
        let _ = cx;
        Ok(())
    }

    /// The last user goes: open count 1 to 0. The device keeps its state, as the protocol asks; what the client had
    /// set up is taken down by the core after this call.
    fn close(&mut self, cx: &mut Context) {
        let _ = cx;
    }

    /// The device is to be unregistered while in use: ask the user to let go. `count` is 0 in the first round. Returns
    /// whether there was a way to ask. The default signals irq index REQ of a PCI device, if the user set it up.
    fn request(&mut self, count: u32, cx: &mut Context) -> bool {
        let _ = count;
        cx.irqs.request()
    }

    /// A guest wrote `length` bytes at `offset` of configuration space, and what may change has changed.
    fn config_written(&mut self, offset: u64, length: usize, cx: &mut Context) {
        let _ = (offset, length, cx);
    }

    /// A timer that the device started has run out.
    fn timer(&mut self, id: u32, cx: &mut Context) {
        let _ = (id, cx);
    }

    /// A source that the device watches can be read or written.
    fn ready(&mut self, id: u32, ready: Interest, cx: &mut Context) {
        let _ = (id, ready, cx);
    }

    /// The picture that the device shows at this moment (`VFIO_DEVICE_QUERY_GFX_PLANE`); `None` if it shows none.
    fn display(&self) -> Option<Plane> {
        None
    }

    /// The device's part in migration, if it can be migrated.
    fn migration(&mut self) -> Option<&mut dyn Migration> {
        None
    }

    /// The last reference to the device has gone, in whatever thread. Called exactly once for each successful `init`,
    /// and never otherwise. What `init` took is given back here, or by the fields' own `Drop`.
    fn release(self: Box<Self>) {}
}
