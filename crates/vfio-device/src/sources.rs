//! File descriptors on the host that can wake a device: the far end of a serial port, say.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Removed sources that are kept for the event loop, at most.
const MAX_REMOVED: usize = 256;

/// What a source is watched for. A hang-up or an error counts as both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Wake when it can be read.
    pub readable: bool,
    /// Wake when it can be written.
    pub writable: bool,
}

impl Interest {
    /// Readable only.
    pub const READ: Self = Self { readable: true, writable: false };
    /// Neither, for now.
    pub const NONE: Self = Self { readable: false, writable: false };
    /// Writable only.
    pub const WRITE: Self = Self { readable: false, writable: true };
    /// Both.
    pub const BOTH: Self = Self { readable: true, writable: true };
}

/// Names a source: the device's own numbers, or one of the core's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SourceId {
    /// Added by the device under this number.
    Device(u32),
    /// The eventfd by which the client (or KVM's resampler) unmasks an interrupt.
    Unmask {
        /// irq index
        index: u32,
        /// vector in it
        vector: u32,
    },
}

/// A watched file descriptor.
#[derive(Debug)]
pub struct Source {
    id: SourceId,
    fd: OwnedFd,
    interest: Interest,
}

impl Source {
    /// Its name.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// What it is watched for.
    pub fn interest(&self) -> Interest {
        self.interest
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The sources of a device. Its event loop watches them, level-triggered, and calls the device's
/// [`ready`](crate::VfioDevice::ready).
///
/// A client, or the device itself, may hold the same open file by another descriptor; epoll then goes on reporting it
/// after ours is closed. So what is removed stays open until the loop has fetched it with
/// [`Device::take_removed_sources`](crate::Device::take_removed_sources) and taken it off its epoll. Only so many are
/// kept for a loop that does not.
#[derive(Debug, Default)]
pub struct Sources {
    entries: Vec<Source>,
    /// Not watched any more, but still to be taken off the event loop.
    removed: Vec<OwnedFd>,
    generation: u64,
}

impl Sources {
    /// Watches `fd` under the device's number `id`, in place of what was watched under it before. Hand in a duplicate
    /// (`try_clone`) of a descriptor that is to be read and written elsewhere.
    pub fn watch(&mut self, id: u32, fd: OwnedFd, interest: Interest) {
        self.insert(SourceId::Device(id), fd, interest);
    }

    /// Changes what the device's number `id` is watched for. A source of no interest is not looked at at all, also when
    /// its far end hangs up.
    pub fn set_interest(&mut self, id: u32, interest: Interest) {
        let entry = self.entries.iter_mut().find(|entry| entry.id == SourceId::Device(id));
        if let Some(entry) = entry.filter(|entry| entry.interest != interest) {
            entry.interest = interest;
            self.generation += 1;
        }
    }

    /// Ends the watch of `id`; its descriptor is closed when the event loop has heard of it.
    pub fn unwatch(&mut self, id: u32) {
        self.remove(SourceId::Device(id));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.entries.iter()
    }

    /// A number that changes whenever the set does: what an event loop compares before it looks closer.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn insert(&mut self, id: SourceId, fd: OwnedFd, interest: Interest) {
        self.remove(id);
        self.entries.push(Source { id, fd, interest });
        self.generation += 1;
    }

    pub(crate) fn get(&self, id: SourceId) -> Option<BorrowedFd<'_>> {
        self.entries.iter().find(|entry| entry.id == id).map(Source::as_fd)
    }

    pub(crate) fn remove(&mut self, id: SourceId) {
        self.remove_where(|of| of == id);
    }

    /// Forgets the eventfds that unmask vectors of `index`: they belong to the open.
    pub(crate) fn remove_unmask(&mut self, index: u32) {
        self.remove_where(|id| matches!(id, SourceId::Unmask { index: of, .. } if of == index));
    }

    pub(crate) fn remove_all(&mut self) {
        self.remove_where(|_| true);
    }

    fn remove_where(&mut self, is_it: impl Fn(SourceId) -> bool) {
        while let Some(position) = self.entries.iter().position(|entry| is_it(entry.id)) {
            let source = self.entries.remove(position);
            if self.removed.len() >= MAX_REMOVED {
                self.removed.remove(0);
            }
            self.removed.push(source.fd);
            self.generation += 1;
        }
    }

    /// What has been removed since this was last asked.
    pub(crate) fn take_removed(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.removed)
    }
}
