//! Why an end could not be opened.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use crate::socket_path::ListenError;
use crate::socket_path::plain;

/// Why an end could not be opened, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `loopback` and `crossover`: they never leave the card. For their log, open the specification with
    /// [`Backend::Null`](crate::Backend::Null) in their place, and write to that what the guest sends.
    #[error("{word} stays within the card; there is nothing to open")]
    WithinTheCard {
        /// the word
        word: &'static str,
    },
    /// No UNIX socket could be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A file with something in it.
    #[error(
        "{path} exists and is not empty: say {word}=on to go on at its end, {word}=off to begin anew"
    )]
    Exists {
        /// the path
        path: PathBuf,
        /// the option
        word: &'static str,
    },
    /// A file or FIFO that another port, or another program, writes or reads.
    #[error("{path} is in use by another port or program; use another path")]
    InUse {
        /// the path
        path: PathBuf,
    },
    /// A file, a FIFO, ... that could not be opened or made.
    #[error("cannot open {path}: {}", crate::files::why(path, error))]
    File {
        /// the path
        path: PathBuf,
        /// why
        error: io::Error,
    },
    /// Nothing where a FIFO should be.
    #[error("there is no FIFO {path}; make it with mkfifo")]
    NoFifo {
        /// the path
        path: PathBuf,
    },
    /// No FIFO.
    #[error("{path} is not a FIFO; make it with mkfifo, or use file:PATH")]
    NotAFifo {
        /// the path
        path: PathBuf,
    },
    /// The place of a link is taken.
    #[error("{path} exists and is left alone; remove it, or use another path for the link")]
    LinkExists {
        /// the path
        path: PathBuf,
    },
    /// There is no pseudo-terminal to be had.
    #[error(
        "cannot make a pseudo-terminal: {}; is /dev/pts there, and kernel.pty.max large enough?",
        plain(error)
    )]
    Pty {
        /// why
        error: io::Error,
    },
    /// A name that has no address.
    #[error("cannot find {host}:{port}: {}; name another host or port", plain(error))]
    Resolve {
        /// the host
        host: String,
        /// the port
        port: String,
        /// why
        error: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", why_not_listen(error))]
    Bind {
        /// the address
        address: String,
        /// why
        error: io::Error,
    },
    /// Nobody answers.
    #[error(
        "cannot connect to {address}: {}; start who listens there first, or say reconnect-ms=N to go on trying",
        plain(error)
    )]
    Connect {
        /// the address
        address: String,
        /// why
        error: io::Error,
    },
    /// Standard input and output belong to another stream of this process.
    #[error("stdio is in use by another port; only one can have it")]
    StdioInUse,
    /// Standard input or output is closed.
    #[error("standard {which} is closed: {}; open it, or use another back end", plain(error))]
    Stdio {
        /// input or output
        which: &'static str,
        /// why
        error: io::Error,
    },
    /// The system refuses something that has no name.
    #[error("cannot set up an end: {}", plain(.0))]
    Io(#[from] io::Error),
}

fn why_not_listen(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use; stop who has it, or use another".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; use another".into(),
        io::ErrorKind::PermissionDenied => {
            "you may not have that port; use one from 1024 on".into()
        }
        _ => format!("{}; use another", plain(error)),
    }
}

impl OpenError {
    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::File { path: path.into(), error }
    }
}
