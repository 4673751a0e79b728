//! A device with something of everything that a client can set up.

#![allow(dead_code, reason = "each test file uses a part of it")]

use vfio_device::{
    BarKind, Context, Description, IrqFlags, Made, Region, SharedMemory, VfioDevice,
};

/// irq indexes: INTx, 4 of MSI, 64 that can be resized like those of MSI-X, ERR, REQ.
pub const VECTORS: [u32; 5] = [1, 4, 64, 1, 1];

/// Registers that are plain storage. A store to byte 0xff0 raises the line and fires every vector, one to 0xff1 lowers it.
struct Rich([u8; 0x1000]);

/// 4 KiB of registers, 12 KiB of which the second page is registers, 8 I/O ports, memory from end to end.
pub fn rich() -> Made {
    let sparse = SharedMemory::new("sparse", 0x4000).unwrap();
    let whole = SharedMemory::new("whole", 0x2000).unwrap();
    let description = Description::pci(0x1234, 0x5678)
        .bar(0, BarKind::Memory32, Region::trapped(0x1000))
        .bar(1, BarKind::Memory32, Region::sparse(sparse, [0..0x1000, 0x2000..0x4000]))
        .bar(2, BarKind::Io, Region::trapped(8))
        .bar(3, BarKind::Prefetchable32, Region::mapped(whole))
        .intx()
        .msi(2)
        .irq(2, IrqFlags::EVENTFD, 64)
        .request_irq();
    (description, Box::new(Rich([0; 0x1000])))
}

impl VfioDevice for Rich {
    fn region_read(&mut self, _: u32, offset: u64, data: &mut [u8], _: &mut Context) {
        let at = usize::try_from(offset).unwrap() & 0xfff;
        data.copy_from_slice(&self.0[at..at + data.len()]);
    }

    fn region_write(&mut self, _: u32, offset: u64, data: &[u8], cx: &mut Context) {
        let at = usize::try_from(offset).unwrap() & 0xfff;
        self.0[at..at + data.len()].copy_from_slice(data);
        if at == 0xff0 {
            cx.irqs.set_level(0, 0, true);
            for (index, vectors) in (1..).zip(&VECTORS[1..]) {
                (0..*vectors).for_each(|vector| cx.irqs.trigger(index, vector));
            }
        } else if at == 0xff1 {
            cx.irqs.set_level(0, 0, false);
        }
    }

    fn reset(&mut self, _: &mut Context) {
        self.0.fill(0);
    }
}
