//! When which endpoint of a loop wants to be called, at a cost that does not grow with their number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The next deadline of each endpoint, by its key.
///
/// Deadlines move with almost every access (a serial port's character time-out does), mostly to a later moment. So an
/// entry is made only when there is none that comes early enough; one that comes too early finds out and is made anew.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: BinaryHeap<Reverse<(Instant, u32)>>,
    /// The earliest entry of each key.
    queued: Vec<Option<Instant>>,
}

impl Deadlines {
    /// Notes when `key` wants to be called next.
    #[inline]
    pub(crate) fn set(&mut self, key: u32, deadline: Option<Instant>) {
        match deadline {
            Some(deadline) => self.note(key, deadline),
            None if self.queue.is_empty() => (),
            None => self.forget(key),
        }
    }

    fn note(&mut self, key: u32, deadline: Instant) {
        let index = key as usize;
        if self.queued.len() <= index {
            self.queued.resize(index + 1, None);
        }
        if let Some(queued) = self.queued.get_mut(index)
            && queued.is_none_or(|queued| deadline < queued)
        {
            *queued = Some(deadline);
            self.queue.push(Reverse((deadline, key)));
            self.compact();
        }
    }

    /// Takes the entry of a key away that wants to be called no more, if it is the next one: the loop would look at the clock
    /// each time it waits. A later one finds out.
    fn forget(&mut self, key: u32) {
        if let Some(Reverse((at, next))) = self.queue.peek()
            && *next == key
            && let Some(queued) = self.queued.get_mut(key as usize)
        {
            queued.take_if(|queued| *queued == *at);
            self.queue.pop();
        }
    }

    /// Forgets entries that were replaced by earlier ones, when they have become the most.
    fn compact(&mut self) {
        if self.queue.len() > 2 * self.queued.len() + 64 {
            let queued = &self.queued;
            self.queue.retain(|Reverse((at, key))| queued.get(*key as usize) == Some(&Some(*at)));
        }
    }

    /// When to ask [`take_due`](Self::take_due) next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// A key whose entry is due at `now`. It may have changed its mind since: after the call, [`set`](Self::set) what it
    /// wants now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u32> {
        while let Some(&Reverse((deadline, key))) = self.queue.peek()
            && deadline <= now
        {
            self.queue.pop();
            // Of several entries of one key only the earliest counts.
            if let Some(queued) = self.queued.get_mut(key as usize)
                && *queued == Some(deadline)
            {
                *queued = None;
                return Some(key);
            }
        }
        None
    }
}

/// The earlier one of two moments, if there is any.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (some, None) | (None, some) => some,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_come_in_the_order_of_their_deadlines() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        for (key, ms) in [(0, 30), (1, 10), (2, 20)] {
            deadlines.set(key, Some(at(ms)));
        }
        assert_eq!(deadlines.next(), Some(at(10)));
        let due: Vec<_> = std::iter::from_fn(|| deadlines.take_due(at(25))).collect();
        assert_eq!(due, [1, 2]);
        assert_eq!(deadlines.next(), Some(at(30)));
    }

    #[test]
    fn a_later_deadline_is_found_out_when_the_earlier_one_is_due() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        (1..1000).for_each(|ms| deadlines.set(7, Some(at(ms))));
        assert_eq!(deadlines.queue.len(), 1);
        assert_eq!(deadlines.take_due(at(5)), Some(7));
        deadlines.set(7, Some(at(999)));
        assert_eq!(deadlines.take_due(at(500)), None);
        assert_eq!(deadlines.next(), Some(at(999)));
    }

    #[test]
    fn a_deadline_that_is_given_up_is_not_waited_for_if_it_came_next() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        for (key, ms) in [(0, 10), (1, 20), (2, 30)] {
            deadlines.set(key, Some(at(ms)));
        }
        deadlines.set(0, None);
        assert_eq!(deadlines.next(), Some(at(20)));
        deadlines.set(2, None);
        deadlines.set(1, Some(at(40)));
        assert_eq!(deadlines.take_due(at(20)), Some(1), "it finds out");
        deadlines.set(0, Some(at(25)));
        assert_eq!(deadlines.take_due(at(29)), Some(0), "it can come back");
    }

    #[test]
    fn deadlines_that_come_ever_earlier_do_not_pile_up() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        (1..10_000).rev().for_each(|ms| deadlines.set(0, Some(at(ms))));
        assert!(deadlines.queue.len() <= 66, "{}", deadlines.queue.len());
        assert_eq!(deadlines.next(), Some(at(1)));
        assert_eq!((deadlines.take_due(at(1)), deadlines.take_due(at(20_000))), (Some(0), None));
    }

    #[test]
    fn an_earlier_deadline_replaces_a_later_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        deadlines.set(3, Some(at(50)));
        deadlines.set(3, Some(at(10)));
        assert_eq!(deadlines.take_due(at(20)), Some(3));
        assert_eq!(deadlines.take_due(at(60)), None, "the entry that was replaced says nothing");
    }
}
