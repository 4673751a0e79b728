//! The EDID region (`struct vfio_region_gfx_edid`), and what the guest sees through it.

use super::Edid;
use crate::spec::{EDID_WINDOW_SIZE, gfx};

/// Where a client plugs a monitor in: it sets the link down, stores the blob and its size, and sets the link up.
///
/// Nothing here is touched by a reset, or by a client's leaving.
#[derive(Clone, Debug)]
pub(crate) struct EdidRegion {
    size: u32,
    max_xres: u32,
    max_yres: u32,
    link_state: u32,
    blob: [u8; EDID_WINDOW_SIZE],
}

impl EdidRegion {
    /// Nothing plugged in. The widest and highest mode are information for the client, 0 for no limit.
    pub(crate) fn new(max_xres: u32, max_yres: u32) -> Self {
        Self { size: 0, max_xres, max_yres, link_state: 0, blob: [0; EDID_WINDOW_SIZE] }
    }

    /// Plugs a monitor in, as a client does.
    pub(crate) fn plug(&mut self, edid: &Edid) {
        let bytes = edid.bytes();
        self.blob = [0; EDID_WINDOW_SIZE];
        self.blob.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.size = u32::try_from(bytes.len().min(EDID_WINDOW_SIZE)).unwrap_or(0);
        self.link_state = gfx::LINK_UP;
    }

    /// The blob as the guest sees it from `offset` on: zeroes while the link is not up, and from `edid_size` on.
    pub(crate) fn guest_read(&self, offset: u64, data: &mut [u8]) {
        let size = usize::try_from(self.size).unwrap_or(0);
        let seen = if self.link_state == gfx::LINK_UP { self.blob.get(..size) } else { None };
        copy(seen.unwrap_or_default(), offset, data);
    }

    /// A load of 1, 2 or 4 bytes, aligned. `data` is left alone where there is no register.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(gfx::BLOB) {
            return copy(&self.blob, offset, data);
        }
        let value = match offset {
            gfx::EDID_OFFSET => u32::try_from(gfx::BLOB).unwrap_or(0),
            gfx::EDID_MAX_SIZE => MAX_SIZE,
            gfx::EDID_SIZE => self.size,
            gfx::MAX_XRES => self.max_xres,
            gfx::MAX_YRES => self.max_yres,
            gfx::LINK_STATE => self.link_state,
            _ => return,
        };
        if let Ok(data) = <&mut [u8; 4]>::try_from(data) {
            *data = value.to_le_bytes();
        }
    }

    /// A store of 1, 2 or 4 bytes, aligned. Registers take 4 bytes only; a size beyond the maximum is not taken.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        if let Some(offset) = offset.checked_sub(gfx::BLOB) {
            let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
            let place = self.blob.iter_mut().skip(skipped);
            return place.zip(data).for_each(|(to, from)| *to = *from);
        }
        let Ok(value) = data.try_into().map(u32::from_le_bytes) else { return };
        match offset {
            gfx::EDID_SIZE if value <= MAX_SIZE => self.size = value,
            gfx::LINK_STATE => self.link_state = value,
            _ => (),
        }
    }
}

/// What the register `edid_max_size` reads.
const MAX_SIZE: u32 = EDID_WINDOW_SIZE as u32;

/// Copies what there is of `from`, from `offset` on.
fn copy(from: &[u8], offset: u64, to: &mut [u8]) {
    let from = usize::try_from(offset).ok().and_then(|offset| from.get(offset..));
    to.iter_mut().zip(from.unwrap_or_default()).for_each(|(to, from)| *to = *from);
}
