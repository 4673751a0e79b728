//! What to do when a person, or a CI system, ends a task before its time: `Drop` does not run then.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, process, thread};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::report::Result;

/// Processes that would be left behind, each with a directory of its own.
static LEFT: Mutex<Vec<(Pid, PathBuf)>> = Mutex::new(Vec::new());

fn left() -> std::sync::MutexGuard<'static, Vec<(Pid, PathBuf)>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has SIGINT, SIGTERM and SIGHUP end what is listed, and then this process.
pub fn watch() -> Result {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            for (pid, directory) in left().drain(..) {
                let _ = kill_process(pid, Signal::KILL);
                let _ = fs::remove_dir_all(directory);
            }
            process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Lists a process.
pub fn list(pid: Pid, directory: &Path) {
    left().push((pid, directory.into()));
}

/// Takes it off again. To be done before it is waited for: its number may soon be another's.
pub fn forget(pid: Pid) {
    left().retain(|(listed, _)| *listed != pid);
}
