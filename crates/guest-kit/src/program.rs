//! Programs for the guest that no busybox has.

use std::fs;
use std::process::Command;

use crate::{Error, Result};

/// Source of a program that sets a mode of the guest's first display and flips through buffers: `guest/flip.rs`, whose
/// first lines say how it is called.
pub const FLIP: &str = include_str!("guest/flip.rs");

/// How every program for the guest is compiled: static, as the guest has no libraries.
const STATIC: [&str; 6] =
    ["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "panic=abort"];

/// Compiles a program, written with the standard library alone in one file, for the guest. By rustc, or what `RUSTC`
/// names, and this machine's static C library.
pub fn program(source: &str) -> Result<Vec<u8>> {
    compile(source, &["-O", "-C", "strip=symbols"])
}

/// The same for a debugger: with what it needs to know of the source, nothing optimized, and at the addresses that the
/// file says.
pub fn program_to_debug(source: &str) -> Result<Vec<u8>> {
    compile(source, &["-g", "-C", "relocation-model=static"])
}

fn compile(source: &str, options: &[&str]) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir().map_err(Error::io("use", &std::env::temp_dir()))?;
    let (input, output) = (directory.path().join("program.rs"), directory.path().join("program"));
    fs::write(&input, source).map_err(Error::io("write", &input))?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(&rustc);
    command.args(STATIC).args(options).arg("-o").arg(&output).arg(&input);
    let said = command.output().map_err(Error::io("run", rustc.as_ref()))?;
    if !said.status.success() {
        return Err(Error::Program { output: String::from_utf8_lossy(&said.stderr).into_owned() });
    }
    fs::read(&output).map_err(Error::io("read", &output))
}
