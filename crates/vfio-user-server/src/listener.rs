//! The socket on which clients come.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use thiserror::Error;

use crate::closer;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;
/// Bytes of a path that fit into a socket address in front of a NUL.
const MAX_PATH: usize = 107;
/// How often, and at what distance, to try for the lock of a directory: 0.2 s in all.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a socket could not be made at a path.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No path at all, which the system takes for a wish to name the socket itself.
    #[error("the path of the socket is empty; name one")]
    Empty,
    /// Longer than a socket address can hold.
    #[error(
        "socket path {path} is too long: at most 107 bytes fit into a socket address; use a shorter directory"
    )]
    TooLong {
        /// the path
        path: PathBuf,
    },
    /// A server answers there.
    #[error("socket {path} is in use by another server; stop that one, or use another path")]
    InUse {
        /// the path
        path: PathBuf,
    },
    /// A file, a directory, ... that is not ours to take away.
    #[error("{path} exists and is not a socket; it is left alone, use another path")]
    NotASocket {
        /// the path
        path: PathBuf,
    },
    /// The system would not.
    #[error("cannot make socket {path}: {}", why(path, error))]
    Io {
        /// the path
        path: PathBuf,
        /// why
        error: io::Error,
    },
}

/// What the system has against a socket at `path`, in words that help.
fn why(path: &Path, error: &io::Error) -> String {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = directory.display();
    match error.kind() {
        io::ErrorKind::NotFound if !directory.exists() => {
            format!("there is no directory {name}; make it, or use another path")
        }
        io::ErrorKind::NotADirectory => format!("{name} is not a directory; use another path"),
        io::ErrorKind::PermissionDenied if path.exists() => {
            "it is there and belongs to somebody else; use another path".into()
        }
        io::ErrorKind::PermissionDenied => {
            format!("you may not make files in {name}; use another directory")
        }
        io::ErrorKind::WouldBlock => format!(
            "a stale one is there, and another program keeps {name} locked (flock); use another directory"
        ),
        _ => format!("{error}; use another path"),
    }
}

/// A listening socket; one that was made here goes from the file system when it is dropped, one that was inherited
/// stays.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// The path, and the inode that was made there: if that has been replaced, it is not ours to remove.
    own: Option<(PathBuf, (u64, u64))>,
}

impl Listener {
    /// Makes a socket at `path`, mode 0600 from its first moment. One that is there already is taken over if nobody
    /// listens on it any more.
    ///
    /// # Errors
    /// [`ListenError`] names the path and the way out.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        if path.as_os_str().is_empty() {
            return Err(ListenError::Empty);
        }
        let io = |error: io::Error| ListenError::Io { path: path.into(), error };
        // Linux would take 108 bytes and no NUL behind them, and most clients would not.
        let address = Some(path)
            .filter(|path| path.as_os_str().len() <= MAX_PATH)
            .and_then(|path| SocketAddrUnix::new(path).ok())
            .ok_or_else(|| ListenError::TooLong { path: path.into() })?;
        // One at a time in a directory: a socket that is bound and does not listen yet looks stale to others.
        let lock = lock_directory(path);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| io(errno.into()))?;
        // Linux gives the file the mode of the socket: no moment in which others could connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|errno| io(errno.into()))?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                lock.as_ref().map_err(|error| io(error.kind().into()))?;
                remove_stale(path, &address)?;
                bind(&socket, &address).map_err(|errno| io(errno.into()))?;
            }
            done => done.map_err(|errno| io(errno.into()))?,
        }
        let inode = inode(path).map_err(io)?;
        // From here on a failure takes the file away again.
        let listener = Self { socket: socket.into(), own: Some((path.into(), inode)) };
        listen(&listener, BACKLOG).map_err(|errno| io(errno.into()))?;
        drop(lock);
        Ok(listener)
    }

    /// Takes a socket over that listens already. Its file, if it has one, is somebody else's.
    ///
    /// # Errors
    /// What making it non-blocking answered.
    pub fn inherited(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, own: None })
    }

    /// The path, if the socket was made here.
    pub fn path(&self) -> Option<&Path> {
        self.own.as_ref().map(|(path, _)| path.as_path())
    }

    /// Accepts a connection, if one waits. The socket blocks, whatever the listener does.
    ///
    /// # Errors
    /// What the system answered, as when this process can open no more descriptors.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((socket, _)) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The client left before we got to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, made)) = &self.own
            && inode(path).is_ok_and(|found| found == *made)
            && let Err(error) = fs::remove_file(path)
        {
            log::warn!("cannot remove socket {}: {error}", path.display());
        }
        // Who has not been accepted may have sent what is not to be closed here. Those who wait at an inherited socket are
        // for whoever holds it next.
        let most = if self.own.is_some() { 2 * BACKLOG } else { 0 };
        for _ in 0..most {
            match self.socket.accept() {
                Ok((stream, _)) => closer::close_elsewhere(stream.into()),
                Err(_) => break,
            }
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Locks the directory of `path` against other servers. Others may lock it too, for reasons of their own and for ever:
/// so this waits a while and no longer.
fn lock_directory(path: &Path) -> io::Result<fs::File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = fs::File::open(parent.unwrap_or(Path::new(".")))?;
    for _ in 0..LOCK_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            done => return done.map(|()| directory).map_err(Into::into),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Removes a socket on which nobody listens.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), ListenError> {
    let io = |error: io::Error| ListenError::Io { path: path.into(), error };
    let found = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.into() });
    }
    // Without waiting: a server that has no time to accept is a server all the same.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| io(errno.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(io),
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS) => Err(io(Errno::ACCESS.into())),
        Ok(()) | Err(_) => Err(ListenError::InUse { path: path.into() }),
    }
}
