//! Host ends of a byte stream, for an event loop that somebody else runs: a serial port's far side, say.
//!
//! A [`Spec`] is what a user writes, in the words of QEMU's chardevs: `unix:/tmp/port,server=on,wait=off`, `pty`,
//! `tcp::4444`, ... [`Chardev::open`] makes the end: sockets, links, files. After that nothing waits, there is no thread,
//! and no buffer grows beyond what the specification allows.
#![forbid(unsafe_code)]

mod chardev;
mod clock;
mod end;
mod error;
mod files;
mod history;
mod log_file;
mod poller;
mod socket_path;
mod sockets;
mod spec;
mod terminal;
mod words;

pub use chardev::{Chardev, Source};
pub use error::{ListenError, OpenError};
pub use sockets::tcp_port;
pub use spec::{Backend, DEFAULT_HISTORY, LogSpec, MAX_HISTORY, Role, Spec, SpecError};
pub use terminal::{TerminalGuard, restore_terminal};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What happens to an end besides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is there. What the history holds is on its way to it.
    Connected,
    /// It is gone, or has asked for the end and got it.
    Disconnected,
    /// The peer sends a break, at this place of the input.
    Break,
    /// The user of the terminal wants to leave: the program should end.
    Leave,
}
