//! Memory of the client's that the device may reach: the table of DMA maps.

mod file;
mod window;

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::OwnedFd;

use crate::Errno;
use file::{File, Identity};

/// Files that are kept at a time.
const MAX_FILES: usize = 16;

/// A piece of the address space that a client lets the device reach (`struct vfio_iommu_type1_dma_map`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRange {
    /// First address, as the device says it.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// The device may read there (`VFIO_DMA_MAP_FLAG_READ`).
    pub readable: bool,
    /// The device may write there (`VFIO_DMA_MAP_FLAG_WRITE`).
    pub writable: bool,
}

/// The memory that the client shares with the device: guest memory, as a rule.
///
/// A device that has said [`Description::dma`](crate::Description::dma) reads and writes it in any of its calls, by the
/// addresses that its driver in the guest gave it (`vfio_dma_rw` in the kernel). Each access is a copy, done when the
/// call returns; nothing is allocated. For each map that it meets a read takes one system call, a write four: few large
/// accesses are better than many small ones. An access may span maps that are neighbours.
///
/// What it can hear:
///
/// | errno | when |
/// |---|---|
/// | `ENODEV` | the guest has not switched bus mastering on (command register, bit 2); never for a device that is not PCI |
/// | `EFAULT` | some byte is in no map, or past the end of the address space |
/// | `EACCES` | a map does not allow it, or the file is sealed against it |
/// | `EOPNOTSUPP` | the client keeps that memory to itself: it sent no file, or one that cannot be copied from or to; or the device has not said `.dma()` |
/// | `EIO` | the client has truncated its file since, or the host has no memory for it |
///
/// All but the last and the seal are known before the first byte is copied, and nothing has been copied then; nor has
/// it if a file that is to be written is too short. What a failed read leaves in `data` is not said.
///
/// Files that can be copied from and to are those of memory file systems: memfd, shm, hugetlbfs. QEMU
/// sends such a file for guest memory of `-object memory-backend-memfd,id=mem,size=512M,share=on` with
/// `-machine memory-backend=mem`, and none for the memory of a plain `-m 512`.
///
/// The maps come and go with the client, at any time between two calls of the device. They stay over a reset, which
/// switches bus mastering off, and go when the last user does, after the device's
/// [`close`](crate::VfioDevice::close).
#[derive(Debug)]
pub struct Dma {
    /// By first address.
    maps: BTreeMap<u64, Map>,
    files: [Option<File>; MAX_FILES],
    /// The device does DMA.
    is_wanted: bool,
    is_bus_master: bool,
}

#[derive(Debug)]
struct Map {
    /// The last address, not the end: a map may reach the top of the address space.
    last: u64,
    readable: bool,
    writable: bool,
    /// Index of the file, and where in it the map begins. `None`: cannot be reached.
    memory: Option<(u8, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// For the device.
impl Dma {
    /// Copies memory at `address` into `data` (the device reads).
    ///
    /// # Errors
    /// See [above](Self).
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Errno> {
        self.each(address, data.len(), Direction::Read, |_, _, _| Ok(()))?;
        self.each(address, data.len(), Direction::Read, |file, offset, range| {
            data.get_mut(range).map_or(Ok(()), |data| file.read(offset, data))
        })
    }

    /// Copies `data` to memory at `address` (the device writes).
    ///
    /// # Errors
    /// See [above](Self).
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), Errno> {
        // Before the first byte, as far as it can be: the client may truncate a file at any moment.
        self.each(address, data.len(), Direction::Write, |file, offset, range| {
            file.check_size(offset.saturating_add(range.len() as u64))
        })?;
        self.each(address, data.len(), Direction::Write, |file, offset, range| {
            data.get(range).map_or(Ok(()), |data| file.write(offset, data))
        })
    }

    /// How many maps the client has made.
    pub fn num_maps(&self) -> usize {
        self.maps.len()
    }

    /// Calls `act` for each map's part of an access, in order: file, offset in it, which of the access's bytes.
    fn each(
        &self,
        address: u64,
        length: usize,
        direction: Direction,
        mut act: impl FnMut(&File, u64, Range<usize>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !self.is_bus_master {
            return Err(Errno::NODEV);
        }
        let mut done = 0;
        while done < length {
            let at = address.checked_add(done as u64).ok_or(Errno::FAULT)?;
            let (first, map) =
                self.before(at).filter(|(_, map)| map.last >= at).ok_or(Errno::FAULT)?;
            let allowed = match direction {
                Direction::Read => map.readable,
                Direction::Write => map.writable,
            };
            if !allowed {
                return Err(Errno::ACCESS);
            }
            let (file, offset) = self.memory(map).ok_or(Errno::OPNOTSUPP)?;
            if direction == Direction::Write && !file.is_writable() {
                return Err(Errno::OPNOTSUPP);
            }
            let rest = usize::try_from(map.last - at).unwrap_or(usize::MAX).saturating_add(1);
            let end = done.saturating_add(rest).min(length);
            act(file, offset + (at - first), done..end)?;
            done = end;
        }
        Ok(())
    }

    /// The map that begins at `address` or, of those before, the nearest.
    fn before(&self, address: u64) -> Option<(u64, &Map)> {
        self.maps.range(..=address).next_back().map(|(first, map)| (*first, map))
    }

    fn memory(&self, map: &Map) -> Option<(&File, u64)> {
        let (slot, offset) = map.memory?;
        Some((self.files.get(usize::from(slot))?.as_ref()?, offset))
    }
}

/// For the core, by way of [`Device`](crate::Device).
impl Dma {
    /// Maps at one time: what QEMU asks for, and what vfio-user takes for granted (`max_dma_maps`).
    pub const MAX_MAPS: usize = 65535;
    /// Files at one time: different ones, however many maps lie in each. A guest's memory is a handful of them.
    pub const MAX_FILES: usize = MAX_FILES;

    pub(crate) fn new(is_wanted: bool) -> Self {
        Self { maps: BTreeMap::new(), files: Default::default(), is_wanted, is_bus_master: false }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    pub(crate) fn set_bus_master(&mut self, is_bus_master: bool) {
        self.is_bus_master = is_bus_master;
    }

    /// See [`Device::dma_map`](crate::Device::dma_map).
    pub(crate) fn map(
        &mut self,
        range: DmaRange,
        file: Option<(OwnedFd, u64)>,
    ) -> Result<(), Errno> {
        let DmaRange { address, size, readable, writable } = range;
        let reach = size.checked_sub(1).filter(|_| readable || writable).ok_or(Errno::INVAL)?;
        let last = address.checked_add(reach).ok_or(Errno::INVAL)?;
        if file.as_ref().is_some_and(|(_, offset)| offset.checked_add(reach).is_none()) {
            return Err(Errno::INVAL);
        }
        // Maps do not overlap, so of those that begin at or below `last` the highest reaches furthest.
        if self.before(last).is_some_and(|(_, before)| before.last >= address) {
            return Err(Errno::EXIST);
        }
        if self.maps.len() >= Self::MAX_MAPS {
            return Err(Errno::NOSPC);
        }
        let memory = match file {
            Some((fd, offset)) if self.is_wanted => self.keep(fd)?.map(|slot| (slot, offset)),
            _ => None,
        };
        self.maps.insert(address, Map { last, readable, writable, memory });
        Ok(())
    }

    /// See [`Device::dma_unmap`](crate::Device::dma_unmap).
    pub(crate) fn unmap(&mut self, address: u64, size: u64) -> Result<(), Errno> {
        let last = size.checked_sub(1).and_then(|reach| address.checked_add(reach));
        if last.is_none() || self.maps.get(&address).map(|map| map.last) != last {
            return Err(Errno::NOENT);
        }
        let memory = self.maps.remove(&address).and_then(|map| map.memory);
        let place = memory.and_then(|(slot, _)| self.files.get_mut(usize::from(slot)));
        if let Some(place) = place {
            *place = place.take().and_then(File::unmapped);
        }
        Ok(())
    }

    pub(crate) fn unmap_all(&mut self) {
        self.maps.clear();
        self.files = Default::default();
    }

    /// Keeps a file for one map more; `None` if it is none that can be copied from or to.
    fn keep(&mut self, fd: OwnedFd) -> Result<Option<u8>, Errno> {
        let Some(identity) = Identity::find(&fd) else { return Ok(None) };
        let same = |file: &&mut File| file.identity == identity;
        let mut files = (0..).zip(&mut self.files);
        let found = files.find_map(|(slot, file)| Some((slot, file.as_mut().filter(same)?)));
        if let Some((slot, file)) = found {
            file.maps += 1;
            return Ok(Some(slot));
        }
        let free = (0..).zip(&mut self.files).find(|(_, file)| file.is_none());
        let (slot, place) = free.ok_or(Errno::MFILE)?;
        *place = Some(File::new(fd, identity));
        Ok(Some(slot))
    }
}
