//! What a client waits for its device when its manager has many: with the others idle, and with all at work. Beside it, what
//! a device takes of memory.

use std::path::Path;
use std::time::{Duration, Instant};

use super::client::Client;
use super::devices::raised_limit;
use super::machine::Cpus;
use super::manager::Manager;
use super::summary::Summary;
use super::{interval_name, median, ratios, spread};
use crate::cargo::build_program;
use crate::report::{Result, heading};

/// Devices of the managers that take turns; a client has each. The first is what all are compared with, the second its
/// control.
const CROWDS: [usize; 5] = [1, 1, 10, 100, 1000];
/// What one client may wait among so many, as a multiple of what it waits alone.
const BOUND: f64 = 1.1;
/// How long a turn is, and what comes before it.
const TURN: Duration = Duration::from_millis(8);
const WARM: Duration = Duration::from_millis(2);
/// How it is named, and what a manager is told of it.
const MODES: [(&str, &str); 2] = [("--poll-us 0", "0"), ("polling", "100")];

/// A manager with devices, a client for each, and what was measured.
struct Crowd {
    size: usize,
    manager: Manager,
    clients: Vec<Client>,
    /// KiB a device, with its client.
    memory: f64,
    /// Microseconds of a read, a round each: of one client, and of all at once.
    alone: Vec<f64>,
    together: Vec<f64>,
}

impl Crowd {
    fn gather(program: &Path, size: usize, poll: &str) -> Result<Self> {
        let ports = size.to_string();
        let arguments = ["--loops", "1", "--mtty-ports", &ports, "--poll-us", poll];
        let mut manager = Manager::start(program, &arguments)?;
        let before = manager.held()?.memory;
        let mut clients = Vec::new();
        for _ in 0..size {
            clients.push(Client::connect(&manager.create("mtty-1")?.socket)?);
        }
        let memory = (manager.held()?.memory - before) / size as f64;
        Ok(Self { size, manager, clients, memory, alone: Vec::new(), together: Vec::new() })
    }

    fn turn(&mut self) -> Result {
        let time = repeat(|| self.clients.first_mut().map_or(Ok(()), Client::read))?;
        self.alone.push(time);
        let time = repeat(|| {
            self.clients.iter_mut().try_for_each(Client::ask)?;
            self.clients.iter_mut().try_for_each(Client::take)
        })?;
        self.together.push(time / self.size as f64);
        Ok(())
    }
}

/// Microseconds, the median of a turn.
fn repeat(mut what: impl FnMut() -> Result) -> Result<f64> {
    let mut times = Vec::new();
    let begin = Instant::now();
    // At least once each: a thousand clients take longer than a turn.
    while begin.elapsed() < WARM + TURN || times.is_empty() {
        let is_warm = begin.elapsed() >= WARM;
        let begin = Instant::now();
        what()?;
        if is_warm {
            times.push(begin.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(median(&times))
}

/// Prints the tables.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    raised_limit();
    heading("Building mdev-user");
    let program = build_program()?;
    let cpus = Cpus::two()?;
    for (mode, poll) in MODES {
        heading(&format!("One client's read among many, {mode}: {}, one loop", cpus.named()));
        let gathered = || CROWDS.iter().map(|size| Crowd::gather(&program, *size, poll)).collect();
        let mut crowds: Vec<Crowd> = cpus.start(gathered)?;
        cpus.measure(|| {
            for round in 0..rounds {
                // There, and in the next round back.
                for turn in 0..crowds.len() {
                    let at = if round % 2 == 0 { turn } else { crowds.len() - 1 - turn };
                    crowds.get_mut(at).map_or(Ok(()), Crowd::turn)?;
                }
            }
            Ok(())
        })?;
        print(&crowds, rounds);
        if let ([one, again, ..], Some(most)) = (&crowds[..], crowds.last()) {
            let name = format!("a read among {} idle devices, {mode} / alone", most.size);
            let control = ratios(&again.alone, &one.alone);
            summary.against(&name, &ratios(&most.alone, &one.alone), &control, BOUND);
            let name = format!("a read of {} at work, {mode} / alone", most.size);
            summary.ratios(&name, &ratios(&most.together, &one.alone), None);
            summary.figure(&format!("KiB a device of {}, {mode}", most.size), most.memory, None);
        }
        for crowd in crowds {
            drop(crowd.clients);
            crowd.manager.stop()?;
        }
    }
    Ok(())
}

fn print(crowds: &[Crowd], rounds: usize) {
    println!(
        "{:>8} {:>14} {:>24} {:>14} {:>24} {:>12}",
        "devices",
        "one, of idle",
        "as a multiple of alone",
        "each, of all",
        "as a multiple",
        "memory"
    );
    let Some(one) = crowds.first() else { return };
    for crowd in crowds {
        println!(
            "{:>8} {:>11.2} us {:>24} {:>11.2} us {:>24} {:>8.1} KiB",
            crowd.size,
            median(&crowd.alone),
            spread(&ratios(&crowd.alone, &one.alone)),
            median(&crowd.together),
            spread(&ratios(&crowd.together, &one.alone)),
            crowd.memory,
        );
    }
    println!(
        "\nMedians of {rounds} rounds ({}); the second row is the control. Of all: each asks before one is\n\
         answered, and the time is that of all, divided. Memory is a device's with its client; a manager's first devices\n\
         pay for what it makes once.",
        interval_name(rounds)
    );
}
