//! What is happening, for the person who waits. Written to stderr itself, so that it also shows in a test, whose
//! `eprintln!` is captured.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// One finished line.
pub(crate) fn line(text: &str) {
    // Nobody to tell is no reason to stop.
    let _ = writeln!(stderr(), "guest-kit: {text}");
}

/// A figure that grows: redrawn in place on a terminal, a line every ten seconds in a log.
pub(crate) struct Meter {
    label: String,
    total: u64,
    shown: Instant,
    drawn: bool,
}

impl Meter {
    pub(crate) fn new(label: String, total: u64) -> Self {
        Self { label, total, shown: Instant::now(), drawn: false }
    }

    pub(crate) fn show(&mut self, bytes: u64) {
        let terminal = stderr().is_terminal();
        let interval = if terminal { Duration::from_millis(250) } else { Duration::from_secs(10) };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let text = format!(
            "{}: {} of {}",
            self.label,
            megabytes(bytes.min(self.total)),
            megabytes(self.total)
        );
        if terminal {
            self.drawn = true;
            let _ = write!(stderr(), "\rguest-kit: {text}");
        } else {
            line(&text);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if self.drawn {
            let _ = writeln!(stderr());
        }
    }
}

pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_given_in_megabytes_with_one_decimal() {
        assert_eq!(super::megabytes(37_890_336), "37.8 MB");
        assert_eq!(super::megabytes(955_316), "0.9 MB");
    }
}
