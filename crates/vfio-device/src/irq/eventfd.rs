//! Eventfds that a client has handed over.
//!
//! `O_NONBLOCK` belongs to the open file, which the client shares and can change at any time. So it is not relied on.

use std::fs::File;
use std::io::{ErrorKind, IoSliceMut, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};
use rustix::io::{ReadWriteFlags, preadv2, retry_on_intr};

use super::aio::Aio;
use crate::Errno;

/// Takes a descriptor on. What lies in a file system, pipes and sockets are refused: they may belong to a daemon of the
/// client's own, for which `O_NONBLOCK` is a wish. Of the kernel's anonymous files that are left, what is not an eventfd
/// is found out when it is signalled, and let go.
///
/// # Errors
/// `EBADF` for what cannot be an eventfd.
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

thread_local! {
    static AIO: Option<Aio> = Aio::new();
}

/// Adds 1; a counter that is full says already what there is to say. `Err` for what turns out not to be an eventfd.
pub(crate) fn signal(eventfd: &File) -> Result<(), Errno> {
    match AIO.try_with(|aio| aio.as_ref().map(|aio| aio.signal(eventfd.as_fd()))) {
        Ok(Some(Ok(()))) => Ok(()),
        Ok(Some(Err(Errno::INVAL))) => Err(Errno::INVAL),
        // Out of memory, say: the interrupt is not to be lost for that.
        Ok(None | Some(Err(_))) | Err(_) => write(eventfd),
    }
}

/// The way that is left without asynchronous I/O. A counter that is full is not written, which leaves a client that takes
/// `O_NONBLOCK` off and fills the counter between the two calls: that one can make us wait.
fn write(mut eventfd: &File) -> Result<(), Errno> {
    let mut ready = [PollFd::new(eventfd, PollFlags::OUT)];
    if retry_on_intr(|| poll(&mut ready, Some(&Timespec::default())))? != 1 {
        return Ok(());
    }
    #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
    match eventfd.write(&1u64.to_ne_bytes()) {
        // It waited after all, and a signal ended that: it was full.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(())
        }
        Err(_) => Err(Errno::INVAL),
        Ok(_) => Ok(()),
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
