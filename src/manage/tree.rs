//! The run directory: what a script can read of a manager's devices, as in sysfs. Files and nothing else.
//!
//! A directory or a file appears whole or not at all: it is made under [`STAGING`] and renamed. What goes, goes the same
//! way back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::errors::plain;
use lock::{Lock, Taken};

mod lock;

/// Bytes of a path that fit into a socket address in front of a NUL.
const MAX_SOCKET_PATH: usize = 107;
/// The longest path of a device's socket below the run directory.
const LONGEST: &str = "/vfio/devices/vfio1048575";
/// What a manager makes in its run directory, beside the lock and the control socket.
const OURS: [&str; 4] = ["mdev_supported_types", "devices", "vfio", STAGING];
/// Where things are before they are all there, and after they are not.
const STAGING: &str = ".staging";
/// Says whose it is.
const LOCK: &str = "lock";

/// A run directory that is this process's own, until this is dropped: then nothing of it is left.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    lock: Lock,
    /// It was not there before.
    made: bool,
    /// Of names in the staging directory.
    next: u64,
    /// What files are to say that could not be written: there was no room, say.
    owed: BTreeMap<PathBuf, String>,
    /// Directories that could not be taken away.
    going: BTreeSet<PathBuf>,
}

/// Why there is no run directory.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error(
        "EBUSY: {path} is the run directory of another manager (pid {pid}); stop that one, or use another directory"
    )]
    Busy { path: PathBuf, pid: String },
    #[error(
        "{path} is {length} bytes long; for the sockets in it a run directory has {most} at most, use a shorter one"
    )]
    TooLong { path: PathBuf, length: usize, most: usize },
    #[error("{path} {what}; use another directory")]
    Unsafe { path: PathBuf, what: &'static str },
    #[error(
        "{path} is there, and no manager has made it{hint}; move it away, or use another directory"
    )]
    NotOurs { path: PathBuf, hint: &'static str },
    #[error("cannot use {path} as run directory: {why}")]
    Io { path: PathBuf, why: String },
}

/// What a type's directory says.
#[derive(Clone, Copy, Debug)]
pub struct TypeText<'a> {
    pub name: &'a str,
    pub pretty_name: &'a str,
    pub description: Option<&'a str>,
    pub device_api: &'a str,
}

impl Tree {
    /// Takes `path` as run directory, which is made if it is not there, and clears it of what an earlier manager left.
    /// `given` is the place of a control socket that was handed over: if that is the one here, it stays.
    ///
    /// # Errors
    /// [`TreeError`]: somebody else can write there, another manager has it, something else is there.
    pub fn open(path: &Path, given: Option<&Path>) -> Result<Self, TreeError> {
        let failed = |path: &Path, error: &io::Error| {
            let why = match error.kind() {
                io::ErrorKind::NotFound if path.is_symlink() => {
                    "it is a link that leads nowhere; use another path".into()
                }
                io::ErrorKind::NotFound => "there is no directory to make it in; make that".into(),
                io::ErrorKind::PermissionDenied => "you may not; use another directory".into(),
                io::ErrorKind::NotADirectory => "it is no directory; use another path".into(),
                _ => format!("{}; use another directory", plain(error)),
            };
            TreeError::Io { path: path.into(), why }
        };
        let made = match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(path, &error)),
        };
        let root = path.canonicalize().map_err(|error| failed(path, &error))?;
        let undo = |error| {
            if made {
                let _ = fs::remove_dir(&root);
            }
            error
        };
        check(&root).map_err(undo)?;
        let lock = take(&root, given).map_err(|error| match error {
            Taken::Busy(pid) => TreeError::Busy { path: root.clone(), pid },
            Taken::NotOurs(path) => {
                let hint = if is_socket(&path) {
                    " (systemd, perhaps, for mdev-user.socket: stop that, or let it start the manager)"
                } else {
                    ""
                };
                TreeError::NotOurs { path, hint }
            }
            Taken::Io(path, error) => failed(&path, &error),
        });
        let tree = Self {
            lock: lock.map_err(undo)?,
            made,
            next: 0,
            owed: BTreeMap::new(),
            going: BTreeSet::new(),
            root: root.clone(),
        };
        // From here on a failure takes it all away again.
        let begin = || {
            tree.clear()?;
            for name in OURS {
                private(&root.join(name))?;
            }
            private(&root.join("vfio/devices"))
        };
        begin().map_err(|error| failed(&root, &error))?;
        Ok(tree)
    }

    /// Lets others reach what is in it, as far as that lets them.
    pub fn let_others_pass(&self) -> io::Result<()> {
        let mut ways = vec![self.root.join("vfio"), self.root.join("vfio/devices")];
        ways.extend(self.made.then(|| self.root.clone()));
        ways.into_iter().try_for_each(|way| fs::set_permissions(way, Permissions::from_mode(0o711)))
    }

    /// Where the control socket belongs.
    pub fn control(root: &Path) -> PathBuf {
        root.join("control")
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a node's socket belongs.
    pub fn socket(&self, node: &str) -> PathBuf {
        self.root.join("vfio/devices").join(node)
    }

    /// Says what a type is.
    pub fn add_type(&mut self, text: TypeText<'_>, available: u32) -> io::Result<()> {
        let place = self.root.join("mdev_supported_types").join(text.name);
        self.build(&place, |directory| {
            file(&directory.join("name"), text.pretty_name)?;
            file(&directory.join("device_api"), text.device_api)?;
            file(&directory.join("available_instances"), &available.to_string())?;
            text.description.map_or(Ok(()), |it| file(&directory.join("description"), it))
        })
    }

    /// How many more devices of a type there can be.
    pub fn set_available(&mut self, kind: &str, available: u32) -> io::Result<()> {
        let place = self.root.join("mdev_supported_types").join(kind).join("available_instances");
        self.replace(&place, &available.to_string())
    }

    /// A device that is about to be.
    pub fn add(&mut self, uuid: Uuid, kind: &str, state: &str) -> io::Result<()> {
        self.build(&self.device(uuid), |directory| {
            let link = Path::new("../../mdev_supported_types").join(kind);
            symlink(link, directory.join("mdev_type"))?;
            file(&directory.join("state"), state)
        })
    }

    /// A device that can be opened, at the socket of `node`, from which on it has this state.
    pub fn publish(&mut self, uuid: Uuid, node: &str, state: &str) -> io::Result<()> {
        self.set_state(uuid, state)?;
        let device = self.device(uuid);
        self.build(&device.join("vfio-dev"), |directory| {
            let inner = directory.join(node);
            private(&inner)?;
            file(&inner.join("state"), state)?;
            file(&inner.join("open_count"), "0")
        })?;
        symlink(Path::new("../../vfio/devices").join(node), device.join("socket"))
    }

    /// How often a device is open, and by whom.
    pub fn set_open(&mut self, uuid: Uuid, node: &str, open_count: u32) -> io::Result<()> {
        let place = self.device(uuid).join("vfio-dev").join(node);
        self.replace(&place.join("open_count"), &open_count.to_string())
    }

    /// Who uses a device: `PID COMM`. With nobody the file goes.
    pub fn set_client(&mut self, uuid: Uuid, node: &str, client: Option<&str>) -> io::Result<()> {
        let place = self.device(uuid).join("vfio-dev").join(node).join("client");
        match client {
            Some(client) => self.replace(&place, client),
            None => {
                self.owed.remove(&place);
                absent(fs::remove_file(place))
            }
        }
    }

    pub fn set_state(&mut self, uuid: Uuid, state: &str) -> io::Result<()> {
        let place = self.device(uuid).join("state");
        self.replace(&place, state)
    }

    /// A device that cannot be opened any more. Its directory stays, with this state.
    pub fn hide(&mut self, uuid: Uuid, state: &str) -> io::Result<()> {
        let device = self.device(uuid);
        absent(fs::remove_file(device.join("socket")))?;
        let discarded = self.discard(&device.join("vfio-dev"));
        self.set_state(uuid, state)?;
        discarded
    }

    /// A device that is no more.
    pub fn remove(&mut self, uuid: Uuid) -> io::Result<()> {
        let device = self.device(uuid);
        self.discard(&device)
    }

    fn device(&self, uuid: Uuid) -> PathBuf {
        self.root.join("devices").join(uuid.to_string())
    }

    /// A name in the staging directory that nothing has.
    fn staged(&mut self) -> PathBuf {
        self.next += 1;
        self.root.join(STAGING).join(self.next.to_string())
    }

    /// Makes a directory, whole or not at all.
    fn build(
        &mut self,
        place: &Path,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.staged();
        self.going.remove(place);
        let built = private(&path).and_then(|()| fill(&path));
        built.and_then(|()| fs::rename(&path, place)).inspect_err(|_| {
            let _ = fs::remove_dir_all(&path);
        })
    }

    /// Has a file say something, if not now then when [`settle`](Self::settle) can write it.
    fn replace(&mut self, place: &Path, text: &str) -> io::Result<()> {
        let written = self.write(place, text);
        match &written {
            // Without a directory there is no file.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.owed.insert(place.into(), text.into());
            }
            _ => drop(self.owed.remove(place)),
        }
        written
    }

    /// Writes what could not be written and takes away what could not go, as far as that goes now. Returns whether all is
    /// done.
    pub fn settle(&mut self) -> bool {
        for place in mem::take(&mut self.going) {
            // What still cannot go is kept for another time.
            let _ = self.discard(&place);
        }
        for (place, text) in self.owed.clone() {
            if self.replace(&place, &text).is_err() && self.owed.contains_key(&place) {
                return false;
            }
        }
        self.going.is_empty()
    }

    /// Whether there are files that do not say what they are to.
    pub fn owes(&self) -> bool {
        !self.going.is_empty() || !self.owed.is_empty()
    }

    fn write(&mut self, place: &Path, text: &str) -> io::Result<()> {
        let path = self.staged();
        file(&path, text).and_then(|()| fs::rename(&path, place)).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }

    /// Takes a directory away, all of it in one moment.
    fn discard(&mut self, place: &Path) -> io::Result<()> {
        self.owed.retain(|owed, _| !owed.starts_with(place));
        let path = self.staged();
        let (gone, left) = match fs::rename(place, &path) {
            Ok(()) => (fs::remove_dir_all(&path), path),
            done => (absent(done), place.into()),
        };
        if gone.is_err() {
            self.going.insert(left);
        }
        gone
    }

    /// Takes away what managers make, and nothing else.
    fn clear(&self) -> io::Result<()> {
        OURS.iter().try_for_each(|name| absent(fs::remove_dir_all(self.root.join(name))))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let root = self.root.display();
        if !self.lock.is_there() {
            log::warn!("{root} is another manager's by now, or gone; it is left as it is");
            return;
        }
        if let Err(error) = self.clear().and_then(|()| self.lock.remove()) {
            log::warn!("{root} is not left as it was: {}", plain(&error));
        }
        if self.made {
            // It stays if there is something in it.
            let _ = fs::remove_dir(&self.root);
        }
    }
}

/// Takes the lock of a run directory in which nothing is but what managers make.
fn take(root: &Path, given: Option<&Path>) -> Result<Lock, Taken> {
    let ours = || OURS.iter().map(|name| root.join(name));
    let lock = Lock::take(&root.join(LOCK), || {
        let mut all = ours().chain([Tree::control(root)]).filter(|it| Some(&**it) != given);
        all.find(|it| it.symlink_metadata().is_ok())
    })?;
    // A manager makes directories of these names.
    let is_odd = |it: &PathBuf| it.symlink_metadata().is_ok_and(|found| !found.is_dir());
    match ours().find(is_odd) {
        Some(odd) => Err(Taken::NotOurs(odd)),
        None => Ok(lock),
    }
}

/// Whether nobody else can put anything there, and sockets in it can be reached.
fn check(root: &Path) -> Result<(), TreeError> {
    let path = || root.to_owned();
    let io = |error: io::Error| TreeError::Io { path: path(), why: plain(&error) };
    let found = fs::metadata(root).map_err(io)?;
    if !found.is_dir() {
        return Err(TreeError::Unsafe { path: path(), what: "is no directory" });
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(TreeError::Unsafe { path: path(), what: "belongs to somebody else" });
    }
    if found.permissions().mode() & 0o022 != 0 {
        return Err(TreeError::Unsafe { path: path(), what: "can be written to by others" });
    }
    let (length, most) = (root.as_os_str().len(), MAX_SOCKET_PATH - LONGEST.len());
    if length > most {
        return Err(TreeError::TooLong { path: path(), length, most });
    }
    Ok(())
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// A file of one line.
fn file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{text}\n").as_bytes())
}

/// What is not there need not be taken away.
fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests;
