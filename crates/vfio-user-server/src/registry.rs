//! The loop's epoll as an endpoint sees it: what its descriptors are called there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};

/// Names a descriptor of an endpoint, in the lower half of an epoll entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    /// Number of a connection.
    Connection(u32),
    /// Number of a watched source.
    Source(u32),
}

/// Bits of a packed token that say what it names.
pub(crate) const KIND_BITS: u32 = 2;

impl Token {
    fn pack(self) -> u32 {
        match self {
            Self::Listener => 0,
            Self::Connection(id) => id << KIND_BITS | 1,
            Self::Source(id) => id << KIND_BITS | 2,
        }
    }

    pub(crate) fn unpack(packed: u32) -> Self {
        let id = packed >> KIND_BITS;
        match packed & 3 {
            1 => Self::Connection(id),
            2 => Self::Source(id),
            _ => Self::Listener,
        }
    }
}

/// Where an endpoint watches its descriptors: the loop's epoll, and the endpoint's own key in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registry<'a> {
    pub(crate) epoll: &'a OwnedFd,
    pub(crate) key: u32,
}

impl Registry<'_> {
    fn data(&self, token: Token) -> EventData {
        EventData::new_u64(u64::from(self.key) << 32 | u64::from(token.pack()))
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(self.epoll, fd, self.data(token), flags)?)
    }

    pub(crate) fn modify(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(self.epoll, fd, self.data(token), flags)?)
    }

    /// Before a descriptor is closed: while somebody else holds the same open file, closing alone leaves an entry that
    /// goes on reporting and that nobody can take out any more.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        if let Err(errno) = epoll::delete(self.epoll, fd) {
            log::debug!("epoll: {errno}");
        }
    }
}
