//! The signals that ask this program to end.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `ask` with each SIGTERM, SIGINT or SIGHUP, from a thread of its own, for as long as the program runs.
pub fn on_end(ask: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(ask))?;
    Ok(())
}
