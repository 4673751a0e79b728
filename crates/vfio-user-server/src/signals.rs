//! The signals that ask a program that serves to end.

use std::fs;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// SIGTERM, SIGINT and SIGHUP, but for those that whoever started this program had it ignore (`nohup`, a shell's `&`).
/// To be asked before any of them is handled.
pub fn ending() -> Vec<i32> {
    let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    [SIGTERM, SIGINT, SIGHUP].into_iter().filter(|signal| !ignored.has(*signal)).collect()
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
