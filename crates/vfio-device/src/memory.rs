//! Memory that the device, the client, the guest and a viewer share.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate,
    memfd_create, open,
};
use rustix::io::{pread, pwrite};
use rustix::process::{Resource, getrlimit};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

use crate::Errno;

mod view;

pub use view::MemoryView;

const PAGE: usize = 4096;
/// Copied at once: what stays in a CPU's cache.
const PIECE: usize = 64 << 10;

/// A sealed memfd, mapped once into this process and mapped again by whoever is handed its fd.
///
/// * Sealed with `F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL`: a client cannot truncate it, so no access here or there
///   can raise SIGBUS.
/// * Populated lazily: a page costs memory when it is first touched.
/// * Accessed through [`VolatileSlice`] only, never as `&mut [u8]`: others write at the same time.
///
/// Cloning shares the memory; it lives until the last clone (and the last foreign mapping) has gone.
#[derive(Clone, Debug)]
pub struct SharedMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    mapping: MmapRegion,
    file: Arc<File>,
    /// The same, open for reading only; where there is no `/proc` there is none.
    reader: Option<OwnedFd>,
    read_only: bool,
    is_given_up: AtomicBool,
}

impl Drop for Inner {
    /// What was given up goes although somebody has kept its fd: else a client that comes again and again would pile
    /// memory up that this process has populated. (Read-only memory cannot be emptied.)
    fn drop(&mut self) {
        if *self.is_given_up.get_mut() {
            let all = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(&self.file, all, 0, self.mapping.size() as u64);
        }
    }
}

impl SharedMemory {
    /// Creates `size` bytes of zeroes. `name` shows in `/proc/PID/maps`, for people.
    ///
    /// # Errors
    /// `EINVAL` for size 0 or one that the address space cannot hold, `EFBIG` beyond the process's RLIMIT_FSIZE, else what
    /// `memfd_create`, `ftruncate` or `mmap` answered (`EMFILE`, `ENOMEM`, ...).
    pub fn new(name: &str, size: u64) -> Result<Self, Errno> {
        Self::create(name, size, false)
    }

    /// The same, but whoever is handed its fd can only read it (`F_SEAL_FUTURE_WRITE`): for a ROM. Writes through this
    /// value still work.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn new_read_only(name: &str, size: u64) -> Result<Self, Errno> {
        Self::create(name, size, true)
    }

    fn create(name: &str, size: u64, read_only: bool) -> Result<Self, Errno> {
        let length = usize::try_from(size).map_err(|_| Errno::INVAL)?;
        if length == 0 {
            return Err(Errno::INVAL);
        }
        // Beyond the limit `ftruncate` would end the process by SIGXFSZ.
        if getrlimit(Resource::Fsize).current.is_some_and(|limit| limit < size) {
            return Err(Errno::FBIG);
        }
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, size)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        // Now, as whoever is handed the fd can change who may open it.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let reader = match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(reader) => Some(reader),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        let file = Arc::new(File::from(fd));
        let mapping = MmapRegion::from_file(FileOffset::from_arc(Arc::clone(&file), 0), length)
            .map_err(|_| Errno::NOMEM)?;
        // Our own mapping was there first, and stays writable.
        let write = if read_only { SealFlags::FUTURE_WRITE } else { SealFlags::empty() };
        fcntl_add_seals(&file, write | SealFlags::SEAL)?;
        let is_given_up = AtomicBool::new(false);
        Ok(Self(Arc::new(Inner { mapping, file, reader, read_only, is_given_up })))
    }

    /// Another memory with the same bytes, which is its holder's alone until its fd is handed on. Pages of zeroes are not
    /// populated.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn duplicate(&self, name: &str) -> Result<Self, Errno> {
        let other = Self::create(name, self.size(), self.0.read_only)?;
        let mut piece = vec![0; PIECE];
        for start in (0..self.size()).step_by(PIECE) {
            let length = usize::try_from(self.size() - start).map_or(PIECE, |it| it.min(PIECE));
            let piece = piece.get_mut(..length).ok_or(Errno::INVAL)?;
            // Not through the mapping: that would populate what is read.
            if pread(&self.0.file, &mut *piece, start)? != length {
                return Err(Errno::IO);
            }
            other.fill(start, piece)?;
        }
        Ok(other)
    }

    /// Writes what is not zero, whole pages of it, into memory that nobody else has yet: by calls, as through the mapping
    /// each page would cost a fault. That takes half the time.
    fn fill(&self, start: u64, piece: &[u8]) -> Result<(), Errno> {
        let pages = piece.chunks(PAGE).map(|page| (page.iter().any(|byte| *byte != 0), page.len()));
        let (pages, mut done): (Vec<_>, _) = (pages.collect(), 0);
        // As many in one call as lie side by side.
        for run in pages.chunk_by(|(one, _), (next, _)| one == next) {
            let length: usize = run.iter().map(|(_, length)| length).sum();
            let bytes = piece.get(done..done + length).ok_or(Errno::INVAL)?;
            let offset = start + done as u64;
            done += length;
            if !run.first().is_some_and(|(is_there, _)| *is_there) {
                continue;
            }
            // Sealed against all writes but ours through the mapping, which was there first.
            if self.0.read_only {
                self.write(offset, bytes)?;
            } else if pwrite(&self.0.file, bytes, offset)? != length {
                return Err(Errno::IO);
            }
        }
        Ok(())
    }

    /// Whether it is given up: then, when the last clone has gone, no page is left, whoever else has its fd.
    pub(crate) fn give_up(&self, is_given_up: bool) {
        self.0.is_given_up.store(is_given_up, Ordering::Relaxed);
    }

    /// Whether those who are handed its fd can only read it.
    pub fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.0.mapping.size() as u64
    }

    /// The whole of it, for volatile access.
    pub fn slice(&self) -> VolatileSlice<'_> {
        self.0.mapping.as_volatile_slice()
    }

    /// The memfd, to be sent to a client.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }

    /// The memfd opened for reading only, to be sent to a viewer.
    ///
    /// # Errors
    /// `ENOENT` if there was no `/proc` when the memory was made.
    pub fn reader(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.0.reader.as_ref().map(AsFd::as_fd).ok_or(Errno::NOENT)
    }

    /// Copies the bytes at `offset` into `data`.
    ///
    /// # Errors
    /// `EINVAL` if they do not all lie inside.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        self.slice().read_slice(data, offset).map_err(|_| Errno::INVAL)
    }

    /// Copies `data` to `offset`.
    ///
    /// # Errors
    /// `EINVAL` if it does not all fit.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        self.slice().write_slice(data, offset).map_err(|_| Errno::INVAL)
    }
}
