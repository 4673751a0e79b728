//! A UNIX socket at a path: made, taken over, removed. The same file serves `vfio-user-server` and `chardev`, which keep
//! nothing else in common and are published each by itself.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use thiserror::Error;

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
pub(crate) fn why(path: &Path, error: &io::Error) -> String {
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
        _ if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            "too many files are open; serve fewer devices and clients, or raise the limit (ulimit -n)".into()
        }
        _ => format!("{}; use another path", plain(error)),
    }
}

/// An error without the number that Rust puts after it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// The file of a socket that was made here; it goes with this.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// What was made: if that has been replaced, it is not ours to remove.
    inode: (u64, u64),
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove socket {}: {error}", self.path.display());
        }
    }
}

/// The address of a socket at `path`.
///
/// # Errors
/// [`ListenError`]: there is no path, or it is too long.
pub(crate) fn address(path: &Path) -> Result<SocketAddrUnix, ListenError> {
    if path.as_os_str().is_empty() {
        return Err(ListenError::Empty);
    }
    // Linux would take 108 bytes and no NUL behind them, and most clients would not.
    Some(path)
        .filter(|path| path.as_os_str().len() <= MAX_PATH)
        .and_then(|path| SocketAddrUnix::new(path).ok())
        .ok_or_else(|| ListenError::TooLong { path: path.into() })
}

/// Listens at `path` with a socket that does not block, mode 0600 from its first moment. One that is there already is
/// taken over if nobody listens on it any more.
///
/// # Errors
/// [`ListenError`] names the path and the way out.
pub(crate) fn listen_at(path: &Path, backlog: i32) -> Result<(OwnedFd, SocketFile), ListenError> {
    let io = |error: io::Error| ListenError::Io { path: path.into(), error };
    let address = address(path)?;
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
    let file = SocketFile { path: path.into(), inode };
    listen(&socket, backlog).map_err(|errno| io(errno.into()))?;
    drop(lock);
    Ok((socket, file))
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
