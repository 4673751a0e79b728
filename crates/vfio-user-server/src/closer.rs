//! Who closes the descriptors that a client has a say in.
//!
//! The last `close` of a file can wait: a TCP socket for as long as its SO_LINGER says, a FUSE file for its daemon, a
//! local socket for whatever is queued in it. A client can hand any of them over, or leave them unread. So a loop's thread
//! closes eventfds and files of memory, which wait for nobody, and leaves the others to threads that do nothing else.
//!
//! Nobody is to wait for what somebody else has sent, either. So each device's clients have an account: of what is on it one
//! thread at a time closes one after the other, and who sees that there is much takes no more from those clients.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{fs, thread};

use rustix::fs::{AtFlags, FileType, StatxFlags, fcntl_get_seals, statx};

/// Threads for descriptors without an account, and threads that stay when there is nothing to do.
const THREADS: usize = 8;
/// Threads at most: so many accounts can be kept waiting before others are.
const MOST_THREADS: usize = 64;
/// Descriptors on an account that is full.
const FULL: usize = 64;
static CLOSER: Closer = Closer { queue: Mutex::new(Queue::new()), more: Condvar::new() };

/// Who is answerable for descriptors. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Account(Arc<Debt>);

/// Both change while the queue is locked.
#[derive(Debug, Default)]
struct Debt {
    /// Descriptors that are not closed yet.
    open: AtomicUsize,
    /// Whether a thread closes one of them.
    is_served: AtomicBool,
}

impl Account {
    /// Whether so much is not closed yet, 64 descriptors, that no more should be taken.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) >= FULL && Self::is_left_full()
    }

    /// Who waits for this hands nothing more over: a thread that could not be had before is tried again here.
    #[cold]
    fn is_left_full() -> bool {
        CLOSER.queue.lock().unwrap_or_else(PoisonError::into_inner).staff();
        true
    }
}

struct Closer {
    queue: Mutex<Queue>,
    more: Condvar,
}

struct Queue {
    waiting: VecDeque<(OwnedFd, Option<Account>)>,
    threads: usize,
    /// Those of them that wait for something to do.
    idle: usize,
    /// Those that are at something without an account.
    without: usize,
}

impl Queue {
    const fn new() -> Self {
        Self { waiting: VecDeque::new(), threads: 0, idle: 0, without: 0 }
    }

    /// Whether a thread may begin with one of these.
    fn may_begin(&self, account: Option<&Account>) -> bool {
        match account {
            Some(account) => !account.0.is_served.load(Ordering::Relaxed),
            None => self.without < THREADS,
        }
    }

    fn begin(&mut self) -> Option<(OwnedFd, Option<Account>)> {
        let at = self.waiting.iter().position(|(_, account)| self.may_begin(account.as_ref()))?;
        let next = self.waiting.remove(at)?;
        match &next.1 {
            Some(account) => account.0.is_served.store(true, Ordering::Relaxed),
            None => self.without += 1,
        }
        Some(next)
    }

    /// Sees to a thread for what may be begun: one behind another that is kept waiting would wait as well.
    fn staff(&mut self) {
        let is_short = self.idle == 0 && self.threads < MOST_THREADS;
        if is_short && self.waiting.iter().any(|(_, account)| self.may_begin(account.as_ref())) {
            // Where no thread can be had the descriptor waits for one that can.
            let started = thread::Builder::new().name("closer".into()).spawn(run);
            self.threads += usize::from(started.is_ok());
        }
    }

    fn end(&mut self, account: Option<Account>) {
        match account {
            Some(account) => {
                account.0.is_served.store(false, Ordering::Relaxed);
                account.0.open.fetch_sub(1, Ordering::Relaxed);
            }
            None => self.without -= 1,
        }
    }
}

/// Closes a descriptor that a client sent.
pub(crate) fn close(fd: OwnedFd, account: Option<Account>) {
    if waits_for_nobody(&fd) { drop(fd) } else { enqueue(fd, account) }
}

/// Closes a descriptor on another thread: soon, if nothing keeps it waiting, or others of this account.
pub fn close_elsewhere(fd: OwnedFd, account: &Account) {
    enqueue(fd, Some(account.clone()));
}

fn enqueue(fd: OwnedFd, account: Option<Account>) {
    let mut queue = CLOSER.queue.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(account) = &account {
        account.0.open.fetch_add(1, Ordering::Relaxed);
    }
    queue.waiting.push_back((fd, account));
    queue.staff();
    drop(queue);
    CLOSER.more.notify_one();
}

fn run() {
    let mut queue = CLOSER.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some((fd, account)) = queue.begin() {
            queue.staff();
            drop(queue);
            drop(fd);
            queue = CLOSER.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.end(account);
        }
        if queue.threads > THREADS {
            queue.threads -= 1;
            return;
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
