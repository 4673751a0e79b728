//! What a task tells the person who started it.

/// A task's result; the error is for a person to read.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Begins a part of the task's output.
pub fn heading(text: &str) {
    println!("\n=== {text}");
}
