//! The MSI-X table and pending bit array, as a guest reads and writes them (PCI Local Bus 3.0 section 6.8.2).
//!
//! Message address and data are kept for the guest to read back and mean nothing here: where a vector goes is what the
//! client said by SET_IRQS. Vector Control's mask bit counts once it has been written. Until then the table is at rest,
//! which reads as masked; but a client that keeps the table itself never writes it here, and waits for its interrupts.

use super::{Irqs, MSIX};

/// Bytes of a table entry.
const ENTRY: usize = 16;
/// Offset of Vector Control in an entry; bit 0 of it masks, the rest is reserved.
const VECTOR_CONTROL: usize = 12;
/// An entry at rest: masked.
const AT_REST: [u8; ENTRY] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

/// Bytes of a BAR that the core answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MsixPart {
    /// The table.
    Table,
    /// The pending bit array.
    Pending,
}

impl MsixPart {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Pending => "pending bit array",
        }
    }

    /// Bytes that it takes.
    pub(crate) fn size(self, vectors: u32) -> u64 {
        match self {
            Self::Table => u64::from(vectors) * ENTRY as u64,
            Self::Pending => u64::from(vectors.div_ceil(64)) * 8,
        }
    }
}

/// The entries, as one array of bytes.
#[derive(Debug)]
pub(super) struct Table(Box<[u8]>);

impl Table {
    pub(super) fn new(vectors: u32) -> Self {
        Self(AT_REST.repeat(vectors as usize).into())
    }
}

impl Irqs {
    /// A load from the table or the pending bits.
    pub(crate) fn msix_read(&self, part: MsixPart, offset: usize, data: &mut [u8]) {
        match part {
            MsixPart::Table => {
                let bytes = self.msix_table.0.iter().skip(offset);
                data.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            }
            MsixPart::Pending => {
                for (byte, at) in data.iter_mut().zip(offset..) {
                    *byte = self.pending_bits(at);
                }
            }
        }
    }

    /// Eight vectors' pending bits.
    fn pending_bits(&self, byte: usize) -> u8 {
        let vectors = self.indexes.get(MSIX as usize).map_or(&[][..], |index| &index.vectors);
        let eight = vectors.iter().skip(byte.saturating_mul(8)).take(8);
        eight.zip(0..).fold(0, |bits, (vector, bit)| bits | u8::from(vector.pending) << bit)
    }

    /// A store to the table; the pending bits cannot be written.
    pub(crate) fn msix_write(&mut self, part: MsixPart, offset: usize, data: &[u8]) {
        if part == MsixPart::Pending {
            return;
        }
        for (&byte, at) in data.iter().zip(offset..) {
            let Some(cell) = self.msix_table.0.get_mut(at) else { return };
            match at % ENTRY {
                VECTOR_CONTROL => {
                    *cell = byte & 1;
                    self.hold(u32::try_from(at / ENTRY).unwrap_or(u32::MAX), byte & 1 != 0);
                }
                0 => *cell = byte & !3, // a message's address is that of a double word
                1..VECTOR_CONTROL => *cell = byte,
                _ => (),
            }
        }
    }

    /// A guest masks or unmasks a vector.
    fn hold(&mut self, vector: u32, held: bool) {
        let Some(it) = self.vector(MSIX, vector) else { return };
        if std::mem::replace(&mut it.held, held) && !held {
            self.deliver(MSIX, vector, false);
        }
    }

    /// Function Mask, where MSI-X is enabled.
    pub(crate) fn set_msix_masked(&mut self, masked: bool) {
        if std::mem::replace(&mut self.msix_masked, masked) && !masked {
            let count = self.info(MSIX).map_or(0, |info| info.count);
            (0..count).for_each(|vector| self.deliver(MSIX, vector, false));
        }
    }

    /// As it was made, and nothing held by it.
    pub(super) fn reset_msix_table(&mut self) {
        for entry in self.msix_table.0.chunks_exact_mut(ENTRY) {
            entry.copy_from_slice(&AT_REST);
        }
        if let Some(index) = self.indexes.get_mut(MSIX as usize) {
            index.vectors.iter_mut().for_each(|vector| vector.held = false);
        }
    }
}
