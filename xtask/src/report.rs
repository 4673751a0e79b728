//! What a task tells the person who started it.

use std::ffi::OsStr;
use std::iter;
use std::process::Command;

/// A task's result; the error is for a person to read.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Begins a part of the task's output.
pub fn heading(text: &str) {
    println!("\n=== {text}");
}

/// Says what is run.
pub fn show(command: &Command) {
    let words = iter::once(command.get_program()).chain(command.get_args());
    println!("{}", words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" "));
}
