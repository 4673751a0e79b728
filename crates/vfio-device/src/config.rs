//! PCI configuration space as data: value bytes and write-mask bytes.

use std::fmt;

/// Offset of the command register, 2 bytes.
pub(crate) const COMMAND: usize = 0x04;
/// Offset of the status register, 2 bytes.
pub(crate) const STATUS: usize = 0x06;
/// Offset of the pointer to the first capability.
pub(crate) const CAPABILITIES_POINTER: usize = 0x34;
/// Bit 4 of the status register's lower byte: there is a capability list.
pub(crate) const STATUS_CAPABILITIES: u8 = 0x10;
/// Status bit 3: an INTx is asserted (whether or not Interrupt Disable holds it back).
pub(crate) const STATUS_INTERRUPT: u8 = 0x08;
/// Command bit 2: Bus Master Enable.
pub(crate) const COMMAND_BUS_MASTER: u8 = 0x04;
/// Bit 2 of the command register's upper byte (bit 10): Interrupt Disable.
pub(crate) const COMMAND_HI_INTX_DISABLE: u8 = 0x04;

/// The configuration space of a function: 256 bytes, or 4096 for one with extended capabilities.
///
/// A write changes the bits that the mask allows and no others, so BAR sizing needs no code (a BAR's size bits cannot
/// be written) and an access of any width at any offset is safe.
#[derive(Clone)]
pub struct ConfigSpace {
    value: Box<[u8]>,
    mask: Box<[u8]>,
    /// What a reset brings back.
    reset: Box<[u8]>,
}

/// Up to 4096 bytes three times over are more than anybody reads.
impl fmt::Debug for ConfigSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSpace").field("size", &self.size()).finish_non_exhaustive()
    }
}

impl ConfigSpace {
    /// `size` bytes, 256 or 4096, all zero and none writable.
    pub(crate) fn new(size: usize) -> Self {
        let zeroes = || vec![0; size].into_boxed_slice();
        Self { value: zeroes(), mask: zeroes(), reset: zeroes() }
    }

    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.value.len() as u64
    }

    /// Reads what is at `offset`; bytes past the end read as 0xff, as those of an absent function do.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        for (position, byte) in data.iter_mut().enumerate() {
            *byte = offset
                .checked_add(position)
                .and_then(|at| self.value.get(at))
                .copied()
                .unwrap_or(0xff);
        }
    }

    /// Writes as a guest does: only what the mask allows changes.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let cells = self.value.iter_mut().zip(self.mask.iter()).skip(offset);
        for ((value, mask), byte) in cells.zip(data) {
            *value = (*value & !mask) | (byte & mask);
        }
    }

    /// Writes as the device itself does, whatever the mask: a status bit, say. A reset brings back what was there when
    /// the device was made.
    pub fn set(&mut self, offset: usize, data: &[u8]) {
        self.value.iter_mut().skip(offset).zip(data).for_each(|(value, byte)| *value = *byte);
    }

    /// One byte, 0xff past the end.
    pub fn byte(&self, offset: usize) -> u8 {
        self.value.get(offset).copied().unwrap_or(0xff)
    }

    /// Two bytes, little-endian.
    pub fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.byte(offset), self.byte(offset.saturating_add(1))])
    }

    /// Four bytes, little-endian.
    pub fn dword(&self, offset: usize) -> u32 {
        u32::from(self.word(offset)) | u32::from(self.word(offset.saturating_add(2))) << 16
    }

    /// Where the standard capabilities are, in the order of the list. Endless for a list that is a loop.
    pub(crate) fn capabilities(&self) -> impl Iterator<Item = usize> {
        let has_list = self.byte(STATUS) & STATUS_CAPABILITIES != 0 && self.size() != 0;
        let at = |pointer: usize| Some(usize::from(self.byte(pointer))).filter(|&at| at != 0);
        let first = has_list.then_some(CAPABILITIES_POINTER).and_then(at);
        std::iter::successors(first, move |&before| at(before + 1))
    }

    /// Defines bytes while the device is being built: value, and which bits a guest may change.
    pub(crate) fn define(&mut self, offset: usize, data: &[u8], mask: &[u8]) {
        self.set(offset, data);
        self.mask.iter_mut().skip(offset).zip(mask).for_each(|(at, byte)| *at = *byte);
    }

    /// Ends the building: what stands now is what a reset brings back.
    pub(crate) fn seal(&mut self) {
        self.reset.copy_from_slice(&self.value);
    }

    pub(crate) fn reset(&mut self) {
        self.value.copy_from_slice(&self.reset);
    }
}
