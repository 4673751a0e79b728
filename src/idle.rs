//! A device that does nothing, for tests of what is done with devices.

use vfio_device::{BarKind, Context, Description, Device, Region, Vfio, VfioDevice};

struct Idle;

impl VfioDevice for Idle {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
}

/// One that is registered.
pub fn device(vfio: &Vfio) -> Device {
    let what = Description::pci(1, 1).bar(0, BarKind::Memory32, Region::trapped(16));
    let mut device = vfio.alloc(|_| Ok((what, Box::new(Idle)))).unwrap();
    device.register().unwrap();
    device
}
