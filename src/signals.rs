//! The signals that ask this program to end.

use std::io;
use std::sync::Arc;

use signal_hook::consts::SIGXFSZ;
use signal_hook::iterator::Signals;

/// A file that may not grow any more (ulimit -f) is an error to whoever writes it, be it the log, and not the end of this
/// program.
pub fn outlive_full_files() {
    // If it cannot be had there is nothing better.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// SIGTERM, SIGINT and SIGHUP, from now on; but those that whoever started this program had it ignore (`nohup`, a
/// shell's `&`) stay ignored.
pub struct Ending(Signals);

impl Ending {
    /// To be called before anything is made that must not be left behind: what comes until [`each`](Self::each) waits.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Signals::new(vfio_user_server::signals::ending())?))
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

/// A signal's name, for the log.
pub fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}
