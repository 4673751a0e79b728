//! `mdev-user --print-capabilities`: what a program that starts this one wants to know. `docs/control.md` has the form.

use std::error::Error;
use std::process::ExitCode;

use serde_json::json;

use super::types;
use crate::parents::Parents;

pub fn print() -> Result<ExitCode, Box<dyn Error>> {
    types::print_json(&json!({
        "program": "mdev-user",
        "version": env!("CARGO_PKG_VERSION"),
        "type": "vfio-user",
        "protocol": { "major": 0, "minor": 0 },
        "types": Parents::type_names(),
        "features": ["allow-path", "allow-uid", "control-path", "fault", "fd", "listen-fds", "manage", "notify-socket", "once", "poll-us", "ready-fd", "sandbox", "seccomp"],
    }))
}
