//! `cargo xtask sanitize`: the tests of what has unsafe code, and of what has threads, under a sanitizer of the compiler's.

use std::process::Command;

use clap::ValueEnum;

use crate::cargo::{cargo, succeed};
use crate::report::{Result, heading};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum With {
    /// Memory that is not there (any more), and memory that nobody gives back
    Address,
    /// Threads that use the same memory at the same time
    Thread,
}

/// The crates with unsafe code, and the entry points of the fuzz targets, which reach the program's.
const TESTS: [&str; 2] = [
    "--package vfio-device --package vfio-user-server --package chardev --all-features --tests",
    "--package mdev-user --lib --test fuzz_corpus --test mutations",
];

pub fn run(only: Option<With>) -> Result {
    let host = host()?;
    for with in only.map_or(vec![With::Address, With::Thread], |with| vec![with]) {
        let name = match with {
            With::Address => "address",
            With::Thread => "thread",
        };
        for tests in TESTS {
            heading(&format!("{name}: {tests}"));
            let mut test = cargo("test --locked --no-fail-fast --target");
            test.args([&host, "--target-dir", &format!("target/sanitize-{name}")]);
            if with == With::Thread {
                // The standard library's own locks have to be seen too.
                test.arg("-Zbuild-std");
            }
            test.args(tests.split(' '));
            // The compiler keeps its sanitizers for those who say that they know them to be unstable.
            test.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", format!("-Zsanitizer={name}"));
            // Where a panic is expected, looking its frames up takes longer than a client has for its greeting.
            test.env("RUST_BACKTRACE", "0");
            succeed(&mut test)?;
        }
    }
    Ok(())
}

/// The target that this machine is: with one, nothing that runs while building is sanitized.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc names no host")?.to_owned())
}
