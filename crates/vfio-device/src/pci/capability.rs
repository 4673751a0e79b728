//! The capabilities that a PCI function can have (PCI Local Bus 3.0 chapter 6, PCI Power Management 1.2, Advanced
//! Capabilities ECN, PCI Express Base chapter 7).

use crate::pci::BarOffset;

/// Standard capability ids.
pub(crate) mod id {
    pub(crate) const POWER_MANAGEMENT: u8 = 0x01;
    pub(crate) const MSI: u8 = 0x05;
    pub(crate) const VENDOR: u8 = 0x09;
    pub(crate) const EXPRESS: u8 = 0x10;
    pub(crate) const MSIX: u8 = 0x11;
    pub(crate) const ADVANCED_FEATURES: u8 = 0x13;
}

/// A capability of a PCI function: its body after the two bytes of id and next pointer (four bytes of header for an
/// extended one), and which bits of it a guest may change.
#[derive(Clone, Debug)]
pub struct Capability {
    pub(super) id: u16,
    pub(super) extended: bool,
    pub(super) version: u8,
    pub(super) body: Vec<u8>,
    pub(super) mask: Vec<u8>,
    /// Where in the body the author's data begins.
    data: usize,
}

impl Capability {
    /// Any standard capability: `body` begins at offset 2 of it, `mask` says which of its bits a guest may change
    /// (bytes that it lacks: none).
    pub fn raw(id: u8, body: impl Into<Vec<u8>>, mask: impl Into<Vec<u8>>) -> Self {
        let (body, mask) = (body.into(), mask.into());
        Self { id: id.into(), extended: false, version: 0, body, mask, data: 0 }
    }

    /// Vendor-specific (id 0x09), read-only unless [`writable`](Self::writable); its length byte is added to `data`,
    /// of which a function has room for at most 189 bytes.
    pub fn vendor(data: &[u8]) -> Self {
        let length = u8::try_from(data.len() + 3).unwrap_or(u8::MAX);
        Self { data: 1, ..Self::raw(id::VENDOR, [&[length], data].concat(), []) }
    }

    /// Power management (id 0x01), version 3: D0 and D3hot. The state is kept over D3hot (No_Soft_Reset).
    pub fn power_management() -> Self {
        Self::raw(id::POWER_MANAGEMENT, [0x03, 0, 0x08, 0, 0, 0], [0, 0, 0x03, 0, 0, 0])
    }

    /// Power management as [`power_management`](Self::power_management), but the way from D3hot back to D0 resets the
    /// function (No_Soft_Reset is clear).
    pub fn power_management_with_reset() -> Self {
        Self::raw(id::POWER_MANAGEMENT, [0x03, 0, 0, 0, 0, 0], [0, 0, 0x03, 0, 0, 0])
    }

    /// PCI Express (id 0x10), version 2: an endpoint with one 2.5 GT/s lane that can be reset by a function level reset. A
    /// function that has it has 4096 bytes of configuration space.
    pub fn pci_express() -> Self {
        const FIELDS: [(usize, &[u8], &[u8]); 9] = [
            (0x02, &[0x02, 0x00], &[]),             // version 2, endpoint
            (0x04, &[0x00, 0x80, 0x00, 0x10], &[]), // role-based error reporting, FLR
            (0x08, &[0x10, 0x28], &[0xff, 0x78]),   // device control: FLR reads as 0
            (0x0c, &[0x11, 0x00, 0x00, 0x00], &[]), // link: 2.5 GT/s, x1
            (0x10, &[0x00, 0x00], &[0xc3, 0x00]),   // link control
            (0x12, &[0x11, 0x00], &[]),             // link status: as the link's capabilities
            (0x24, &[0x1f, 0x00, 0x00, 0x00], &[]), // completion timeout can be set
            (0x28, &[0x00, 0x00], &[0x1f, 0x00]),   // device control 2
            (0x30, &[0x01, 0x00], &[0x0f, 0x00]),   // link control 2: target speed
        ];
        let (mut body, mut mask) = (vec![0; 0x3c - 2], vec![0; 0x3c - 2]);
        for (at, value, writable) in FIELDS {
            body.iter_mut().skip(at - 2).zip(value).for_each(|(to, from)| *to = *from);
            mask.iter_mut().skip(at - 2).zip(writable).for_each(|(to, from)| *to = *from);
        }
        Self::raw(id::EXPRESS, body, mask)
    }

    /// Advanced features (id 0x13): a function level reset for a conventional function.
    pub fn advanced_features() -> Self {
        Self::raw(id::ADVANCED_FEATURES, [6, 0x03, 0, 0], [])
    }

    /// MSI (id 0x05) with a 64-bit address. `log2_vectors` is the Multiple Message Capable field: 0..=5 for 1..=32.
    pub(super) fn msi(log2_vectors: u8) -> Self {
        let mut body = [0; 12];
        let mut mask = [0xff; 12];
        (body[0], mask[0], mask[1], mask[2]) = (0x80 | log2_vectors << 1, 0x71, 0, 0xfc);
        Self::raw(id::MSI, body, mask)
    }

    /// MSI-X (id 0x11). Table size is one less than there are vectors; Enable and Function Mask can be written.
    pub(super) fn msix(vectors: u32, table: BarOffset, pending: BarOffset) -> Self {
        let size = vectors.wrapping_sub(1) & 0x7ff;
        let place = |at: BarOffset| (at.offset as u32 & !7 | at.bar & 7).to_le_bytes();
        let body = [&(size as u16).to_le_bytes()[..], &place(table), &place(pending)].concat();
        Self::raw(id::MSIX, body, [0, 0xc0])
    }

    /// Any extended capability: `body` begins at offset 4 of it.
    pub fn extended(
        id: u16,
        version: u8,
        body: impl Into<Vec<u8>>,
        mask: impl Into<Vec<u8>>,
    ) -> Self {
        let (body, mask) = (body.into(), mask.into());
        Self { id, extended: true, version: version & 0xf, body, mask, data: 0 }
    }

    /// Device serial number (extended, id 0x0003).
    pub fn serial_number(number: u64) -> Self {
        Self::extended(0x0003, 1, number.to_le_bytes(), [])
    }

    /// Vendor-specific extended (id 0x000b), read-only unless [`writable`](Self::writable). `vsec` and `revision` (0 to
    /// 15) are the vendor's own; the length field is added.
    pub fn vendor_extended(vsec: u16, revision: u8, data: &[u8]) -> Self {
        let length = u32::try_from(data.len() + 8).unwrap_or(u32::MAX).min(0xfff);
        let header = u32::from(vsec) | u32::from(revision & 0xf) << 16 | length << 20;
        let body = [&header.to_le_bytes(), data].concat();
        Self { data: 4, ..Self::extended(0x000b, 1, body, []) }
    }

    /// The same capability with data that a guest may change: all of the body but a length field.
    pub fn writable(mut self) -> Self {
        self.mask = vec![0xff; self.body.len()];
        self.mask.iter_mut().take(self.data).for_each(|byte| *byte = 0);
        self
    }

    /// Whether it makes the function one of PCI Express.
    pub(super) fn is_express(&self) -> bool {
        !self.extended && self.id == u16::from(id::EXPRESS)
    }
}
