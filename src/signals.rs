//! The signals that ask this program to end.

use std::fs;
use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// SIGTERM, SIGINT and SIGHUP, from now on; but those that whoever started this program had it ignore (`nohup`, a
/// shell's `&`) stay ignored.
pub struct Ending(Signals);

impl Ending {
    /// To be called before anything is made that must not be left behind: what comes until [`each`](Self::each) waits.
    pub fn new() -> io::Result<Self> {
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let heard = [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| !ignored.has(*signal));
        Ok(Self(Signals::new(heard)?))
    }

    /// Calls `ask` with each, from a thread of its own, for as long as the program runs.
    pub fn each(self, ask: impl Fn(i32) + Send + 'static) -> io::Result<()> {
        let Self(mut signals) = self;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(ask))?;
        Ok(())
    }
}

/// A set of signals as the kernel prints it.
struct SignalSet(u64);

impl SignalSet {
    fn has(&self, signal: i32) -> bool {
        signal > 0 && self.0 >> (signal - 1) & 1 == 1
    }
}

/// The ignored ones of `/proc/PID/status`.
fn ignored(status: &str) -> SignalSet {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    SignalSet(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}

/// A signal's name, for the log.
pub fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_shows_in_the_status() {
        let set = ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000003\n");
        assert!(set.has(SIGHUP) && set.has(SIGINT) && !set.has(SIGTERM));
        assert!(!ignored("").has(SIGHUP));
    }
}
