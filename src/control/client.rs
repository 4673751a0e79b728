//! The other end of a control socket: what the commands ask it with.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, socket_with,
};
use serde_json::{Map, Value};

use super::lines;
use crate::errors::{plain, printable};

/// For what takes as long as it takes.
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// How long all answers to one command may take, each of which the server gives within 5 s if it can.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The verb whose answer more lines follow.
pub const EVENTS: &str = "events";
/// Bytes of an answer.
const MAX_LINE: usize = 16 << 20;

/// Why there is no answer; the text names the socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use control socket {path}: {why}")]
    Connect { path: PathBuf, why: String },
    #[error("cannot use control socket {path}: {why}")]
    Absent { path: PathBuf, why: String },
    #[error("{path} is not a control socket; name the one that was given to --control-path")]
    NotOne { path: PathBuf },
    #[error("the server at {path} has ended; start it again")]
    Ended { path: PathBuf },
    #[error(
        "the server at {path} does not answer: no answer came within {patience:?}; see what keeps it, or start it again"
    )]
    Late { path: PathBuf, patience: Duration },
    #[error("the server at {path} does not answer: {why}; see what keeps it, or start it again")]
    Silent { path: PathBuf, why: String },
    #[error("{errno}: {message}")]
    Refused { errno: String, message: String },
}

/// Until when answers are waited for, however many there are.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    begun: Instant,
    patience: Duration,
}

impl Deadline {
    /// This long from now on.
    pub fn after(patience: Duration) -> Self {
        Self { begun: Instant::now(), patience }
    }

    /// What is left of it; an error if nothing is.
    fn left(&self) -> io::Result<Duration> {
        let left = self.patience.saturating_sub(self.begun.elapsed());
        // To a socket none at all would mean no limit, as would less than its clock can tell.
        let left = (!left.is_zero()).then(|| left.max(Duration::from_millis(1)));
        left.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl Error {
    /// Whether the next time can be another: the server is busy or about to start.
    pub fn can_pass(&self) -> bool {
        match self {
            Self::Late { .. } | Self::Absent { .. } => true,
            Self::Refused { errno, .. } => errno == "EAGAIN",
            _ => false,
        }
    }
}

/// An answer: what stands behind `ok`, and the descriptor that came with it.
pub struct Answer {
    pub value: Value,
    pub fd: Option<OwnedFd>,
}

/// A connection to a control socket.
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    has_answered: bool,
    /// What came behind the last line.
    rest: Vec<u8>,
}

impl Client {
    /// Connects, waiting until the deadline for a server that does not accept.
    pub fn connect(path: &Path, deadline: Deadline) -> Result<Self, Error> {
        let stream = open(path, deadline).map_err(|errno| match errno {
            Errno::AGAIN => Error::Late { path: path.into(), patience: deadline.patience },
            errno => {
                let (path, why) = (path.to_owned(), why(path, errno));
                let absent =
                    errno == Errno::NOENT || errno == Errno::CONNREFUSED && is_socket(&path);
                if absent { Error::Absent { path, why } } else { Error::Connect { path, why } }
            }
        })?;
        Ok(Self { stream: stream.into(), path: path.into(), has_answered: false, rest: Vec::new() })
    }

    /// Says a verb and returns what it is answered with until the deadline. After an error the connection is of no more
    /// use.
    pub fn ask(
        &mut self,
        verb: &str,
        device: Option<&str>,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        self.request(verb, device, Map::new(), deadline)
    }

    /// The same with more members.
    pub fn request(
        &mut self,
        verb: &str,
        device: Option<&str>,
        request: Map<String, Value>,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        self.hand(verb, device, request, None, deadline)
    }

    /// The same with a descriptor, if there is one.
    pub fn hand(
        &mut self,
        verb: &str,
        device: Option<&str>,
        mut request: Map<String, Value>,
        fd: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        request.insert("verb".to_owned(), verb.into());
        request.extend(device.map(|device| ("device".to_owned(), device.into())));
        let line = Value::Object(request).to_string() + "\n";
        // One that has ended may have left an answer behind.
        let said = deadline.left().and_then(|left| {
            self.stream.set_write_timeout(Some(left))?;
            lines::send(&self.stream, line.as_bytes(), fd)
        });
        match said {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(self.silent(&error, deadline));
            }
            Ok(()) | Err(_) => (),
        }
        let (line, fd) = self.read_line(deadline)?;
        let path = self.path.clone();
        let not_one = || Error::NotOne { path: path.clone() };
        // An answer has one line. Events can come right behind theirs.
        if !self.rest.is_empty() && verb != EVENTS {
            return Err(not_one());
        }
        let mut answer: Map<String, Value> =
            serde_json::from_slice(&line).map_err(|_| not_one())?;
        if let Some(value) = answer.remove("ok") {
            self.has_answered = true;
            return Ok(Answer { value, fd });
        }
        let error = answer.remove("error").ok_or_else(not_one)?;
        let text = |member: &str| {
            error.get(member).and_then(Value::as_str).map(printable).ok_or_else(not_one)
        };
        Err(Error::Refused { errno: text("errno")?, message: text("message")? })
    }

    /// What follows an answer, until `deadline`; `None` when the server has ended.
    pub fn follow(&mut self, deadline: Deadline) -> Result<Option<Value>, Error> {
        let line = match self.read_line(deadline) {
            Ok((line, _)) => line,
            Err(Error::Ended { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(|_| Error::NotOne { path: self.path.clone() })
    }

    fn read_line(&mut self, deadline: Deadline) -> Result<(Vec<u8>, Option<OwnedFd>), Error> {
        let (mut line, mut fd) = (std::mem::take(&mut self.rest), None);
        let (mut buffer, mut searched) = ([0; 4096], 0);
        loop {
            if let Some(end) = line.iter().skip(searched).position(|byte| *byte == b'\n') {
                self.rest = line.split_off(searched + end + 1);
                return Ok((line, fd));
            }
            searched = line.len();
            // A server can also be slow on purpose, byte by byte.
            deadline
                .left()
                .and_then(|left| self.stream.set_read_timeout(Some(left)))
                .map_err(|error| self.silent(&error, deadline))?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = retry_on_intr(|| {
                let mut parts = [IoSliceMut::new(&mut buffer)];
                recvmsg(&self.stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
            });
            let received = match received {
                Ok(received) => received.bytes,
                Err(Errno::CONNRESET | Errno::PIPE) => 0,
                Err(errno) => return Err(self.silent(&errno.into(), deadline)),
            };
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    fd = rights.last().or(fd);
                }
            }
            let new = buffer.get(..received).unwrap_or_default();
            line.extend_from_slice(new);
            let path = self.path.clone();
            if received == 0 && self.has_answered && line.is_empty() {
                return Err(Error::Ended { path });
            }
            // A line has an end.
            if received == 0 || line.len() >= MAX_LINE {
                return Err(Error::NotOne { path });
            }
        }
    }

    fn silent(&self, error: &io::Error, deadline: Deadline) -> Error {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::WouldBlock => Error::Late { path, patience: deadline.patience },
            _ => Error::Silent { path, why: plain(error) },
        }
    }
}

fn open(path: &Path, deadline: Deadline) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let left = deadline.left().map_err(|_| Errno::AGAIN)?;
    set_socket_timeout(&socket, Timeout::Send, Some(left))?;
    retry_on_intr(|| connect(&socket, &address))?;
    Ok(socket)
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn why(path: &Path, errno: Errno) -> String {
    match errno {
        Errno::NOENT | Errno::NOTDIR => {
            "there is none; has the server been started, with --control-path (manage: --run-dir)?"
                .into()
        }
        Errno::CONNREFUSED if is_socket(path) => {
            "nobody listens there any more; start the server again".into()
        }
        Errno::CONNREFUSED if path.is_dir() => {
            "it is a directory; a manager's run directory is named by --run-dir".into()
        }
        Errno::CONNREFUSED | Errno::PROTOTYPE => {
            "it is something else; name the one that was given to --control-path".into()
        }
        Errno::ACCESS | Errno::PERM => {
            "it belongs to somebody else; run this as the user who runs the server".into()
        }
        Errno::NAMETOOLONG | Errno::INVAL => {
            "its path is too long, at most 107 bytes fit; use a shorter or a relative one".into()
        }
        _ => format!("{}; start the server again", plain(&errno.into())),
    }
}
