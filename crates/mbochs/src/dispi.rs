//! The dispi registers: a plain value without a bus or memory.

use crate::spec::{DISPI_REGISTERS, SMALLEST, dispi, enable};

/// Bytes of a pixel of the one format that there is, XRGB8888.
const PIXEL: u64 = 4;

/// The eleven registers, each of 16 bits. All but ID and VIDEO_MEMORY_64K keep whatever is stored, without clamping.
#[derive(Clone, Debug)]
pub struct Dispi {
    registers: [u16; DISPI_REGISTERS],
    /// Bytes of video memory.
    memory: u64,
}

/// Where in video memory the picture lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Pixels in a row, at least 64.
    pub width: u32,
    /// Rows, at least 64.
    pub height: u32,
    /// Bytes from one row to the next: at least 4 * `width`.
    pub stride: u32,
    /// Where the first row begins, in bytes.
    pub offset: u64,
    /// `stride * height`; `offset + size` is within video memory.
    pub size: u64,
}

impl Dispi {
    /// The registers of a device with so many bytes of video memory, as after a reset.
    pub fn new(memory: u64) -> Self {
        let mut registers = [0; DISPI_REGISTERS];
        registers[dispi::ID] = dispi::ID5;
        registers[dispi::VIDEO_MEMORY_64K] = u16::try_from(memory >> 16).unwrap_or(u16::MAX);
        Self { registers, memory }
    }

    /// Back to where [`new`](Self::new) begins.
    pub fn reset(&mut self) {
        *self = Self::new(self.memory);
    }

    /// What a register holds; 0 if there is none of this index.
    pub fn read(&self, index: usize) -> u16 {
        self.registers.get(index).copied().unwrap_or(0)
    }

    /// Stores all 16 bits. Without effect on ID, VIDEO_MEMORY_64K, and on a register that there is not.
    pub fn write(&mut self, index: usize, value: u16) {
        if matches!(index, dispi::ID | dispi::VIDEO_MEMORY_64K) {
            return;
        }
        self.registers.iter_mut().skip(index).take(1).for_each(|register| *register = value);
    }

    /// The picture that the registers describe (the sample's framebuffer check).
    ///
    /// `None` unless ENABLE bit 0 is set, BPP is 32, XRES and YRES are 64 at least, and all rows lie in video memory,
    /// the last one with its whole stride. VIRT_WIDTH below XRES counts as XRES; VIRT_HEIGHT, BANK and the other bits of
    /// ENABLE are not looked at.
    pub fn mode(&self) -> Option<Mode> {
        let register = |index| u32::from(self.read(index));
        let (width, height) = (register(dispi::XRES), register(dispi::YRES));
        let on = self.read(dispi::ENABLE) & enable::ENABLED != 0;
        if !on || self.read(dispi::BPP) != 32 || width < SMALLEST || height < SMALLEST {
            return None;
        }
        let stride = PIXEL * u64::from(register(dispi::VIRT_WIDTH).max(width));
        let x = PIXEL * u64::from(register(dispi::X_OFFSET));
        let y = stride.checked_mul(register(dispi::Y_OFFSET).into())?;
        let offset = x.checked_add(y)?;
        let size = stride.checked_mul(height.into())?;
        let end = offset.checked_add(size)?;
        let stride = u32::try_from(stride).ok()?;
        (end <= self.memory).then_some(Mode { width, height, stride, offset, size })
    }
}
