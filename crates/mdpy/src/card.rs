//! The PCI function: a BAR of memory, and in a capability what lies in it.

use vfio_device::{
    BAR0, BarKind, Capability, Context, Description, Errno, Plane, Region, SharedMemory, VfioDevice,
};

use crate::spec::{DEVICE, FORMAT, Mode, SUBSYSTEM, VENDOR};

/// What the framebuffers are called in `/proc/PID/maps`.
const NAME: &str = "mdpy";

/// A display. It has no registers: the guest draws in memory, which nobody watches.
pub(crate) struct Card {
    mode: Mode,
    memory: SharedMemory,
    generation: u64,
}

impl Card {
    pub(crate) fn new(mode: Mode) -> Result<Self, Errno> {
        let memory = SharedMemory::new(NAME, mode.memory())?;
        let card = Self { mode, memory, generation: 0 };
        card.paint()?;
        Ok(card)
    }

    /// The display as a client sees it.
    pub(crate) fn description(&self) -> Description {
        Description::pci(VENDOR, DEVICE)
            .subsystem(SUBSYSTEM.0, SUBSYSTEM.1)
            .revision(0x01)
            .class(0x03, 0x80, 0x00) // a display, and none of the sorts that PCI knows
            .initial_command(0x0003)
            // The driver looks at 0x40, where the first one lies.
            .capability(Capability::vendor(&self.mode.capability()))
            .bar(0, BarKind::Prefetchable32, Region::mapped(self.memory.clone()))
    }

    /// The test pattern: a gradient. What lies behind the picture stays as it is.
    fn paint(&self) -> Result<(), Errno> {
        let stride = u64::from(self.mode.stride());
        let mut row = vec![0; self.mode.stride() as usize];
        for number in 0..self.mode.height {
            row.fill(self.mode.shade(number));
            self.memory.write(u64::from(number) * stride, &row)?;
        }
        Ok(())
    }
}

impl VfioDevice for Card {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}

    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}

    fn reset(&mut self, _: &mut Context) {
        // It fits: the memory was made for it.
        let _ = self.paint();
    }

    /// The picture persists, but not the memory that it lies in: whoever had the device before has that.
    fn open(&mut self, cx: &mut Context) -> Result<(), Errno> {
        if cx.was_open() {
            let memory = self.memory.duplicate(NAME)?;
            cx.replace_memory(BAR0, memory.clone())?;
            self.memory = memory;
            self.generation += 1;
        }
        Ok(())
    }

    fn display(&self) -> Option<Plane> {
        Some(Plane {
            format: FORMAT,
            width: self.mode.width,
            height: self.mode.height,
            stride: self.mode.stride(),
            offset: 0,
            // As the sample has it: the whole BAR.
            size: self.mode.memory(),
            generation: self.generation,
            mode_generation: self.generation,
            memory: self.memory.clone(),
        })
    }
}
