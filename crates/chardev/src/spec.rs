//! What a user writes to say where a stream ends.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::words::{Words, split};

/// Bytes of output that are kept with nobody connected, unless said otherwise.
pub const DEFAULT_HISTORY: usize = 64 << 10;
/// At most so many are kept.
pub const MAX_HISTORY: usize = 16 << 20;
/// The longest pause between two attempts to connect, in milliseconds: a day.
const MAX_RECONNECT_MS: u64 = 86_400_000;
/// Where a host is not named.
const LOOPBACK: &str = "127.0.0.1";

/// A stream's end as a user writes it: `null`, `pty,path=/tmp/port`, `unix:/tmp/port`, ...
///
/// The words and options are those of QEMU's `-chardev` and `-serial`; a comma in a value is written twice. See the
/// README for what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spec {
    /// Which end.
    pub backend: Backend,
    /// A copy of what the guest sends.
    pub log: Option<LogSpec>,
    /// Bytes of output kept with nobody connected: 0 to [`MAX_HISTORY`].
    pub history: usize,
}

/// The kinds of ends, and their options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// The port's own output, which the card sees to: not opened here.
    Loopback,
    /// The card's other port: not opened here.
    Crossover,
    /// Takes all, sends nothing.
    Null,
    /// A pseudo-terminal.
    Pty {
        /// a symbolic link to make
        link: Option<PathBuf>,
    },
    /// A UNIX stream socket.
    Unix {
        /// its path
        path: PathBuf,
        /// who listens
        role: Role,
    },
    /// A TCP socket.
    Tcp {
        /// name or address, without brackets
        host: String,
        /// port or service; 0 for any that is free
        port: String,
        /// who listens
        role: Role,
        /// small packets go out at once (`TCP_NODELAY`)
        nodelay: bool,
    },
    /// A file that takes the output; there is no input.
    File {
        /// its path
        path: PathBuf,
        /// keep what is in it, or begin it anew; `None`: only if there is nothing in it
        append: Option<bool>,
    },
    /// Standard input and output.
    Stdio,
    /// Two FIFOs, `PATH.in` and `PATH.out`.
    Pipe {
        /// what is in front of `.in` and `.out`
        path: PathBuf,
    },
}

/// Who listens on a socket, and who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// We listen.
    Server {
        /// hold all output until the first client has come
        wait: bool,
    },
    /// We connect.
    Client {
        /// try again after this long; `None`: once, and it must succeed
        reconnect: Option<Duration>,
    },
}

/// A copy of the output in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSpec {
    /// its path
    pub path: PathBuf,
    /// keep what is in it, or begin it anew; `None`: only if there is nothing in it
    pub append: Option<bool>,
    /// the time in front of each line
    pub timestamp: bool,
}

/// What is wrong with a specification.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// A first word that names no end.
    #[error(
        "{word:?} is no back end; there are loopback, crossover, null, pty, unix:PATH, tcp:HOST:PORT, file:PATH, stdio and pipe:PATH"
    )]
    UnknownBackend {
        /// the word
        word: String,
    },
    /// One that this end does not have.
    #[error("{backend} has no option {name:?}; it takes {known}")]
    UnknownOption {
        /// the end
        backend: &'static str,
        /// the option
        name: String,
        /// those that it has
        known: &'static str,
    },
    /// What stands behind the colon is missing.
    #[error("{backend} needs {what}: write {form}")]
    Missing {
        /// the end
        backend: &'static str,
        /// what it needs
        what: &'static str,
        /// how it looks
        form: &'static str,
    },
    /// Something behind the colon of an end that takes nothing there.
    #[error("{backend} takes nothing behind a colon: write {backend}")]
    Surplus {
        /// the end
        backend: &'static str,
    },
    /// An option without a value.
    #[error("{name} needs a value: write {name}=PATH")]
    Empty {
        /// the option
        name: &'static str,
    },
    /// Neither `on` nor `off`.
    #[error("{name} is on or off, not {value:?}")]
    NotASwitch {
        /// the option
        name: &'static str,
        /// what was written
        value: String,
    },
    /// No number, or one that is too small or too large.
    #[error("{name} is a number from {least} to {most}, not {value:?}")]
    NotANumber {
        /// the option
        name: &'static str,
        /// what was written
        value: String,
        /// the least
        least: u64,
        /// the most
        most: u64,
    },
    /// A port that is none.
    #[error("{port:?} is no TCP port: a number from 0 to 65535, or the name of a service")]
    Port {
        /// what was written
        port: String,
    },
    /// An option without a name, or none at all between two commas or behind the last.
    #[error("there is a comma too many: one between two options, two within a value")]
    Comma,
    /// Options that exclude each other.
    #[error("{one} and {other} exclude each other: leave one of them out")]
    Conflict {
        /// one
        one: &'static str,
        /// the other
        other: &'static str,
    },
    /// Options of the log without a log.
    #[error("{name} says nothing without logfile=PATH: add that, or leave it out")]
    NoLog {
        /// the option
        name: &'static str,
    },
    /// A NUL, which no path and no name holds.
    #[error("there is a NUL in it, which no path and no name can hold")]
    Nul,
}

const COMMON: &str = "logfile=PATH, logappend=on|off, logtimestamp=on|off and history=BYTES";
const OF_SOCKET: &str = "server=on|off, wait=on|off, reconnect-ms=N, logfile=PATH, logappend=on|off, logtimestamp=on|off and history=BYTES";
const OF_TCP: &str = "server=on|off, wait=on|off, reconnect-ms=N, nodelay=on|off, logfile=PATH, logappend=on|off, logtimestamp=on|off and history=BYTES";
const OF_FILE: &str =
    "append=on|off, logfile=PATH, logappend=on|off, logtimestamp=on|off and history=BYTES";
const OF_PTY: &str =
    "path=LINK, logfile=PATH, logappend=on|off, logtimestamp=on|off and history=BYTES";

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if text.contains('\0') {
            return Err(SpecError::Nul);
        }
        let mut pieces = split(text).into_iter();
        let first = pieces.next().unwrap_or_default();
        let (word, rest) = match first.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (first.as_str(), None),
        };
        let (backend, mut words, known) = match word {
            "loopback" => (plain("loopback", rest, Backend::Loopback)?, "loopback", COMMON),
            "crossover" => (plain("crossover", rest, Backend::Crossover)?, "crossover", COMMON),
            "null" => (plain("null", rest, Backend::Null)?, "null", COMMON),
            "stdio" => (plain("stdio", rest, Backend::Stdio)?, "stdio", COMMON),
            "pty" => (Backend::Pty { link: rest.map(Into::into) }, "pty", OF_PTY),
            "file" => (
                Backend::File {
                    path: path("file", "the path of a file", "file:PATH", rest)?,
                    append: None,
                },
                "file",
                OF_FILE,
            ),
            "pipe" => {
                let path = path("pipe", "the path of two FIFOs", "pipe:PATH", rest)?;
                (Backend::Pipe { path }, "pipe", COMMON)
            }
            "unix" => {
                let path = path("unix", "the path of a socket", "unix:PATH", rest)?;
                (Backend::Unix { path, role: Role::Server { wait: false } }, "unix", OF_SOCKET)
            }
            "tcp" => (tcp(rest)?, "tcp", OF_TCP),
            word => return Err(SpecError::UnknownBackend { word: word.into() }),
        }
        .with(pieces);
        let backend = backend.options(&mut words)?;
        let log = log(&mut words)?;
        let history = words.number("history", 0, MAX_HISTORY as u64)?;
        words.finish(known)?;
        let history = history.and_then(|bytes| usize::try_from(bytes).ok());
        Ok(Self { backend, log, history: history.unwrap_or(DEFAULT_HISTORY) })
    }
}

/// A back end, its name, and what it takes.
trait With {
    fn with(self, pieces: std::vec::IntoIter<String>) -> (Backend, Words, &'static str);
}

impl With for (Backend, &'static str, &'static str) {
    fn with(self, pieces: std::vec::IntoIter<String>) -> (Backend, Words, &'static str) {
        (self.0, Words::new(self.1, pieces), self.2)
    }
}

impl Backend {
    /// Takes what is this end's own.
    fn options(self, words: &mut Words) -> Result<Self, SpecError> {
        Ok(match self {
            Self::Pty { link } => {
                let path = words.path("path")?.map(Into::into);
                match (&link, &path) {
                    (Some(link), _) if link.as_os_str().is_empty() => {
                        return Err(SpecError::Empty { name: "path" });
                    }
                    (Some(_), Some(_)) => {
                        return Err(SpecError::Conflict { one: "pty:LINK", other: "path=LINK" });
                    }
                    _ => Self::Pty { link: link.or(path) },
                }
            }
            Self::File { path, .. } => Self::File { path, append: words.switch("append")? },
            Self::Unix { path, .. } => Self::Unix { path, role: role(words)? },
            Self::Tcp { host, port, .. } => {
                let role = role(words)?;
                let (nodelay, delay) = (words.switch("nodelay")?, words.switch("delay")?);
                if nodelay.is_some() && delay.is_some() {
                    return Err(SpecError::Conflict { one: "nodelay", other: "delay" });
                }
                let nodelay = nodelay.or(delay.map(|delay| !delay)).unwrap_or(true);
                Self::Tcp { host, port, role, nodelay }
            }
            other => other,
        })
    }
}

fn plain(name: &'static str, rest: Option<&str>, it: Backend) -> Result<Backend, SpecError> {
    match rest {
        None => Ok(it),
        Some(_) => Err(SpecError::Surplus { backend: name }),
    }
}

fn path(
    backend: &'static str,
    what: &'static str,
    form: &'static str,
    rest: Option<&str>,
) -> Result<PathBuf, SpecError> {
    match rest {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err(SpecError::Missing { backend, what, form }),
    }
}

fn tcp(rest: Option<&str>) -> Result<Backend, SpecError> {
    let form = "tcp:HOST:PORT, or tcp::PORT for this host alone";
    let missing = SpecError::Missing { backend: "tcp", what: "a host and a port", form };
    let Some((host, port)) = rest.and_then(|rest| rest.rsplit_once(':')) else {
        return Err(missing);
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if port.is_empty() || (inner.is_none() && host.contains(':')) {
        return Err(missing);
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && port.parse::<u16>().is_err() {
        return Err(SpecError::Port { port: port.into() });
    }
    let host = inner.unwrap_or(host);
    let host = if host.is_empty() { LOOPBACK } else { host };
    let role = Role::Server { wait: false };
    Ok(Backend::Tcp { host: host.into(), port: port.into(), role, nodelay: true })
}

/// Who listens: we, unless told otherwise or to connect again.
fn role(words: &mut Words) -> Result<Role, SpecError> {
    let server = words.switch("server")?;
    let wait = words.switch("wait")?;
    let reconnect = words.number("reconnect-ms", 0, MAX_RECONNECT_MS)?;
    match (server.unwrap_or(reconnect.is_none()), wait, reconnect) {
        (true, wait, None) => Ok(Role::Server { wait: wait.unwrap_or(false) }),
        (true, _, Some(_)) => Err(SpecError::Conflict { one: "server=on", other: "reconnect-ms" }),
        (false, Some(_), _) => {
            let one = if server.is_some() { "server=off" } else { "reconnect-ms" };
            Err(SpecError::Conflict { one, other: "wait" })
        }
        (false, _, reconnect) => {
            let pause = reconnect.filter(|pause| *pause != 0).map(Duration::from_millis);
            Ok(Role::Client { reconnect: pause })
        }
    }
}

fn log(words: &mut Words) -> Result<Option<LogSpec>, SpecError> {
    let path = words.path("logfile")?;
    let (append, timestamp) = (words.switch("logappend")?, words.switch("logtimestamp")?);
    match (path, append, timestamp) {
        (Some(path), append, timestamp) => {
            let timestamp = timestamp.unwrap_or(false);
            Ok(Some(LogSpec { path: path.into(), append, timestamp }))
        }
        (None, Some(_), _) => Err(SpecError::NoLog { name: "logappend" }),
        (None, None, Some(_)) => Err(SpecError::NoLog { name: "logtimestamp" }),
        (None, None, None) => Ok(None),
    }
}
