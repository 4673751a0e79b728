//! Files that are made or gone on with, and the words for what went wrong.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::OpenError;

/// Opens a file for output. One with something in it needs to be told what is to become of that: by the option `word`.
pub(crate) fn create(
    path: &Path,
    append: Option<bool>,
    word: &'static str,
) -> Result<File, OpenError> {
    let fail = |error| OpenError::file(path, error);
    // A FIFO that nobody reads, or a line without a carrier, must not hold us up: neither here nor later.
    let nonblock = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.write(true).create(true).custom_flags(nonblock.bits().cast_signed()).mode(0o666);
    // Not truncated before it is known what it is.
    let file = options.append(append == Some(true)).truncate(false).open(path).map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Ok(file);
    }
    keep(&file, path, append == Some(true))?;
    // Whoever had it may have written until now.
    if file.metadata().map_err(fail)?.len() != 0 {
        match append {
            None => return Err(OpenError::Exists { path: path.into(), word }),
            Some(false) => file.set_len(0).map_err(fail)?,
            Some(true) => (),
        }
    }
    Ok(file)
}

/// Keeps a file for as long as it is open: to write into it together is for those who all append.
pub(crate) fn keep(file: &File, path: &Path, shared: bool) -> Result<(), OpenError> {
    let kind = if shared {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match flock(file, kind) {
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { path: path.into() }),
        // Not every file system has locks.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What the system has against a file at `path`, in words that help.
pub(crate) fn why(path: &Path, error: &io::Error) -> String {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match error.kind() {
        io::ErrorKind::NotFound if directory.exists() => {
            "there is no such file; make it, or use another path".into()
        }
        io::ErrorKind::IsADirectory => "it is a directory; name a file in it".into(),
        io::ErrorKind::InvalidFilename => "its name is too long; use a shorter one".into(),
        io::ErrorKind::PermissionDenied if path.exists() => {
            "you may not open it; use another path, or change its mode".into()
        }
        _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            "it is a FIFO that nobody reads, or a socket; start its reader first, or use pipe:PATH"
                .into()
        }
        io::ErrorKind::WouldBlock => {
            format!("{}; use another path", crate::socket_path::plain(error))
        }
        // As against a socket.
        _ => crate::socket_path::why(path, error),
    }
}
