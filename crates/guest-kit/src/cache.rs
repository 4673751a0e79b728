//! The directory that keeps what was fetched. An entry is a directory; it is filled under another name and renamed
//! when it is whole, so that an entry that exists is complete.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::progress;
use crate::{Error, Result};

pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$MDEV_USER_CACHE`, else `$XDG_CACHE_HOME/mdev-user`, else `~/.cache/mdev-user`.
    pub(crate) fn open() -> Result<Self> {
        let variable =
            |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = variable("MDEV_USER_CACHE")
            .or_else(|| {
                Some(variable("XDG_CACHE_HOME").filter(|dir| dir.is_absolute())?.join("mdev-user"))
            })
            .or_else(|| Some(variable("HOME")?.join(".cache/mdev-user")))
            .ok_or(Error::NoCache)?;
        let root = std::path::absolute(&root).map_err(Error::io("find the cache", &root))?;
        fs::create_dir_all(&root).map_err(Error::io("create", &root))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits until no other process fetches. The lock goes with the file.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        if lock.try_lock().is_err() {
            progress::line(&format!(
                "another process fills {}: waiting for it",
                self.root.display()
            ));
            lock.lock().map_err(Error::io("lock", &path))?;
        }
        Ok(lock)
    }

    /// Makes an entry; nothing is left of one that cannot be made. The caller holds the lock.
    pub(crate) fn fill(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let partial = self.path(&format!("{name}.partial"));
        remove_dir(&partial)?;
        fs::create_dir(&partial).map_err(Error::io("create", &partial))?;
        fill(&partial).inspect_err(|_| {
            // It takes space, and the next attempt removes what this leaves.
            let _ = remove_dir(&partial);
        })?;
        fs::rename(&partial, self.path(name)).map_err(Error::io("rename", &partial))
    }
}

pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_appears_when_it_is_complete_and_an_interrupted_one_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache { root: dir.path().to_owned() };
        let interrupted = cache.fill("qemu", |into| {
            fs::write(into.join("left-over"), "").unwrap();
            Err(Error::NoMirror)
        });
        assert!(interrupted.is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::create_dir_all(cache.path("qemu.partial/left-over")).unwrap(); // by one that was killed

        cache
            .fill("qemu", |into| {
                fs::write(into.join("whole"), "").map_err(Error::io("write", into))
            })
            .unwrap();
        let names: Vec<_> =
            fs::read_dir(cache.path("qemu")).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(names, ["whole"]);
    }
}
