//! Eventfds that a client has handed over.
//!
//! `O_NONBLOCK` belongs to the open file, which the client shares and can change at any time. So it is set once, and not
//! relied on.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::Errno;

/// Takes a descriptor on. As the kernel does, anything but an eventfd is refused: what lies in a file system may belong to
/// a daemon of the client's own, for which `O_NONBLOCK` is a wish.
///
/// # Errors
/// `EBADF` for what is not an eventfd.
pub(crate) fn accept(fd: OwnedFd) -> Result<File, Errno> {
    // Not fstat, which would wait for such a daemon. The kernel's anonymous inodes alone have no type.
    let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let mode = statx(&fd, c"", how, StatxFlags::TYPE)?.stx_mode;
    if FileType::from_raw_mode(mode.into()) != FileType::Unknown {
        return Err(Errno::BADF);
    }
    let flags = fcntl_getfl(&fd)?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    Ok(File::from(fd))
}

/// Adds 1, unless the counter is full: then it says already what there is to say.
///
/// There is no write that cannot block whatever the flags are. So a full counter is not written, which leaves a client that
/// takes `O_NONBLOCK` off and fills the counter between the two calls.
pub(crate) fn signal(mut eventfd: &File) {
    let mut ready = [PollFd::new(eventfd, PollFlags::OUT)];
    if !poll(&mut ready, Some(&Timespec::default())).is_ok_and(|ready| ready == 1) {
        return;
    }
    #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
    if let Err(error) = eventfd.write(&1u64.to_ne_bytes()) {
        log::debug!("interrupt eventfd: {error}");
    }
}

/// Takes the count. `Ok(false)`: there was none.
///
/// # Errors
/// What cannot be read without waiting is no eventfd, or of no use as one.
pub(crate) fn take(eventfd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut count = [0; 8];
    // At the file's own position, which an eventfd does not have.
    match preadv2(eventfd, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT) {
        Ok(8) => Ok(true),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Ok(_) => Err(Errno::BADF),
        Err(errno) => Err(errno),
    }
}
