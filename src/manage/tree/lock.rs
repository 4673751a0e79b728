//! Whose a run directory is.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// In front of the pid. What has no such line has not been made by a manager.
const MARK: &str = "mdev-user manager ";

/// A file that is locked for a manager's life.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    pub(super) file: File,
}

/// Why a lock was not had.
pub enum Taken {
    Busy(String),
    NotOurs(PathBuf),
    Io(PathBuf, io::Error),
}

impl Lock {
    /// Takes the lock at `path`. Where there is none there must be nothing of what a manager makes either: `strange` finds
    /// that.
    pub fn take(path: &Path, strange: impl Fn() -> Option<PathBuf>) -> Result<Self, Taken> {
        let io = |error| Taken::Io(path.into(), error);
        loop {
            if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
                return Err(Taken::NotOurs(path.into()));
            }
            let nofollow = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
            let found = OpenOptions::new().read(true).write(true).custom_flags(nofollow).open(path);
            let file = match found {
                Err(error) if error.kind() == io::ErrorKind::NotFound => match strange() {
                    Some(path) => return Err(Taken::NotOurs(path)),
                    None => make(path).map_err(io)?,
                },
                found => Some(found.map_err(io)?),
            };
            // Somebody was quicker.
            let Some(file) = file else { continue };
            let Some(pid) = pid(&file) else { return Err(Taken::NotOurs(path.into())) };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => (),
                Err(Errno::WOULDBLOCK) => return Err(Taken::Busy(pid)),
                Err(errno) => return Err(io(errno.into())),
            }
            let lock = Self { path: path.into(), file };
            // One that went while we waited for it locks nothing.
            if lock.is_there() {
                mark(&lock.file).map_err(io)?;
                return Ok(lock);
            }
        }
    }

    /// Whether it still locks what is there: a directory of this name can be another one by now.
    pub fn is_there(&self) -> bool {
        let same =
            |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        let found = fs::symlink_metadata(&self.path);
        found.is_ok_and(|found| self.file.metadata().is_ok_and(|ours| same(&found, &ours)))
    }

    /// Takes it away while it is locked: who waits for it sees that it is another one.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// A lock that is marked and locked from its first moment; `None` if there is one by now.
fn make(path: &Path) -> io::Result<Option<File>> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".lock-").tempfile_in(directory)?;
    flock(made.as_file(), FlockOperation::NonBlockingLockExclusive)?;
    mark(made.as_file())?;
    match made.persist_noclobber(path) {
        Ok(file) => Ok(Some(file)),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(failed) => Err(failed.error),
    }
}

/// Whoever reads meanwhile finds a mark at any time, and a manager that is killed leaves one.
fn mark(file: &File) -> io::Result<()> {
    let line = format!("{MARK}{}\n", std::process::id());
    file.write_all_at(line.as_bytes(), 0)?;
    file.set_len(line.len() as u64)
}

/// The pid behind the mark; `None` without a mark.
fn pid(file: &File) -> Option<String> {
    let mut start = [0; 64];
    let length = file.read_at(&mut start, 0).ok()?;
    let text = std::str::from_utf8(start.get(..length)?).ok()?;
    let pid = text.strip_prefix(MARK)?.lines().next()?;
    let is_pid = !pid.is_empty() && pid.bytes().all(|it| it.is_ascii_digit());
    is_pid.then(|| pid.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn of_many_who_want_it_at_once_one_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let (holders, had) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        let Ok(lock) = Lock::take(&path, || None) else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        had.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        lock.remove().unwrap();
                    }
                });
            }
        });
        assert!(had.into_inner() > 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
