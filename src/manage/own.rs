//! What is a manager's own, and no device's: through it the manager is told what to do, by guests then.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::saving::unfinished;

/// Files and a directory, known by where they are and by what they are: a file can have more than one name.
#[derive(Debug, Default)]
pub struct Own {
    run_dir: Option<PathBuf>,
    /// By what each is called.
    files: Vec<(&'static str, PathBuf)>,
}

impl Own {
    /// `given` is the control socket that was handed over.
    pub fn new(run_dir: &Path, given: Option<&Path>, config: Option<&Path>) -> Self {
        let named = |name| move |path| (name, path);
        let mut files = Vec::new();
        // The manager's, whatever they are called elsewhere.
        files.extend(["control", "lock"].map(|it| ("in the run directory", run_dir.join(it))));
        files.extend(given.into_iter().flat_map(places).map(named("the control socket")));
        let config: Vec<_> = config.into_iter().flat_map(places).collect();
        // What it is written as, before it is there.
        let new: Vec<_> = config.iter().map(|path| unfinished(path)).collect();
        files.extend(config.into_iter().chain(new).map(named("the file of --config")));
        Self { run_dir: Some(run_dir.into()), files }
    }

    /// What of it is at `place`, which is no link, or one that is meant itself.
    pub fn at(&self, place: &Path) -> Option<&'static str> {
        let in_run_dir = self.run_dir.as_ref().is_some_and(|run_dir| {
            place.ancestors().any(|directory| directory == run_dir || same(directory, run_dir))
        });
        if in_run_dir {
            return Some("in the run directory");
        }
        let found = self.files.iter().find(|(_, path)| path == place || same(path, place));
        found.map(|(name, _)| *name)
    }
}

/// Where a file is that need not be there yet: by this name, and where links lead.
fn places(path: &Path) -> Vec<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    let named = parent.ok().zip(path.file_name()).map(|(parent, name)| parent.join(name));
    let followed = path.canonicalize().ok();
    named.into_iter().chain(followed).collect()
}

fn same(one: &Path, other: &Path) -> bool {
    let what = |path: &Path| path.symlink_metadata().map(|found| (found.dev(), found.ino())).ok();
    what(one).is_some_and(|one| what(other) == Some(one))
}
