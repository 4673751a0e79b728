//! DMA maps as the wire has them: what is asked is checked, and handed to the device.
//!
//! Each `DMA_MAP` is checked as one that maps the file would need it, whether the device does DMA or not, so that a
//! client which gets it wrong hears of it. Which memory the device can reach, and the table, are
//! [`vfio_device::Dma`]'s.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fcntl_get_seals, fcntl_getfl, statx};
use vfio_device::{Device, DmaRange, Errno};

use crate::refusal::Refusal;
use crate::transport::Foreign;
use crate::version::{MAX_DATA_XFER_SIZE, MAX_DMA_FILES, MAX_DMA_MAPS, PAGE_SIZE};
use crate::wire::{DmaMap, DmaUnmap};

/// Checks one map and makes it (spec, "VFIO_USER_DMA_MAP"). `file` is closed before this returns, unless the device does
/// DMA, can reach the memory by it, and has no descriptor of the same file yet.
///
/// # Errors
///
/// - EINVAL: argsz is not the struct's size; no access or an unknown one in `flags` (a map that can be neither read
///   nor written is refused, as Linux refuses it); size 0; address, size or offset not a multiple of 4096;
///   address + size wraps; an offset without a file; not a regular file; not wholly within the file.
/// - EACCES: the file is not open for reading, which any mapping needs, or not for writing and `flags` asks for it.
/// - EEXIST: an earlier map covers some of it, or is the very same.
/// - ENOSPC: [`MAX_DMA_MAPS`] are made, or [`MAX_DMA_FILES`] kept.
pub fn map(device: &mut Device, request: &DmaMap, file: Option<Foreign>) -> Result<(), Refusal> {
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
    if address.checked_add(reach).is_none() {
        return Err(Refusal::DmaWraps { address, size });
    }
    match &file {
        Some(file) => check_file(file.as_fd(), flags, offset, size)?,
        None if offset != 0 => return Err(Refusal::DmaOffset { offset }),
        None => {}
    }
    let (readable, writable) = (flags & DmaMap::READ != 0, flags & DmaMap::WRITE != 0);
    let range = DmaRange { address, size, readable, writable };
    // A file that is no memory is out of the device's reach, and is not for the device to close.
    let memory = match file {
        Some(file) if fcntl_get_seals(&file).is_ok() => Some((OwnedFd::from(file), offset)),
        _ => None,
    };
    device.dma_map(range, memory).map_err(|errno| match errno {
        Errno::EXIST => Refusal::DmaExists { address, size },
        Errno::NOSPC => Refusal::DmaFull { limit: MAX_DMA_MAPS },
        Errno::MFILE => Refusal::DmaFiles { limit: MAX_DMA_FILES },
        _ => Refusal::NoDevice,
    })
}

/// Takes one map back, or all (spec, "VFIO_USER_DMA_UNMAP"; the flags are Linux's, and QEMU sends ALL).
///
/// The reply's body is `request` again. An access of the device is over when the device's call is, so no reference to
/// the memory is left when this returns.
///
/// # Errors
///
/// - EINVAL: argsz less than the struct or more than 1 MiB; unknown flags; a dirty bitmap asked for, which
///   nothing tracks; ALL with an address or a size.
/// - ENOENT: no map has exactly this address and size.
///
/// After an error every map is still there.
pub fn unmap(device: &mut Device, request: &DmaUnmap) -> Result<(), Refusal> {
    let &DmaUnmap { argsz, flags, address, size } = request;
    if (argsz as usize) < DmaUnmap::SIZE || argsz > MAX_DATA_XFER_SIZE {
        return Err(Refusal::Argsz { argsz });
    }
    match flags {
        0 => device.dma_unmap(address, size).map_err(|errno| match errno {
            Errno::NOENT => Refusal::DmaUnknown { address, size },
            _ => Refusal::NoDevice,
        }),
        DmaUnmap::ALL if address == 0 && size == 0 => {
            device.dma_unmap_all();
            Ok(())
        }
        DmaUnmap::GET_DIRTY_BITMAP => Err(Refusal::DmaNotTracked),
        _ => Err(Refusal::Flags { flags }),
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
