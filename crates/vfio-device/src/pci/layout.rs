//! Where the capabilities lie.

use std::ops::Range;

use crate::config::{CAPABILITIES_POINTER, ConfigSpace, STATUS, STATUS_CAPABILITIES};
use crate::pci::capability::Capability;
use crate::pci::{FIRST_CAPABILITY, FIRST_EXTENDED};
use crate::validate::DescriptionError;

/// Configuration space beyond the header while it is being laid out.
pub(super) struct Layout {
    config: ConfigSpace,
    claimed: Vec<Range<usize>>,
}

impl Layout {
    pub(super) fn new(config: ConfigSpace) -> Self {
        Self { config, claimed: Vec::new() }
    }

    /// Read-only bytes outside of any capability.
    pub(super) fn bytes(&mut self, offset: usize, bytes: &[u8]) -> Result<(), DescriptionError> {
        self.claim(offset, bytes, &[], FIRST_CAPABILITY..256)
    }

    pub(super) fn into_config(self) -> ConfigSpace {
        self.config
    }

    pub(super) fn capabilities(&mut self, list: &[Capability]) -> Result<(), DescriptionError> {
        let mut pointer = CAPABILITIES_POINTER;
        let mut at = FIRST_CAPABILITY;
        for capability in list {
            let id = u8::try_from(capability.id)
                .ok()
                .filter(|_| !capability.extended)
                .ok_or(DescriptionError::NotStandard(capability.id))?;
            let bytes = [&[id, 0], capability.body.as_slice()].concat();
            let mask = [&[0, 0], capability.mask.as_slice()].concat();
            at = self.free_from(at, bytes.len());
            self.claim(at, &bytes, &mask, FIRST_CAPABILITY..256)?;
            self.config.set(pointer, &[u8::try_from(at).unwrap_or(0)]);
            pointer = at + 1;
            at = (at + bytes.len()).next_multiple_of(4);
        }
        if !list.is_empty() {
            self.config.set(STATUS, &[self.config.byte(STATUS) | STATUS_CAPABILITIES]);
        }
        Ok(())
    }

    pub(super) fn extended(&mut self, list: &[Capability]) -> Result<(), DescriptionError> {
        let mut at = FIRST_EXTENDED;
        for (position, capability) in list.iter().enumerate() {
            if !capability.extended {
                return Err(DescriptionError::NotExtended(capability.id));
            }
            let end = (at + 4 + capability.body.len()).next_multiple_of(4);
            let next = if position + 1 < list.len() { u32::try_from(end).unwrap_or(0) } else { 0 };
            let header =
                u32::from(capability.id) | u32::from(capability.version) << 16 | next << 20;
            let bytes = [&header.to_le_bytes(), capability.body.as_slice()].concat();
            let mask = [&[0; 4], capability.mask.as_slice()].concat();
            self.claim(at, &bytes, &mask, FIRST_EXTENDED..4096)?;
            at = end;
        }
        Ok(())
    }

    /// The first multiple of 4 from `at` on that has so many free bytes.
    fn free_from(&self, mut at: usize, length: usize) -> usize {
        while let Some(other) = self.overlapped(at..at.saturating_add(length)) {
            at = other.end.next_multiple_of(4);
        }
        at
    }

    fn overlapped(&self, bytes: Range<usize>) -> Option<&Range<usize>> {
        self.claimed.iter().find(|other| bytes.start < other.end && other.start < bytes.end)
    }

    /// Defines bytes inside `bounds` that nothing else has claimed.
    fn claim(
        &mut self,
        offset: usize,
        bytes: &[u8],
        mask: &[u8],
        bounds: Range<usize>,
    ) -> Result<(), DescriptionError> {
        let end = offset.saturating_add(bytes.len());
        if offset < bounds.start || end > bounds.end {
            return Err(DescriptionError::ConfigBounds { offset, length: bytes.len() });
        }
        if self.overlapped(offset..end).is_some() {
            return Err(DescriptionError::ConfigOverlap { offset, length: bytes.len() });
        }
        self.claimed.push(offset..end);
        self.config.define(offset, bytes, mask.get(..bytes.len()).unwrap_or(mask));
        Ok(())
    }
}
