//! What is in force, as the kernel has it where it tells.

use std::fs;
use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::cli::{self, SandboxMode, SeccompMode};

/// What has been done when the sandbox was entered.
#[derive(Debug, Default)]
pub struct Status {
    pub options: cli::Sandbox,
    /// Version, and what it allows in few words.
    pub landlock: Option<(i32, Vec<String>)>,
    pub missing: Vec<String>,
}

static STATUS: OnceLock<Status> = OnceLock::new();

pub(super) fn set(status: Status) {
    let _ = STATUS.set(status);
}

/// As `info` has it. `null` in a program that has no sandbox to enter.
pub fn in_force() -> Value {
    let Some(status) = STATUS.get() else { return Value::Null };
    let mode = match status.options.mode {
        SandboxMode::Auto => "auto",
        SandboxMode::Strict => "strict",
        SandboxMode::Off => "off",
    };
    let threads = threads();
    let every = |name: &str, wanted: &str| {
        !threads.is_empty() && threads.iter().all(|status| field(status, name) == Some(wanted))
    };
    // The kernel tells that there is a filter, and not what it does.
    let seccomp = match (every("Seccomp", "2"), status.options.seccomp()) {
        (false, _) => "off",
        (true, SeccompMode::Log) => "log",
        (true, _) => "kill",
    };
    let landlock = status.landlock.as_ref().filter(|(_, allowed)| is_confined(allowed));
    json!({
        "mode": mode,
        "no_new_privs": every("NoNewPrivs", "1"),
        "seccomp": seccomp,
        "landlock": landlock.map(|(version, allowed)| json!({ "abi": version, "allows": allowed })),
        "core_limit": getrlimit(Resource::Core).current,
        "missing": status.missing,
    })
}

/// `status` of each thread, as far as /proc has them.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Of Landlock /proc tells nothing. So it is tried: anybody may list the root, but who is kept from it.
fn is_confined(allowed: &[String]) -> bool {
    let may_list = allowed.iter().any(|it| it == "write /" || it == "read /");
    let listed = fs::read_dir("/").map(drop);
    may_list || listed.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
