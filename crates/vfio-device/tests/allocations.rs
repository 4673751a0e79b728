//! Accesses, levels, timers and DMA cost no allocation. Alone in its binary, for the allocator's sake.

#![cfg(test)]
#![expect(clippy::single_range_in_vec_init, reason = "one area is a list of one")]

#[path = "../../vfio-user-server/tests/common/counting.rs"]
mod counting;

use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_device::{
    BarKind, Context, Description, DmaRange, Errno, IrqAction, IrqData, OpenMode, Region,
    SharedMemory, Vfio, VfioDevice,
};

/// States a level, starts timers and copies memory at each write.
struct Busy(bool);
impl VfioDevice for Busy {
    fn region_read(&mut self, _: u32, _: u64, data: &mut [u8], _: &mut Context) {
        data.fill(1);
    }
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], cx: &mut Context) {
        self.0 = !self.0;
        cx.irqs.set_level(0, 0, self.0);
        (0..4).for_each(|id| cx.timers.start(id, Duration::ZERO));
        let mut data = [0; 64];
        assert_eq!(cx.dma.read(0xff0, &mut data), Ok(()));
        assert_eq!(cx.dma.write(0xff0, &data), Ok(()));
    }
    fn reset(&mut self, _: &mut Context) {}
    fn timer(&mut self, id: u32, cx: &mut Context) {
        cx.timers.start(id, Duration::ZERO);
    }
}

#[test]
fn accesses_levels_timers_and_dma_cost_no_allocation() -> Result<(), Errno> {
    let memory = SharedMemory::new("test", 0x4000)?;
    let description = Description::pci(0x1234, 0x5678)
        .bar(0, BarKind::Memory32, Region::trapped(16))
        .bar(1, BarKind::Memory32, Region::sparse(memory, [0x1000..0x2000]))
        .intx()
        .dma();
    let mut device = Vfio::new().alloc(|_| Ok((description, Box::new(Busy(false)))))?;
    device.register()?;
    device.open(OpenMode::Exclusive)?;
    let fd = eventfd(0, EventfdFlags::NONBLOCK)?;
    device.set_irqs(0, IrqAction::Trigger, 0..1, IrqData::Eventfd([fd].into_iter()))?;
    for (address, memory) in [(0, "one"), (0x1000, "two")] {
        let memory = memfd_create(memory, MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, 0x1000)?;
        let range = DmaRange { address, size: 0x1000, readable: true, writable: true };
        device.dma_map(range, Some((memory, 0)))?;
    }
    let mut data = [0; 64];
    let mut round = || {
        device.region_write(7, 4, &[4, 0])?; // bus mastering, which the reset switches off
        device.region_write(0, 0, &data[..4])?;
        device.region_read(0, 0, &mut data[..4])?;
        device.region_write(1, 0xff0, &data)?;
        device.region_read(1, 0x1ff0, &mut data)?;
        device.region_write(7, 0, &data)?;
        device.region_read(7, 0, &mut data)?;
        device.set_irqs(0, IrqAction::Unmask, 0..1, IrqData::<std::vec::IntoIter<_>>::None)?;
        device.run_timers(Instant::now());
        device.reset();
        Ok::<_, Errno>(())
    };
    round()?; // the first one makes room for the timers
    counting::count(true);
    let before = counting::allocations();
    for _ in 0..1000 {
        round()?;
    }
    assert_eq!(counting::allocations() - before, 0);
    Ok(())
}
