//! The PCI function around the registers and the video memory.

use vfio_device::{
    BAR0, BarKind, Context, Description, Errno, Plane, Region, Share, SharedMemory, VfioDevice,
};

use crate::dispi::{Dispi, Mode};
use crate::edid::{Edid, EdidRegion};
use crate::spec::{
    DISPI, EDID_REGION, EDID_REGION_SIZE, EDID_WINDOW, EDID_WINDOW_SIZE, MMIO_SIZE,
    REGION_SUBTYPE_GFX_EDID, REGION_TYPE_GFX, XRGB8888,
};
use crate::types::Model;

/// What video memory is called in `/proc/PID/maps`.
pub(crate) const MEMORY_NAME: &str = "mbochs";

/// Region of the registers.
const BAR2: u32 = 2;

/// A display with its video memory and the monitor that is plugged in.
pub(crate) struct Card {
    dispi: Dispi,
    edid: EdidRegion,
    memory: SharedMemory,
    /// What the registers described when it was last looked.
    mode: Option<Mode>,
    /// Rises when `mode` or `memory` changes.
    generation: u64,
    mode_generation: u64,
    /// Its megabytes in the parent's pool.
    _share: Share,
}

impl Card {
    pub(crate) fn new(
        model: &Model,
        edid: Option<&Edid>,
        memory: SharedMemory,
        share: Share,
    ) -> Self {
        let mut region = EdidRegion::new(model.max.0, model.max.1);
        if let Some(edid) = edid {
            region.plug(edid);
        }
        Self {
            dispi: Dispi::new(memory.size()),
            edid: region,
            memory,
            mode: None,
            generation: 0,
            mode_generation: 0,
            _share: share,
        }
    }

    /// The card as a client sees it: that of Bochs and QEMU, in revision 1, which has no extension registers.
    pub(crate) fn description(memory: &SharedMemory) -> Description {
        let edid = Region::trapped(EDID_REGION_SIZE);
        Description::pci(0x1234, 0x1111)
            .subsystem(0x1af4, 0x1100)
            .revision(0x01)
            .class(0x03, 0x80, 0x00) // a display, other than VGA
            .initial_command(0x0003)
            .bar(BAR0, BarKind::Prefetchable32, Region::mapped(memory.clone()))
            .bar(BAR2, BarKind::Memory32, Region::trapped(MMIO_SIZE))
            .region(EDID_REGION, edid.with_type(REGION_TYPE_GFX, REGION_SUBTYPE_GFX_EDID))
    }

    /// A load of 1, 2 or 4 bytes, aligned.
    fn load(&self, region: u32, offset: u64, data: &mut [u8]) {
        match region {
            BAR2 if EDID_BYTES.contains(&offset) => {
                self.edid.guest_read(offset - EDID_WINDOW, data);
            }
            BAR2 => {
                // Registers answer to their own width alone, and only the dispi ones are there.
                if let (Some(index), Ok(data)) = (dispi(offset), <&mut [u8; 2]>::try_from(data)) {
                    *data = self.dispi.read(index).to_le_bytes();
                }
            }
            EDID_REGION => self.edid.read(offset, data),
            _ => (),
        }
    }

    /// A store of 1, 2 or 4 bytes, aligned.
    fn store(&mut self, region: u32, offset: u64, data: &[u8]) {
        match region {
            BAR2 => {
                if let (Some(index), Ok(data)) = (dispi(offset), data.try_into()) {
                    self.dispi.write(index, u16::from_le_bytes(data));
                    self.sync();
                }
            }
            EDID_REGION => self.edid.write(offset, data),
            _ => (),
        }
    }

    /// Looks at what the registers describe: the one place where the picture follows from them.
    fn sync(&mut self) {
        let mode = self.dispi.mode();
        if mode != self.mode {
            let is_turned = matches!((mode, self.mode), (Some(now), Some(before))
                if now == Mode { offset: now.offset, ..before });
            self.mode = mode;
            self.generation += 1;
            self.mode_generation += u64::from(!is_turned);
        }
    }
}

/// The EDID window, in BAR2.
const EDID_BYTES: std::ops::Range<u64> = EDID_WINDOW..EDID_WINDOW + EDID_WINDOW_SIZE as u64;

/// Index of the dispi register at an offset in BAR2. Beyond the last one there are none, which `Dispi` knows.
fn dispi(offset: u64) -> Option<usize> {
    usize::try_from(offset.checked_sub(DISPI)? / 2).ok()
}

/// How many bytes of an access make one: 4, 2 or 1, as many as are left and aligned. So do VFIO's drivers take accesses
/// of any length and alignment apart.
fn width(offset: u64, left: usize) -> usize {
    match left {
        4.. if offset.is_multiple_of(4) => 4,
        2.. if offset.is_multiple_of(2) => 2,
        left => left.min(1),
    }
}

impl VfioDevice for Card {
    fn region_read(
        &mut self,
        region: u32,
        mut offset: u64,
        mut data: &mut [u8],
        _cx: &mut Context,
    ) {
        while let Some((part, rest)) = data.split_at_mut_checked(width(offset, data.len())) {
            if part.is_empty() {
                break;
            }
            self.load(region, offset, part);
            offset += part.len() as u64;
            data = rest;
        }
    }

    fn region_write(&mut self, region: u32, mut offset: u64, mut data: &[u8], _cx: &mut Context) {
        while let Some((part, rest)) = data.split_at_checked(width(offset, data.len())) {
            if part.is_empty() {
                break;
            }
            self.store(region, offset, part);
            offset += part.len() as u64;
            data = rest;
        }
    }

    /// The dispi registers only: video memory and monitor stay, as in the sample.
    fn reset(&mut self, _cx: &mut Context) {
        self.dispi.reset();
        self.sync();
    }

    fn display(&self) -> Option<Plane> {
        let Mode { width, height, stride, offset, size } = self.mode?;
        let (format, memory) = (XRGB8888, self.memory.clone());
        let (generation, mode_generation) = (self.generation, self.mode_generation);
        Some(Plane {
            format,
            width,
            height,
            stride,
            offset,
            size,
            generation,
            mode_generation,
            memory,
        })
    }

    /// Each client gets zeroes in a memory of its own. Not at close but here, so that the last picture of a guest that
    /// has ended can still be looked at.
    fn open(&mut self, cx: &mut Context) -> Result<(), Errno> {
        if cx.was_open() {
            let memory = SharedMemory::new(MEMORY_NAME, self.memory.size())?;
            cx.replace_memory(BAR0, memory.clone())?;
            self.memory = memory;
            self.generation += 1;
            self.mode_generation += 1;
        }
        Ok(())
    }
}
