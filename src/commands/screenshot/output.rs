//! A file that appears when it is complete, and of which nothing stays otherwise.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Access, access};
use signal_hook::low_level::emulate_default_handler;

use crate::signals::Ending;

/// Has `fill` write a file, which takes the place of one that is there and has its mode. What is there and is no file, a
/// pipe say, is written to.
pub fn write(path: &Path, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let there = fs::metadata(path);
    if there.as_ref().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        // Which need not have a path that leads to it: /dev/stdout.
        return fill(&OpenOptions::new().write(true).open(path)?);
    }
    let path = target(path)?;
    let mode = match there {
        Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) => {
            let mode = there.permissions().mode() & 0o777;
            // Whoever made it so meant it, also where the directory would allow to replace it.
            if mode & 0o222 == 0 || access(&path, Access::WRITE_OK).is_err() {
                return Err(io::Error::other("it is there already, and may not be written"));
            }
            Some(mode)
        }
        Err(_) => None,
    };
    let unfinished = Unfinished::new()?;
    let file = unfinished.create(path.parent().filter(|parent| !parent.as_os_str().is_empty()))?;
    if let Some(mode) = mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    fill(&file)?;
    unfinished.persist(&path)
}

/// Where links lead.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if path.is_symlink() => Err(match error.kind() {
            io::ErrorKind::NotFound => io::Error::other("it is a link that leads nowhere"),
            _ => error,
        }),
        Err(_) => Ok(path.into()),
        there => there,
    }
}

/// The path of a file that is not complete, which is removed when this is dropped or SIGTERM, SIGINT or SIGHUP ends the
/// program.
struct Unfinished(Arc<Mutex<Option<PathBuf>>>);

impl Unfinished {
    fn new() -> io::Result<Self> {
        let path = Arc::new(Mutex::new(None));
        let ours = Arc::clone(&path);
        Ending::new()?.each(move |signal| {
            // Held to the end: there is no file after it.
            let mut path = ours.lock().unwrap_or_else(PoisonError::into_inner);
            remove(&mut path);
            let _ = emulate_default_handler(signal);
        })?;
        Ok(Self(path))
    }

    fn create(&self, directory: Option<&Path>) -> io::Result<File> {
        let mut path = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = tempfile::Builder::new()
            .prefix(".mdev-user-")
            .suffix(".png")
            .permissions(Permissions::from_mode(0o666)) // less the umask
            .tempfile_in(directory.unwrap_or(Path::new(".")))
            // The one that is told of is the one that was asked for.
            .map_err(|error| error.raw_os_error().map_or(error, io::Error::from_raw_os_error))?;
        let (file, name) = file.keep().map_err(|error| error.error)?;
        *path = Some(name);
        Ok(file)
    }

    /// Gives the file its name.
    fn persist(self, name: &Path) -> io::Result<()> {
        let mut path = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.as_ref().map_or(Ok(()), |path| fs::rename(path, name))?;
        *path = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        remove(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn remove(path: &mut Option<PathBuf>) {
    if let Some(path) = path.take() {
        let _ = fs::remove_file(path);
    }
}
