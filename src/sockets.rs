//! Makes sockets; what the system has against one, in words that help.

use std::io;
use std::path::Path;

use vfio_user_server::{ListenError, Listener};

use crate::errors::plain;

/// [`Listener::bind`].
///
/// # Errors
/// A sentence that names the path and the way out.
pub fn bind(path: &Path) -> Result<Listener, String> {
    Listener::bind(path).map_err(|error| match error {
        ListenError::Io { path, error } => {
            format!("cannot make socket {}: {}", path.display(), why(&path, &error))
        }
        error => error.to_string(),
    })
}

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
        io::ErrorKind::WouldBlock => {
            format!(
                "a stale one is there, and another program keeps {name} locked (flock); use another directory"
            )
        }
        _ => format!("{}; use another path", plain(error)),
    }
}
