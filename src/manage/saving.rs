//! How a file is written back, and whether it can be: said at the start, not when there is something to lose.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::errors::plain;

/// Where the file of definitions is, links followed; it need not be there yet.
///
/// # Errors
/// A sentence that says why it could not be written back.
pub fn place(path: &Path) -> Result<PathBuf, String> {
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let error = |why: String| Err(format!("cannot save to {}: {why}", path.display()));
    // Whose mode forbids it is not to be replaced.
    if place.exists()
        && let Err(errno) = access(&place, Access::WRITE_OK)
    {
        return error(format!("{}; change its mode, or leave --save out", plain(&errno.into())));
    }
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    let shown = directory.display();
    if !directory.is_dir() {
        return error(format!("there is no directory {shown}; make it"));
    }
    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(place),
        Err(errno) => {
            let why = plain(&errno.into());
            error(format!(
                "files cannot be made in {shown}: {why}; use another, or leave --save out"
            ))
        }
    }
}

/// What a file is called while it is written: always the same, so that what a killed manager leaves is not there for good.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".mdev-user");
    path.with_file_name(name)
}

/// Takes away what an earlier manager did not come to finish.
pub fn clear(path: &Path) {
    let _ = fs::remove_file(unfinished(path));
}

/// Whoever reads the file finds the old or the new, whatever happens meanwhile.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mode = fs::metadata(path).map_or(0o600, |found| found.permissions().mode() & 0o777);
    let new = unfinished(path);
    clear(path);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        // Whatever the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| clear(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let words = place(Path::new("/no/such/devices.json")).unwrap_err();
        assert!(
            words.contains("/no/such/devices.json: there is no directory /no/such;"),
            "{words}"
        );
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let (file, link) = (root.join("file"), root.join("link"));
        fs::write(&file, "[]").unwrap();
        symlink("file", &link).unwrap();
        assert_eq!(place(&link), Ok(file));
        assert_eq!(place(&root.join("new")), Ok(root.join("new")));
        assert_eq!(place(Path::new("new")), Ok("new".into()));
    }
}
