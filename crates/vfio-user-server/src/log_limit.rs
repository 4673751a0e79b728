//! How much a client can have written to the log.

use std::fmt;
use std::time::{Duration, Instant};

use log::Level;

/// Lines in a row.
const MOST: u32 = 10;
/// After which it begins anew.
const PERIOD: Duration = Duration::from_secs(1);

/// Lets a few lines a second through, and counts those that it holds back.
#[derive(Debug)]
pub struct LogLimit {
    since: Instant,
    lines: u32,
    held_back: u64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl LogLimit {
    /// One that has let nothing through.
    pub fn new() -> Self {
        Self { since: Instant::now(), lines: 0, held_back: 0 }
    }

    /// Writes a line, at level debug if there have been too many.
    pub fn say(&mut self, level: Level, line: fmt::Arguments<'_>) {
        match self.admit(Instant::now()) {
            Some(0) => log::log!(level, "{line}"),
            Some(held_back) => {
                log::log!(level, "{line} ({held_back} lines like it were left out)");
            }
            None => log::debug!("{line}"),
        }
    }

    /// Whether one more line may be written at `now`; with how many were held back before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= PERIOD {
            (self.since, self.lines) = (now, 0);
        }
        if self.lines == MOST {
            self.held_back += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_pass_and_the_others_are_counted() {
        let mut limit = LogLimit::new();
        let now = Instant::now();
        assert!((0..10).all(|_| limit.admit(now) == Some(0)));
        assert!((0..5).all(|_| limit.admit(now).is_none()));
        let later = now + Duration::from_secs(2);
        assert_eq!((limit.admit(later), limit.admit(later)), (Some(5), Some(0)));
    }
}
