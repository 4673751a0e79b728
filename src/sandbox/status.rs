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
    /// The filter of system calls that was entered, if there was one.
    pub filter: Option<SeccompMode>,
    /// Version, and what it allows in few words.
    pub landlock: Option<(i32, Vec<String>)>,
    pub missing: Vec<String>,
}

/// What could not be looked at. To say "off" of it would be a lie.
const UNKNOWN: &str = "unknown";

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
        let threads = threads.as_ref().ok()?;
        Some(threads.iter().all(|status| field(status, name) == Some(wanted)))
    };
    // The kernel tells that there is a filter, and neither what it does nor whose it is.
    let seccomp = match (status.filter, every("Seccomp", "2")) {
        (None | Some(SeccompMode::Off), _) | (_, Some(false)) => "off",
        (_, None) => UNKNOWN,
        (Some(SeccompMode::Log), _) => "log",
        (Some(SeccompMode::Kill), _) => "kill",
    };
    let landlock = match &status.landlock {
        None => Value::Null,
        Some((version, allowed)) => match is_confined(allowed) {
            Ok(true) => json!({ "abi": version, "allows": allowed }),
            Ok(false) => Value::Null,
            Err(_) => UNKNOWN.into(),
        },
    };
    json!({
        "mode": mode,
        "no_new_privs": every("NoNewPrivs", "1").map_or(UNKNOWN.into(), Value::from),
        "seccomp": seccomp,
        "landlock": landlock,
        "core_limit": getrlimit(Resource::Core).current,
        "missing": status.missing,
    })
}

/// `status` of each thread.
///
/// # Errors
/// They cannot be read now, for want of a descriptor for instance.
fn threads() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(task?.path().join("status")) {
            Ok(status) => found.push(status),
            Err(error) if has_ended(&error) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether a thread was listed, and has ended since.
fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Of Landlock /proc tells nothing. So it is tried: anybody may list the root, but who is kept from it.
fn is_confined(allowed: &[String]) -> io::Result<bool> {
    let may_list = allowed.iter().any(|it| it == "write /" || it == "read /");
    match fs::read_dir("/") {
        _ if may_list => Ok(true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
        Err(error) => Err(error),
    }
}
