//! Memory of another process, for a viewer.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{SealFlags, fcntl_get_seals, fstat, fstatfs};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use crate::Errno;

/// `TMPFS_MAGIC`: the file system of memfds with ordinary pages.
const TMPFS: u64 = 0x0102_1994;

/// [`SharedMemory`](crate::SharedMemory) of another process, mapped for reading: it is looked at in place.
///
/// Whoever sent the descriptor is not trusted: no access can raise SIGBUS, whatever they do to the memory. Its bytes can
/// change at any time.
#[derive(Debug)]
pub struct MemoryView {
    mapping: MmapRegion,
}

impl MemoryView {
    /// Maps the first `size` bytes of the memfd `fd`, which may be open for reading only.
    ///
    /// # Errors
    /// `EINVAL` for what is no memfd, or can be shrunk (it lacks `F_SEAL_SHRINK`), or has huge pages (of which none may be
    /// left at the access), or is smaller than `size`; for size 0. Else what `mmap` is likely to have failed for: `ENOMEM`.
    pub fn attach(fd: OwnedFd, size: u64) -> Result<Self, Errno> {
        // An ordinary file of a tmpfs cannot be sealed.
        let sealed = fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !sealed || u64::try_from(fstatfs(&fd)?.f_type) != Ok(TMPFS) {
            return Err(Errno::INVAL);
        }
        let there = u64::try_from(fstat(&fd)?.st_size).map_err(|_| Errno::INVAL)?;
        let length = usize::try_from(size).map_err(|_| Errno::INVAL)?;
        if length == 0 || size > there {
            return Err(Errno::INVAL);
        }
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let file = FileOffset::new(File::from(fd), 0);
        let mapping = MmapRegion::build(Some(file), length, libc::PROT_READ, flags);
        Ok(Self { mapping: mapping.map_err(|_| Errno::NOMEM)? })
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.mapping.size() as u64
    }

    /// Copies the bytes at `offset` into `data`.
    ///
    /// # Errors
    /// `EINVAL` if they do not all lie inside.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        self.mapping.as_volatile_slice().read_slice(data, offset).map_err(|_| Errno::INVAL)
    }
}
