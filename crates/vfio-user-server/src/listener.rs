//! The socket on which clients come.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use thiserror::Error;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// Why a socket could not be made at a path.
#[derive(Debug, Error)]
pub enum ListenError {
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
    #[error("cannot make socket {path}: {error}")]
    Io {
        /// the path
        path: PathBuf,
        /// why
        error: io::Error,
    },
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
        let io = |error: io::Error| ListenError::Io { path: path.into(), error };
        let address =
            SocketAddrUnix::new(path).map_err(|_| ListenError::TooLong { path: path.into() })?;
        // Two servers that find the same stale socket must not both take it over: one at a time in a directory.
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = fs::File::open(parent).map_err(io)?;
        flock(&directory, FlockOperation::LockExclusive).map_err(|errno| io(errno.into()))?;

        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| io(errno.into()))?;
        // Linux gives the file the mode of the socket: no moment in which others could connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|errno| io(errno.into()))?;
        remove_stale(path)?;
        bind(&socket, &address).map_err(|errno| io(errno.into()))?;
        listen(&socket, BACKLOG).map_err(|errno| io(errno.into()))?;
        let inode = inode(path).map_err(io)?;
        Ok(Self { socket: socket.into(), own: Some((path.into(), inode)) })
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

    /// Accepts a connection, if one waits.
    pub(crate) fn accept(&self) -> io::Result<Option<UnixStream>> {
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
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes a socket on which nobody listens.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let io = |error: io::Error| ListenError::Io { path: path.into(), error };
    let found = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    if !found.file_type().is_socket() {
        return Err(ListenError::NotASocket { path: path.into() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(io(error)),
        Ok(_) | Err(_) => Err(ListenError::InUse { path: path.into() }),
    }
}
