//! Cargo, run in the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::report::Result;

/// The cargo that runs this task, at the repository's root.
pub fn cargo(arguments: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments.split(' '));
    if let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        cargo.current_dir(root);
    }
    cargo
}

/// Runs it, and says so.
pub fn succeed(command: &mut Command) -> Result {
    let shown =
        command.get_args().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ");
    println!("cargo {shown}");
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo {shown}: {status}").into()) }
}

/// Builds the program; where it is.
pub fn build_program() -> Result<PathBuf> {
    build("mdev-user")
}

/// Builds the program of a package, which has its name; where it is.
pub fn build(name: &str) -> Result<PathBuf> {
    build_one(name, name)
}

/// Builds a program of a package; where it is.
pub fn build_one(package: &str, name: &str) -> Result<PathBuf> {
    // Its place depends on cargo's settings; cargo says it.
    let output = cargo("build --release --locked")
        .args(["--package", package, "--bin", name])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{name} does not build").into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let executable = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(message.get("executable")?.as_str()?.into())
    };
    Ok(messages.lines().find_map(executable).ok_or("cargo named no program")?)
}
