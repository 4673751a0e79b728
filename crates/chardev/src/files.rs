//! Files that are made or gone on with, and the words for what went wrong.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

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
    let found = file.metadata().map_err(fail)?;
    if found.file_type().is_socket() || found.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    if found.is_file() && found.len() != 0 {
        match append {
            None => return Err(OpenError::Exists { path: path.into(), word }),
            Some(false) => file.set_len(0).map_err(fail)?,
            Some(true) => (),
        }
    }
    Ok(file)
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
        _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            "it is a FIFO that nobody reads, or a socket; start its reader first, or use pipe:PATH"
                .into()
        }
        io::ErrorKind::WouldBlock => format!("{error}; use another path"),
        // As against a socket.
        _ => crate::socket_path::why(path, error),
    }
}
