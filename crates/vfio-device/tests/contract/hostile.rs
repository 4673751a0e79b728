#![cfg(test)]
//! A client that says anything at all: no call panics, and none blocks.
#![expect(clippy::single_range_in_vec_init, reason = "one area is a list of one")]

use std::os::fd::OwnedFd;
use std::time::Instant;

use vfio_device::IrqAction::{Mask, Trigger, Unmask};
use vfio_device::{
    BarKind, Capability, Description, Device, Interest, IrqData, OpenMode, Region, SharedMemory,
    SourceId,
};

use crate::support::{Log, Probe, Walk, event, opened, plain};

fn step(device: &mut Device, walk: &mut Walk) {
    let region = u32::try_from(walk.pick(&[0, 1, 2, 6, 7, 8, 9]) & 0xffff_ffff).unwrap();
    let offset = walk.pick(&[0, 1, 4, 6, 0x0fff, 0x1000, 0x1ffe, 0xff, u64::MAX, u64::MAX - 7]);
    let mut data = vec![0x5a; walk.small(40) as usize];
    let index = u32::try_from(walk.pick(&[0, 1, 2, 3, 4, 5]) & 0xffff_ffff).unwrap();
    let range = match walk.next() % 4 {
        0 => 0..walk.small(40),
        1 => walk.small(40)..walk.small(40),
        2 => u32::try_from(walk.next() & 0xffff_ffff).unwrap()..u32::MAX,
        _ => 0..1,
    };
    let action = [Mask, Unmask, Trigger][walk.small(3) as usize];
    match walk.next() % 12 {
        0..3 => _ = device.region_read(region, offset, &mut data),
        3..6 => _ = device.region_write(region, offset, &data),
        6 => _ = device.set_irqs(index, action, range, IrqData::<std::vec::IntoIter<_>>::None),
        7 => {
            let data = IrqData::<std::vec::IntoIter<_>>::Bool(&data);
            _ = device.set_irqs(index, action, range, data);
        }
        8 => {
            let count = if walk.next().is_multiple_of(2) { range.len().min(40) } else { 3 };
            let fds: Vec<OwnedFd> = (0..count).map(|_| event().1).collect();
            _ = device.set_irqs(index, action, range, IrqData::Eventfd(fds.into_iter()));
        }
        9 => device.reset(),
        10 => {
            device.source_ready(SourceId::Unmask { index, vector: range.start }, Interest::BOTH);
            device.run_timers(Instant::now());
            drop(device.take_removed_sources());
        }
        _ => {
            device.close();
            device.open(OpenMode::Exclusive).unwrap();
        }
    }
}

#[test]
fn no_sequence_of_requests_panics() {
    let memory = || SharedMemory::new("test", 0x2000).unwrap();
    let pci = plain()
        .bar(0, BarKind::Memory32, Region::trapped(0x1000))
        .bar(1, BarKind::Memory32, Region::mapped(memory()))
        .bar(2, BarKind::Memory32, Region::sparse(memory(), [0x1000..0x2000]))
        .intx()
        .msi(5)
        .request_irq()
        .capability(Capability::power_management())
        .capability(Capability::pci_express())
        .extended_capability(Capability::serial_number(1));
    let other = Description::other().region(7, Region::trapped(16)).region(0, Region::absent());
    for (description, seed) in [(pci, 0x9e37_79b9_7f4a_7c15), (other, 0x1234_5678_9abc_def1)] {
        let mut device = opened(description, Probe::new(&Log::default()));
        let mut walk = Walk(seed);
        (0..30_000).for_each(|_| step(&mut device, &mut walk));
    }
}
