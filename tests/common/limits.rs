//! What a process may have, taken away from outside.

#![allow(dead_code, reason = "each test file uses a part of it")]

use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// From now on the process may open so many descriptors more.
pub fn limit_descriptors(pid: Pid, more: usize) {
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    let number = |name: std::ffi::OsString| name.to_str().unwrap().parse::<u64>().unwrap();
    let open: Vec<_> = open.map(|entry| number(entry.unwrap().file_name())).collect();
    let most = (0..).filter(|number| !open.contains(number)).nth(more).unwrap();
    limit(pid, Resource::Nofile, Some(most));
}

/// From now on the process may have so much of it; `None`: as much as it likes. What it may ask for stays as it is, so
/// the limit can be taken back.
pub fn limit(pid: Pid, what: Resource, current: Option<u64>) {
    let mut limit = rustix::process::getrlimit(what);
    // The child's own upper limit is this process's.
    limit.current = current.or(limit.maximum);
    prlimit(Some(pid), what, Rlimit { ..limit }).unwrap();
}
