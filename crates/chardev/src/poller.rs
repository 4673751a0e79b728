//! The descriptors of one end, behind a single one that its event loop watches.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{self, Errno};

/// Events that one turn looks at.
const EVENTS: usize = 8;

/// An epoll of our own. A level-triggered event loop that watches it wakes as long as one of those in it is ready.
#[derive(Clone, Debug)]
pub(crate) struct Poller(Arc<OwnedFd>);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        epoll::create(CreateFlags::CLOEXEC).map(|fd| Self(Arc::new(fd)))
    }

    /// What is ready now: key and flags.
    pub(crate) fn take(&self) -> impl Iterator<Item = (u64, EventFlags)> + use<> {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let found: Vec<_> = match epoll::wait(self, &mut events, Some(&now)) {
            Ok((events, _)) => events.iter().map(|event| (event.data.u64(), event.flags)).collect(),
            Err(_) => Vec::new(),
        };
        found.into_iter()
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor, and what it is watched for. It leaves the poller with its descriptor's end, which nobody else holds.
#[derive(Debug)]
pub(crate) struct Watched {
    fd: OwnedFd,
    key: u64,
    poller: Poller,
    flags: EventFlags,
}

impl Watched {
    pub(crate) fn new(fd: OwnedFd, key: u64, poller: &Poller) -> Self {
        Self { fd, key, poller: poller.clone(), flags: EventFlags::empty() }
    }

    /// Watches for `flags`; for none at all, not even a hang-up is reported. A file that cannot be watched is not, which is
    /// answered by `false`.
    pub(crate) fn watch(&mut self, flags: EventFlags) -> bool {
        if flags == self.flags {
            return true;
        }
        let data = EventData::new_u64(self.key);
        let done = if flags.is_empty() {
            epoll::delete(&self.poller, &self.fd)
        } else if self.flags.is_empty() {
            epoll::add(&self.poller, &self.fd, data, flags)
        } else {
            epoll::modify(&self.poller, &self.fd, data, flags)
        };
        match done {
            Ok(()) => self.flags = flags,
            Err(Errno::PERM) => return false, // a regular file
            Err(error) => log::warn!("cannot watch a descriptor: {error}"),
        }
        true
    }

    /// What `poll` says at once of this descriptor.
    pub(crate) fn poll(&self, flags: PollFlags) -> PollFlags {
        poll_now(&self.fd, flags)
    }

    /// Takes it from the poller and hands the descriptor out.
    pub(crate) fn into_fd(mut self) -> OwnedFd {
        self.watch(EventFlags::empty());
        self.fd
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What `poll` says at once.
pub(crate) fn poll_now(fd: impl AsFd, flags: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(&fd, flags)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => fds.first().map(PollFd::revents).unwrap_or(PollFlags::empty()),
        Err(_) => PollFlags::empty(),
    }
}
