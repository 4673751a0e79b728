//! A driver's rest from a host that always has more.
//!
//! A host is faster than any line: with more always there, a driver that reads until there is no more would never leave its
//! interrupt handler, and whoever is to take the characters from the driver never have the CPU.

use std::time::{Duration, Instant};

use vfio_device::Timers;

use crate::host;

/// Characters that each port receives of its line without a rest. Linux's handler reads so many at a time.
const MEAL: u32 = 256;
/// The rest, from when no port interrupts any more: at least.
const REST: Duration = Duration::from_millis(1);
/// At most, and for a driver that does not mind interrupts.
const LONG_REST: Duration = Duration::from_millis(20);
/// Of the time that the driver was at work the rest is this part: whoever is slow, or has little of a busy CPU, needs more.
const PART: u32 = 4;
/// The timer.
const TIMER: u32 = host::id(0, host::REST);

/// How many characters a card's ports may still receive. They rest together, as they interrupt together.
#[derive(Debug)]
pub(crate) struct Feed {
    left: [u32; 2],
    /// When the first character was received.
    since: Instant,
    /// Since when no port interrupts.
    quiet: Option<Instant>,
    /// The rest has begun.
    rests: bool,
}

impl Feed {
    pub fn new() -> Self {
        Self { left: [MEAL; 2], since: Instant::now(), quiet: None, rests: false }
    }

    /// Takes a character for a port from its line, if there is to be one.
    pub fn take<T>(&mut self, port: usize, line: impl FnOnce() -> Option<T>) -> Option<T> {
        if !self.rests && self.quiet.is_some_and(|since| since.elapsed() >= REST) {
            // Between characters that come one by one the driver has all the rest that it needs.
            *self = Self::new();
        }
        let left = self.left.get(port)?.checked_sub(1)?;
        let taken = line()?;
        if self.left == [MEAL; 2] {
            self.since = Instant::now();
        }
        if let Some(it) = self.left.get_mut(port) {
            *it = left;
        }
        Some(taken)
    }

    /// After each access or event: when enough has been taken, the driver finds the receivers empty, and has its rest.
    /// [`new`](Self::new) follows when its timer has run out.
    pub fn settle(&mut self, interrupts: bool, timers: &mut Timers) {
        self.quiet = (!interrupts).then(|| self.quiet.unwrap_or_else(Instant::now));
        if self.rests || !self.left.contains(&0) {
            return;
        }
        if !interrupts {
            self.rests = true;
            timers.start_lasting(TIMER, (self.since.elapsed() / PART).clamp(REST, LONG_REST));
        } else if !timers.is_running(TIMER) {
            timers.start_lasting(TIMER, LONG_REST);
        }
    }
}
