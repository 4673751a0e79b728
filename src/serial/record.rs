//! What the guest has sent, for `expect`.

use std::collections::VecDeque;

/// Bytes that are kept.
const MOST: usize = 64 << 10;

/// The newest bytes, and which of them somebody has waited for already.
#[derive(Debug)]
pub(super) struct Record {
    bytes: VecDeque<u8>,
    /// Bytes since the beginning.
    end: u64,
    /// Those before it have been matched.
    matched: u64,
}

/// Bytes of a [`Record`] that have not been matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// With the byte before them, if it is still there.
    pub bytes: Vec<u8>,
    /// Where they begin in `bytes`: 0 or 1.
    pub from: usize,
    /// The first of them is so many bytes from the beginning of all.
    pub position: u64,
    /// Bytes before that which were not matched either, and are not kept any more.
    pub lost: u64,
}

impl Heard {
    /// Where they end, in bytes from the beginning of all.
    pub fn end(&self) -> u64 {
        self.position + (self.bytes.len() - self.from) as u64
    }
}

impl Record {
    pub(super) fn new() -> Self {
        Self { bytes: VecDeque::new(), end: 0, matched: 0 }
    }

    pub(super) fn push(&mut self, byte: u8) {
        if self.bytes.capacity() == 0 {
            // All of it, once: no register access after the first one that says something allocates. A port that says
            // nothing has none, as the allocator would lay it where others have been, and keep all that resident.
            self.bytes.reserve_exact(MOST);
        }
        if self.bytes.len() >= MOST {
            self.bytes.pop_front();
        }
        self.bytes.push_back(byte);
        self.end += 1;
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// What has not been matched.
    pub(super) fn unmatched(&self) -> Heard {
        let first = self.end - self.bytes.len() as u64;
        let position = self.matched.max(first);
        let skip = usize::try_from(position - first).unwrap_or(usize::MAX);
        let from = usize::from(skip != 0);
        let bytes = self.bytes.iter().skip(skip - from).copied().collect();
        Heard { bytes, from, position, lost: position - self.matched }
    }

    /// Bytes up to `position` have been matched, or are no longer of interest.
    pub(super) fn set_matched(&mut self, position: u64) {
        self.matched = self.matched.max(position.min(self.end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_matched_is_not_heard_again_but_for_the_byte_before() {
        let mut record = Record::new();
        assert_eq!(record.unmatched(), Heard { bytes: vec![], from: 0, position: 0, lost: 0 });
        b"login: ok".iter().for_each(|byte| record.push(*byte));
        record.set_matched(7);
        let heard = record.unmatched();
        assert_eq!(heard, Heard { bytes: b" ok".to_vec(), from: 1, position: 7, lost: 0 });
        assert_eq!(heard.end(), 9);
        record.set_matched(3);
        record.set_matched(99);
        assert_eq!(record.unmatched().position, 9);
    }

    #[test]
    fn the_newest_64_kib_are_kept_and_what_nobody_matched_before_them_is_counted() {
        let mut record = Record::new();
        (0..0x10000 + 5).for_each(|number: u32| record.push(number.to_le_bytes()[0]));
        record.set_matched(2);
        let heard = record.unmatched();
        assert_eq!((heard.from, heard.position, heard.lost), (0, 5, 3));
        assert_eq!((heard.bytes.len(), heard.bytes[0], heard.end()), (0x10000, 5, 0x10005));
    }
}
