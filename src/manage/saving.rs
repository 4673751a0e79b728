//! Whether a file can be written back: said at the start, not when there is something to lose.

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

#[cfg(test)]
mod tests {
    use std::fs;
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
