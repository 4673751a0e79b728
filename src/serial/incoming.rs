//! What goes to the guest, in its order: bytes of the back end, and what the verbs put between them.

use std::collections::VecDeque;

use chardev::Chardev;
use mtty::line::Character;

use super::bell::Ringer;

/// Bytes that are read ahead of the guest. What is behind them waits with the peer.
const AHEAD: usize = 256;

/// What verbs have put in and the guest has not taken, at most. Each has a line of the control socket, at most.
const MOST_PIECES: usize = 64;

/// What a verb has put in.
struct Piece {
    number: u64,
    bytes: Vec<u8>,
    /// Those before it have been taken.
    at: usize,
    /// Of each of them, as LSR bits.
    errors: u8,
    /// Tells somebody when all have been taken.
    done: Option<Ringer>,
}

pub(super) struct Incoming {
    ahead: [u8; AHEAD],
    /// Of `ahead`, what has not been taken.
    at: usize,
    end: usize,
    /// After what is read ahead; until they are through nothing more is read.
    pieces: VecDeque<Piece>,
    /// The back end has nothing, until it says that it has.
    dry: bool,
    numbers: u64,
}

impl Incoming {
    pub(super) fn new() -> Self {
        let (pieces, ahead) = (VecDeque::new(), [0; AHEAD]);
        Self { ahead, at: 0, end: 0, pieces, dry: true, numbers: 0 }
    }

    /// The next character. Reads when that is needed; whoever owns the back end fetches its events then, and puts a break
    /// in if there is one ([`must_look`](Self::must_look)).
    pub(super) fn next(&mut self) -> Option<Character> {
        if self.at < self.end {
            let byte = self.ahead.get(self.at).copied();
            self.at += 1;
            return byte.map(Character::from);
        }
        let piece = self.pieces.front_mut()?;
        let data = piece.bytes.get(piece.at).copied();
        piece.at += 1;
        let errors = piece.errors;
        if piece.at >= piece.bytes.len() {
            self.pieces.pop_front();
        }
        Some(Character { data: data?, errors })
    }

    /// Whether there is nothing to hand out, and the back end may have something.
    pub(super) fn must_look(&self) -> bool {
        self.at >= self.end && self.pieces.is_empty() && !self.dry
    }

    /// Whether input is of interest: there is room, and none is there.
    pub(super) fn wants_input(&self) -> bool {
        self.at >= self.end && self.pieces.is_empty()
    }

    /// The back end may have something.
    pub(super) fn not_dry(&mut self) {
        self.dry = false;
    }

    /// Reads ahead, if there is room.
    pub(super) fn read(&mut self, from: &mut Chardev) {
        if self.must_look() {
            self.at = 0;
            self.end = from.read(&mut self.ahead).min(AHEAD);
            self.dry = self.end == 0;
        }
    }

    /// A break of the back end, which comes after what has been read.
    pub(super) fn push_break(&mut self) {
        // Whether there is more behind it was not asked.
        self.dry = false;
        let (bytes, errors) = (vec![Character::BREAK.data], Character::BREAK.errors);
        self.pieces.push_back(Piece { number: 0, bytes, at: 0, errors, done: None });
    }

    /// Puts bytes in, after what is there, unless too many others wait. Returns a number for
    /// [`withdraw`](Self::withdraw).
    pub(super) fn put(&mut self, bytes: Vec<u8>, errors: u8, done: Option<Ringer>) -> Option<u64> {
        if self.pieces.len() >= MOST_PIECES {
            return None;
        }
        self.numbers += 1;
        self.pieces.push_back(Piece { number: self.numbers, bytes, at: 0, errors, done });
        Some(self.numbers)
    }

    /// Takes back what nobody waits for any more, and nobody has taken back.
    pub(super) fn forget_unheard(&mut self) {
        let is_unheard = |piece: &Piece| piece.done.as_ref().is_some_and(|done| !done.is_heard());
        while self.pieces.front().is_some_and(is_unheard) {
            self.pieces.pop_front();
        }
    }

    /// Takes back what is left of what was put in. How much that was.
    pub(super) fn withdraw(&mut self, number: u64) -> usize {
        let Some(position) = self.pieces.iter().position(|piece| piece.number == number) else {
            return 0;
        };
        self.pieces.remove(position).map_or(0, |piece| piece.bytes.len().saturating_sub(piece.at))
    }

    /// Bytes that wait for the guest here.
    pub(super) fn len(&self) -> usize {
        let pieces = self.pieces.iter().map(|piece| piece.bytes.len().saturating_sub(piece.at));
        self.end - self.at.min(self.end) + pieces.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_break_is_looked_for_more_without_being_told() {
        let mut incoming = Incoming::new();
        let mut empty = Chardev::open(&"null".parse().unwrap()).unwrap();
        incoming.not_dry();
        incoming.read(&mut empty);
        assert!(!incoming.must_look());
        // A read ends at a break, with nothing if there is nothing in front of it.
        incoming.push_break();
        assert!(!incoming.must_look());
        assert_eq!(incoming.next(), Some(Character::BREAK));
        assert!(incoming.must_look());
    }
}
