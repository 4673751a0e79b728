//! Who closes the descriptors that a client has a say in.
//!
//! The last `close` of a file can wait: a TCP socket for as long as its SO_LINGER says, a FUSE file for its daemon, a
//! local socket for whatever is queued in it. A client can hand any of them over, or leave them unread. So a loop's thread
//! closes eventfds and files of memory, which wait for nobody, and leaves the others to threads that do nothing else.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::{fs, thread};

use rustix::fs::{AtFlags, FileType, StatxFlags, fcntl_get_seals, statx};

/// Threads at most: what keeps so many waiting at once keeps those behind it open.
const THREADS: usize = 8;
static CLOSER: Closer = Closer { queue: Mutex::new(Queue::new()), more: Condvar::new() };

struct Closer {
    queue: Mutex<Queue>,
    more: Condvar,
}

struct Queue {
    waiting: VecDeque<OwnedFd>,
    threads: usize,
    /// Those of them that wait for something to do.
    idle: usize,
}

impl Queue {
    const fn new() -> Self {
        Self { waiting: VecDeque::new(), threads: 0, idle: 0 }
    }
}

/// Closes a descriptor that a client sent.
pub(crate) fn close(fd: OwnedFd) {
    if waits_for_nobody(&fd) { drop(fd) } else { close_elsewhere(fd) }
}

/// Closes a descriptor on another thread: soon, if nothing keeps it waiting.
pub fn close_elsewhere(fd: OwnedFd) {
    let mut queue = CLOSER.queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.waiting.push_back(fd);
    // One behind another that is kept waiting would wait as well.
    if queue.waiting.len() > queue.idle && queue.threads < THREADS {
        // Where no thread can be had the descriptor waits for one that can.
        let started = thread::Builder::new().name("closer".into()).spawn(run);
        queue.threads += usize::from(started.is_ok());
    }
    drop(queue);
    CLOSER.more.notify_one();
}

fn run() {
    let mut queue = CLOSER.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(fd) = queue.waiting.pop_front() {
            drop(queue);
            drop(fd);
            queue = CLOSER.queue.lock().unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle += 1;
        queue = CLOSER.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
    }
}

/// Whether it is an eventfd or memory (memfd, shm, huge pages). To find out asks no file system but /proc; without that
/// only memory is known.
fn waits_for_nobody(fd: &OwnedFd) -> bool {
    fcntl_get_seals(fd).is_ok() || is_anonymous(fd) && is_eventfd(fd)
}

fn is_eventfd(fd: &OwnedFd) -> bool {
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventfd]")
}

/// Whether it is one of the kernel's anonymous files: they alone have no type.
pub(crate) fn is_anonymous(fd: &OwnedFd) -> bool {
    let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(fd, c"", how, StatxFlags::TYPE);
    stat.is_ok_and(|it| FileType::from_raw_mode(it.stx_mode.into()) == FileType::Unknown)
}
