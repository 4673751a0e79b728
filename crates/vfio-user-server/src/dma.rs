//! The table of DMA maps: each `DMA_MAP` is checked and recorded, and forgotten at its `DMA_UNMAP`.
//!
//! No device here does DMA. So a map's descriptor is looked at and closed without being mapped: a client that
//! truncates the file later cannot raise SIGBUS in this process, and memory that is unmapped is free at once. The
//! checks are those that a device with DMA would need, so that a client which gets them wrong hears of it here too.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fcntl_getfl, statx};

use crate::refusal::Refusal;
use crate::version::{MAX_DATA_XFER_SIZE, MAX_DMA_MAPS, PAGE_SIZE};
use crate::wire::{DmaMap, DmaUnmap};

/// The maps of one connection. Memory grows with the maps recorded, at most [`MAX_DMA_MAPS`].
#[derive(Debug, Default)]
pub struct DmaMaps {
    /// First address to last address. The last, not the end: a map may reach the top of the address space.
    maps: BTreeMap<u64, u64>,
}

impl DmaMaps {
    /// An empty table.
    pub const fn new() -> Self {
        Self { maps: BTreeMap::new() }
    }

    /// Maps recorded.
    pub fn len(&self) -> usize {
        self.maps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// Forgets every map: what a client's leaving does.
    pub fn clear(&mut self) {
        self.maps.clear();
    }

    /// Checks and records one map (spec, "VFIO_USER_DMA_MAP"). `file` is closed before this returns, whatever the
    /// outcome.
    ///
    /// # Errors
    ///
    /// - EINVAL: argsz is not the struct's size; no access or an unknown one in `flags` (a map that can be neither read
    ///   nor written is refused, as Linux refuses it); size 0; address, size or offset not a multiple of 4096;
    ///   address + size wraps; an offset without a file; not a regular file; not wholly within the file.
    /// - EACCES: the file is not open for reading, which any mapping needs, or not for writing and `flags` asks for it.
    /// - EEXIST: an earlier map covers some of it, or is the very same.
    /// - ENOSPC: [`MAX_DMA_MAPS`] are recorded.
    pub fn map(&mut self, request: &DmaMap, file: Option<OwnedFd>) -> Result<(), Refusal> {
        let &DmaMap { argsz, flags, offset, address, size } = request;
        if argsz as usize != DmaMap::SIZE {
            return Err(Refusal::Argsz { argsz });
        }
        if flags == 0 || flags & !(DmaMap::READ | DmaMap::WRITE) != 0 {
            return Err(Refusal::Flags { flags });
        }
        let Some(reach) = size.checked_sub(1) else {
            return Err(Refusal::DmaEmpty { address });
        };
        if (address | size | offset) % PAGE_SIZE != 0 {
            return Err(Refusal::DmaUnaligned { address, size, offset });
        }
        let last = address.checked_add(reach).ok_or(Refusal::DmaWraps { address, size })?;
        match &file {
            Some(file) => check_file(file.as_fd(), flags, offset, size)?,
            None if offset != 0 => return Err(Refusal::DmaOffset { offset }),
            None => {}
        }
        // Maps do not overlap, so of those that begin at or below `last` the highest reaches furthest.
        if self.maps.range(..=last).next_back().is_some_and(|(_, &before)| before >= address) {
            return Err(Refusal::DmaExists { address, size });
        }
        if self.maps.len() >= MAX_DMA_MAPS {
            return Err(Refusal::DmaFull { limit: MAX_DMA_MAPS });
        }
        self.maps.insert(address, last);
        Ok(())
    }

    /// Forgets one map, or all (spec, "VFIO_USER_DMA_UNMAP"; the flags are Linux's, and QEMU sends ALL).
    ///
    /// The reply's body is `request` again. No reference to the memory was held, so none needs to be waited for.
    ///
    /// # Errors
    ///
    /// - EINVAL: argsz less than the struct or more than 1 MiB; unknown flags; a dirty bitmap asked for, which
    ///   nothing tracks; ALL with an address or a size.
    /// - ENOENT: no map has exactly this address and size.
    ///
    /// After an error every map is still there.
    pub fn unmap(&mut self, request: &DmaUnmap) -> Result<(), Refusal> {
        let &DmaUnmap { argsz, flags, address, size } = request;
        if (argsz as usize) < DmaUnmap::SIZE || argsz > MAX_DATA_XFER_SIZE {
            return Err(Refusal::Argsz { argsz });
        }
        match flags {
            0 => {
                let last = size.checked_sub(1).and_then(|reach| address.checked_add(reach));
                if last.is_none() || self.maps.get(&address).copied() != last {
                    return Err(Refusal::DmaUnknown { address, size });
                }
                self.maps.remove(&address);
            }
            DmaUnmap::ALL if address == 0 && size == 0 => self.maps.clear(),
            DmaUnmap::GET_DIRTY_BITMAP => return Err(Refusal::DmaNotTracked),
            _ => return Err(Refusal::Flags { flags }),
        }
        Ok(())
    }
}

/// Whether `size` bytes at `offset` of `file` could be mapped, shared, with the access that `flags` name.
fn check_file(file: BorrowedFd<'_>, flags: u32, offset: u64, size: u64) -> Result<(), Refusal> {
    // fstat would ask the daemon of a FUSE file, for as long as the daemon likes. With DONT_SYNC the kernel answers
    // from what it has, which for memfd, shm and hugetlbfs is the truth.
    let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(file, c"", how, StatxFlags::TYPE | StatxFlags::SIZE)
        .map_err(|_| Refusal::DmaNotAFile)?;
    let open = fcntl_getfl(file).map_err(|_| Refusal::DmaNotAFile)?;
    let regular = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    if !regular || open.contains(OFlags::PATH) {
        return Err(Refusal::DmaNotAFile);
    }
    let access = open & OFlags::ACCMODE;
    if access != OFlags::RDWR && (access != OFlags::RDONLY || flags & DmaMap::WRITE != 0) {
        return Err(Refusal::DmaAccess { flags });
    }
    if offset.checked_add(size).is_none_or(|end| end > stat.stx_size) {
        return Err(Refusal::DmaPastEnd { offset, size });
    }
    Ok(())
}
