//! vfio-user-server, as a program around one device has it.

use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use vfio_device::{
    BarKind, Context, Description, IrqFlags, MSI, Made, Region, SharedMemory, Vfio, VfioDevice,
};
use vfio_user_server::{Endpoint, EventLoop, Listener};

use crate::small::{MEMORY, REGISTERS, Small};

impl VfioDevice for Small {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], _cx: &mut Context) {
        self.read(region, offset, data);
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        if self.write(region, offset, data) {
            cx.irqs.trigger(MSI, 0);
        }
    }

    fn reset(&mut self, _cx: &mut Context) {
        *self = Self::new();
    }
}

fn description(memory: SharedMemory) -> Description {
    let all = Vec::from_iter([Range { start: 0, end: MEMORY }]);
    Description::pci(0x1234, 0x5678)
        .irq(MSI, IrqFlags::MSI, 1)
        .bar(0, BarKind::Memory32, Region::trapped(REGISTERS))
        .bar(1, BarKind::Memory32, Region::trapped(MEMORY))
        .bar(2, BarKind::Memory32, Region::sparse(memory, all))
}

pub fn serve(socket: &Path, poll: Duration) -> Result<(), Box<dyn Error>> {
    let mut device = Vfio::new().alloc(|_| -> Result<Made, _> {
        Ok((description(SharedMemory::new("region 2", MEMORY)?), Box::new(Small::new())))
    })?;
    device.register()?;
    let mut event_loop = EventLoop::new(poll)?;
    event_loop.add(Endpoint::new(device, Listener::bind(socket)?))?;
    Ok(event_loop.run(|_, _| ())?)
}
