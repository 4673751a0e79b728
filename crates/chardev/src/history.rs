//! Output that nobody has taken yet.

use std::collections::VecDeque;

/// The newest bytes, so many at most.
#[derive(Debug)]
pub(crate) struct History {
    bytes: VecDeque<u8>,
    most: usize,
    dropped: u64,
}

impl History {
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: VecDeque::new(), most, dropped: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that have fallen out.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds bytes; the oldest fall out.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let over = (self.bytes.len() + bytes.len()).saturating_sub(self.most);
        let of_old = over.min(self.bytes.len());
        self.bytes.drain(..of_old);
        let new = bytes.get(over - of_old..).unwrap_or_default();
        self.bytes.extend(new);
        self.dropped += over as u64;
    }

    /// Adds what another one holds, for a peer that is there: however much that is, until more is pushed.
    pub(crate) fn inherit(&mut self, mut other: Self) {
        self.bytes.append(&mut other.bytes);
    }

    /// The oldest fall out of what is too much.
    pub(crate) fn trim(&mut self) {
        self.push(&[]);
    }

    /// The oldest, as many as lie together.
    pub(crate) fn front(&self) -> &[u8] {
        match self.bytes.as_slices() {
            ([], tail) => tail,
            (head, _) => head,
        }
    }

    /// Forgets the `count` oldest, which have been taken.
    pub(crate) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
    }
}
