//! A client's file of memory, which nobody has to trust.
//!
//! It is read and written by the kernel alone: by a load or store of ours to its mapping a client that truncates it could
//! raise SIGBUS in this process. And only files that are memory are taken: behind any other there may be somebody who
//! takes his time.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FsWord, OFlags, Statx, StatxFlags, fcntl_get_seals, fcntl_getfl, fstatfs, statx,
};
use rustix::io::pread;

use super::window;
use crate::Errno;

/// `TMPFS_MAGIC`: memfd, `/dev/shm`.
const TMPFS: FsWord = 0x0102_1994;
/// `HUGETLBFS_MAGIC`: memfd with `MFD_HUGETLB`.
const HUGETLBFS: FsWord = 0x9584_58f6;
/// As large as any system's pages, bytes.
const PAGE: u64 = 1 << 16;

/// A file, shared by all maps that lie in it.
#[derive(Debug)]
pub(super) struct File {
    fd: OwnedFd,
    pub(super) identity: Identity,
    /// Maps that lie in it.
    pub(super) maps: usize,
}

/// What makes two descriptors as good as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: (u32, u32),
    inode: u64,
    writable: bool,
    /// What a mapping's ends are multiples of, bytes.
    page: u64,
}

impl Identity {
    /// What a descriptor is good for; `None` for nothing. Asks nobody who could keep us waiting.
    pub(super) fn find(fd: &OwnedFd) -> Option<Self> {
        // Only files of tmpfs and hugetlbfs have seals, and the kernel says so without asking the file system. To ask at
        // once which one it is would wait, for a FUSE file, for its daemon.
        fcntl_get_seals(fd).ok()?;
        let writable = match fcntl_getfl(fd).ok()? & OFlags::ACCMODE {
            OFlags::RDONLY => false,
            OFlags::RDWR => true,
            _ => return None,
        };
        if ![TMPFS, HUGETLBFS].contains(&fstatfs(fd).ok()?.f_type) {
            return None;
        }
        let stat = stat(fd, StatxFlags::INO)?;
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        let page = PAGE.max(stat.stx_blksize.into());
        Some(Self { device, inode: stat.stx_ino, writable, page })
    }
}

impl File {
    /// With one map.
    pub(super) fn new(fd: OwnedFd, identity: Identity) -> Self {
        Self { fd, identity, maps: 1 }
    }

    /// With one map less; closed if there is none left.
    pub(super) fn unmapped(self) -> Option<Self> {
        let maps = self.maps - 1;
        (maps != 0).then_some(Self { maps, ..self })
    }

    pub(super) fn is_writable(&self) -> bool {
        self.identity.writable
    }

    /// Whether it has as many bytes.
    pub(super) fn check_size(&self, size: u64) -> Result<(), Errno> {
        let reaches = |stat: Statx| stat.stx_size >= size;
        if stat(&self.fd, StatxFlags::SIZE).is_some_and(reaches) { Ok(()) } else { Err(Errno::IO) }
    }

    pub(super) fn read(&self, mut offset: u64, mut data: &mut [u8]) -> Result<(), Errno> {
        while !data.is_empty() {
            let count = match pread(&self.fd, &mut *data, offset) {
                Ok(count @ 1..) => count,
                Err(Errno::INTR) => 0,
                _ => return Err(Errno::IO), // its end, if nothing worse
            };
            data = data.get_mut(count..).unwrap_or_default();
            offset += count as u64;
        }
        Ok(())
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        window::write(self.fd.as_fd(), self.identity.page, offset, data)
    }
}

fn stat(fd: &OwnedFd, what: StatxFlags) -> Option<Statx> {
    statx(fd, c"", AtFlags::EMPTY_PATH, what).ok()
}
