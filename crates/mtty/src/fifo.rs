//! A ring of 16 places, in the value itself: no allocation, no index that can leave it.

use crate::spec::FIFO_DEPTH;

/// First in, first out; holds at most [`FIFO_DEPTH`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Fifo<T> {
    slots: [T; FIFO_DEPTH],
    /// Where the oldest is; below `FIFO_DEPTH`.
    first: usize,
    /// How many there are; at most `FIFO_DEPTH`.
    len: usize,
}

impl<T: Copy> Fifo<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The oldest.
    pub fn front(&self) -> Option<&T> {
        if self.is_empty() { None } else { self.slots.get(self.first) }
    }

    /// The oldest, to change in place.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        if self.is_empty() { None } else { self.slots.get_mut(self.first) }
    }

    /// Adds `item` as the newest; a full ring drops it.
    pub fn push(&mut self, item: T) {
        if self.len < FIFO_DEPTH
            && let Some(slot) = self.slots.get_mut((self.first + self.len) % FIFO_DEPTH)
        {
            *slot = item;
            self.len += 1;
        }
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.front().copied()?;
        self.first = (self.first + 1) % FIFO_DEPTH;
        self.len -= 1;
        Some(item)
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Oldest to newest.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().cycle().skip(self.first).take(self.len)
    }
}
