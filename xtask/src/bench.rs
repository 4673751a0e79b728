//! `cargo xtask bench`: our devices beside QEMU's own, in one guest, taking turns.

mod display;
mod serial;

use clap::ValueEnum;

use crate::report::Result;

/// What runs in the guest.
const PROBE: &str = include_str!("bench/probe.rs");

/// What is measured.
#[derive(Clone, Copy, ValueEnum)]
pub enum Of {
    /// A register, and 64 KiB through a tty
    Serial,
    /// Stores to a framebuffer and loads from it
    Display,
}

/// Measures, and prints a table for each. `rounds`: how often each device takes its turn.
pub fn run(of: Option<Of>, rounds: Option<usize>) -> Result {
    if of.is_none_or(|of| matches!(of, Of::Serial)) {
        serial::run(rounds.unwrap_or(7))?;
    }
    if of.is_none_or(|of| matches!(of, Of::Display)) {
        display::run(rounds.unwrap_or(101))?;
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
