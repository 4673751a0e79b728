//! An hour of one manager: guests, plugs, clients, enemies, commands and pictures at once, by a seeded plan.
//!
//! Not a test that every change has to pass: `cargo xtask soak manager` runs it. In phases, each of which ends with all
//! devices removed but one, whose client stays: what the manager has then is compared from phase to phase, and what it has
//! meanwhile is sampled. Each actor is a thread that does one thing after another, drawn from the seed, and has devices of its own; what goes wrong
//! with one is counted, and all go on.
#![cfg(test)]

mod clients;
mod commands;
#[path = "../guest_hotplug/guest.rs"]
mod guest;
mod guests;
mod hostile;
#[path = "../common/managed.rs"]
mod managed;
#[path = "../common/picture.rs"]
mod picture;
#[path = "../common/random.rs"]
mod random;
mod resident;
mod samples;
mod stage;
mod verdict;
#[path = "../../crates/vfio-user-server/tests/common/client.rs"]
mod vfio;

use std::time::Duration;

use managed::Managed;
use random::from_environment;
use resident::Resident;
use samples::Report;
use stage::{Actor, Stage};

/// Loops of the manager.
const LOOPS: &str = "2";
/// Of which the first warms up.
const PHASES: u64 = 6;
/// For as long as this at least, or half of the time.
const WARM: Duration = Duration::from_secs(120);

/// Name, how many, what each does again and again.
const ACTORS: [(&str, usize, Actor); 5] = [
    ("guests", 2, guests::act),
    ("clients", 2, clients::act),
    ("enemies", 2, hostile::act),
    ("commands", 2, commands::act),
    ("listeners", 1, commands::listen),
];

#[test]
#[ignore = "takes an hour: cargo xtask soak manager"]
fn a_manager_that_all_use_and_abuse_neither_grows_nor_complains() {
    let minutes = from_environment("MDEV_USER_MINUTES", 60);
    let seed = from_environment("MDEV_USER_SEED", 1);
    guests::prepare();
    let time = Duration::from_secs(minutes * 60);
    let warm = (time / PHASES as u32).max(WARM.min(time / 2));
    let managed = Managed::start_with(&[
        "--loops",
        LOOPS,
        "--allow-path",
        "DIR",
        "--mtty-ports",
        "64",
        "--mdpy-max",
        "16",
        "--mbochs-mb",
        "512",
    ]);
    let mut resident = Resident::arrive(&managed);
    let stage = Stage::new(managed);
    let mut report = Report::new(&stage, minutes, seed);
    for number in 0..PHASES {
        let rest = (time - warm) / (PHASES as u32 - 1);
        let phase = if number == 0 { warm } else { rest };
        stage.play(&ACTORS, &mut resident, (seed, number), phase, &mut report);
        report.rest(&stage);
    }
    let failures = report.judge(&stage);
    resident.leave(&stage.managed);
    // It ends well, too; and before the log would be shown, of which there is a copy.
    drop(stage);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
