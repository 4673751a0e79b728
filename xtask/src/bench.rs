//! `cargo xtask bench`: ours beside other servers; our devices beside QEMU's own, in one guest, taking turns; many devices in
//! one process, and bad ones among them.

mod boot;
mod client;
mod devices;
mod display;
mod far_end;
mod floor;
mod latency;
mod machine;
mod manager;
mod neighbours;
mod protocol;
mod serial;
mod summary;
mod wire;

pub use wire::profile::run as profile;

use clap::ValueEnum;

use self::summary::Summary;
use crate::report::Result;

/// What runs in the guest.
const PROBE: &str = include_str!("bench/probe.rs");

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Of {
    /// One client and one server: ours, the vfio_user crate's, and an echo
    Wire,
    /// A register, and a tty each way
    Serial,
    /// Stores to a framebuffer and loads from it
    Display,
    /// What each of many devices of a manager costs
    Devices,
    /// What a client waits for among many devices, idle and at work
    Latency,
    /// What a client waits for beside bad neighbours
    Neighbours,
    /// From power-on to the guest's driver
    Boot,
    /// A guest's register, beside one of a server in C that does nothing but answer
    Floor,
}

/// Measures, and prints a table for each; in the end the figures that have to be something, and those that are not. `rounds`:
/// how often each takes its turn.
pub fn run(of: Option<Of>, rounds: Option<usize>) -> Result {
    machine::print();
    let mut summary = Summary::default();
    for part in Of::value_variants().iter().copied() {
        if of.is_some_and(|of| of != part) {
            continue;
        }
        let outcome = match part {
            Of::Wire => wire::run(rounds.unwrap_or(41), &mut summary),
            Of::Serial => serial::run(rounds.unwrap_or(11), &mut summary),
            Of::Display => display::run(rounds.unwrap_or(101), &mut summary),
            Of::Devices => devices::run(rounds.unwrap_or(3)),
            Of::Latency => latency::run(rounds.unwrap_or(21), &mut summary),
            Of::Neighbours => neighbours::run(rounds.unwrap_or(21), &mut summary),
            Of::Boot => boot::run(rounds.unwrap_or(7), &mut summary),
            Of::Floor => floor::run(rounds.unwrap_or(51), &mut summary),
        };
        if let Err(error) = &outcome {
            println!("\nerror: {error}");
        }
        let name = part.to_possible_value();
        summary.part(name.as_ref().map_or("", |name| name.get_name()), outcome);
    }
    summary.end()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One turn's as a multiple of the other's, round by round.
fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

/// Of fewer values [`median_interval`] is not one.
const FEWEST: usize = 6;

/// What [`spread`] has in brackets.
fn interval_name(rounds: usize) -> &'static str {
    if rounds < FEWEST { "least .. most" } else { "95 % interval of it" }
}

/// The median, and behind it the interval that holds it; of few values, all of them.
fn spread(values: &[f64]) -> String {
    let (least, most) = median_interval(values);
    format!("{:5.3} ({least:.3} .. {most:.3})", median(values))
}

/// An interval that holds the median of what the values are drawn from, 95 times of 100: order statistics, as they need
/// no idea of the distribution. Of n values the ranks are n/2 -+ 0.98 sqrt(n).
fn median_interval(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() as f64 / 2.0;
    let reach = 0.98 * (sorted.len() as f64).sqrt();
    let at = |rank: f64| {
        let index = rank.clamp(1.0, sorted.len() as f64) as usize - 1;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    };
    (at((half - reach).floor()), at((half + reach).ceil() + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rounds_have_no_interval_but_all_that_was_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(interval_name(values.len()), "least .. most");
        assert_eq!(spread(&values), "3.000 (1.000 .. 5.000)");
    }

    #[test]
    fn of_many_rounds_the_extremes_are_left_out() {
        let values: Vec<f64> = (1..=11).map(f64::from).collect();
        assert_eq!(interval_name(values.len()), "95 % interval of it");
        assert_eq!(spread(&values), "6.000 (2.000 .. 10.000)");
    }
}
