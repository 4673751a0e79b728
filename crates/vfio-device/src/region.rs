//! What a region index of a device stands for (`VFIO_DEVICE_GET_REGION_INFO`).

use std::ops::Range;

use crate::irq::MsixPart;
use crate::{Errno, SharedMemory};

/// One region: its size, who may do what to it, and which of its bytes are memory that a client can map.
///
/// Every byte is either *trapped* (an access becomes a call of the device) or *mapped* (it is a byte of
/// [`SharedMemory`], which a client may also access without us). A message that reads or writes mapped bytes sees the
/// same bytes as the mapping.
#[derive(Clone, Debug, Default)]
pub struct Region {
    size: u64,
    access: Access,
    memory: Option<SharedMemory>,
    sparse: Option<Vec<Range<u64>>>,
    kind: Option<(u32, u32)>,
    /// Trapped bytes that the core answers itself.
    msix: Vec<(Range<u64>, MsixPart)>,
}

/// Who may do what to a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Access {
    #[default]
    ReadWrite,
    ReadOnly,
    WriteOnly,
}

/// A part of an access that is all of one sort, and its length; `Region::part` yields these.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes of the region's memory.
    Memory(usize),
    /// Bytes that the device answers.
    Trapped(usize),
    /// Bytes of an MSI-X structure, from this offset in it on.
    Msix(MsixPart, usize, usize),
}

impl Part {
    /// Bytes of it.
    pub(crate) fn length(&self) -> usize {
        match *self {
            Self::Memory(length) | Self::Trapped(length) | Self::Msix(_, _, length) => length,
        }
    }
}

impl Region {
    /// A region that the device does not have: size 0, every access refused.
    pub fn absent() -> Self {
        Self::default()
    }

    /// Registers: each access becomes a call of the device. `size` in bytes.
    pub fn trapped(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// Memory from end to end.
    pub fn mapped(memory: SharedMemory) -> Self {
        Self { size: memory.size(), memory: Some(memory), ..Self::default() }
    }

    /// Memory where `areas` says, registers elsewhere (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`). The memory is as large as
    /// the region; offsets in it are offsets in the region. The areas must be page-aligned, in ascending order and
    /// disjoint: [`Description::build`](crate::Description::build) checks it.
    pub fn sparse(memory: SharedMemory, areas: impl Into<Vec<Range<u64>>>) -> Self {
        Self { sparse: Some(areas.into()), ..Self::mapped(memory) }
    }

    /// The same region without `VFIO_REGION_INFO_FLAG_WRITE`: writes are refused.
    pub fn read_only(self) -> Self {
        Self { access: Access::ReadOnly, ..self }
    }

    /// The same region without `VFIO_REGION_INFO_FLAG_READ`: reads are refused. Not for mapped memory.
    pub fn write_only(self) -> Self {
        Self { access: Access::WriteOnly, ..self }
    }

    /// The same region with a type capability (`VFIO_REGION_INFO_CAP_TYPE`), as device-specific regions have it.
    pub fn with_type(self, kind: u32, subtype: u32) -> Self {
        Self { kind: Some((kind, subtype)), ..self }
    }

    /// Size in bytes, 0 if absent.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    /// Whether reads are refused.
    pub fn is_write_only(&self) -> bool {
        self.access == Access::WriteOnly
    }

    /// Has the core answer these bytes.
    pub(crate) fn answer_msix(&mut self, part: MsixPart, bytes: Range<u64>) {
        self.msix.push((bytes, part));
    }

    /// Which bytes the core answers.
    pub(crate) fn msix(&self) -> &[(Range<u64>, MsixPart)] {
        &self.msix
    }

    /// The memory behind the mapped bytes, if there are any.
    pub fn memory(&self) -> Option<&SharedMemory> {
        self.memory.as_ref()
    }

    /// Takes other memory, which is like the present one.
    pub(crate) fn replace_memory(&mut self, memory: SharedMemory) -> Result<(), Errno> {
        let present = self.memory.as_mut().ok_or(Errno::INVAL)?;
        let is_alike =
            present.size() == memory.size() && present.is_read_only() == memory.is_read_only();
        if !is_alike {
            return Err(Errno::INVAL);
        }
        std::mem::replace(present, memory).give_up(true);
        // It may be the same one, or one of earlier.
        present.give_up(false);
        Ok(())
    }

    /// The mappable areas, if not all of the region is.
    pub fn areas(&self) -> Option<&[Range<u64>]> {
        self.sparse.as_deref()
    }

    /// Type and subtype of the type capability.
    pub fn kind(&self) -> Option<(u32, u32)> {
        self.kind
    }

    /// Whether `length` bytes at `offset` lie inside. An absent region holds no access at all, not even an empty one.
    ///
    /// # Errors
    /// `EINVAL` if not.
    pub(crate) fn check(&self, offset: u64, length: usize) -> Result<(), Errno> {
        let end = offset.checked_add(length as u64).ok_or(Errno::INVAL)?;
        if self.size == 0 || end > self.size { Err(Errno::INVAL) } else { Ok(()) }
    }

    /// Whether the byte at `offset` is memory.
    #[cfg(feature = "testing")]
    pub(crate) fn is_memory(&self, offset: u64) -> bool {
        matches!(self.part(offset, 1), Part::Memory(_))
    }

    /// Whether the device answers every byte.
    pub(crate) fn is_trapped(&self) -> bool {
        self.memory.is_none() && self.msix.is_empty()
    }

    /// How an access that starts at `offset` begins: so many bytes of one sort, at most `length`.
    pub(crate) fn part(&self, offset: u64, length: usize) -> Part {
        let until = |end: u64| usize::try_from(end - offset).unwrap_or(usize::MAX);
        let ahead = self.msix.iter().filter(|(bytes, _)| offset < bytes.end);
        let length = match ahead.min_by_key(|(bytes, _)| bytes.start) {
            Some((bytes, part)) if offset >= bytes.start => {
                let start = usize::try_from(offset - bytes.start).unwrap_or(usize::MAX);
                return Part::Msix(*part, start, length.min(until(bytes.end)));
            }
            Some((bytes, _)) => length.min(until(bytes.start)),
            None => length,
        };
        match (&self.memory, &self.sparse) {
            (None, _) => Part::Trapped(length),
            (Some(_), None) => Part::Memory(length),
            (Some(_), Some(areas)) => match areas.iter().find(|area| offset < area.end) {
                Some(area) if offset >= area.start => Part::Memory(length.min(until(area.end))),
                Some(area) => Part::Trapped(length.min(until(area.start))),
                None => Part::Trapped(length),
            },
        }
    }
}
