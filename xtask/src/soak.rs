//! `cargo xtask soak`: what takes too long for the test command.

use std::time::SystemTime;

use clap::Subcommand;

use crate::cargo::{cargo, succeed};
use crate::report::{Result, heading};

const SERIAL: &str =
    "data::random_bytes_each_way_on_both_ports_at_once_arrive_whole_and_crtscts_stops_either_side";
const MANAGER: &str = "a_manager_that_all_use_and_abuse_neither_grows_nor_complains";

/// What is to last.
#[derive(Subcommand)]
pub enum Of {
    /// Sends random bytes each way through both ports of a guest's serial card, with readers that stop and go on
    ///
    /// It is the test of the test command with 256 KiB, and more of it. The guest's driver has one of the ports with
    /// `crtscts`; md5sums are compared at both ends, and the driver's counters have to be exact. 4 MiB take about half
    /// an hour.
    Serial {
        /// So many each way on each port
        #[arg(long, default_value_t = 4)]
        mib: u32,
        /// What is sent and when it stops are made of it [default: another each time]
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Has one manager used by guests, clients, enemies and commands at once, and looks whether anything of it grows
    ///
    /// Two guests boot, use ports and displays, have devices plugged and unplugged, reboot, power off and are killed;
    /// clients come, map memory, leave in the middle and are killed; others flood and send garbage; every verb is used.
    /// Memory, descriptors, mappings and threads of the manager are sampled each 10 s, and compared when all devices are
    /// gone, six times in all; the first sixth of the time, or two minutes, is to warm up. A line a minute; table and
    /// verdict at the end, and in target/soak. Takes a few minutes more than it says.
    Manager {
        /// For so long
        #[arg(long, default_value_t = 60)]
        minutes: u32,
        /// What is done, and in which order, is made of it [default: another each time]
        #[arg(long)]
        seed: Option<u64>,
    },
}

/// Without a seed no two runs are the same.
pub fn run(of: Of) -> Result {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    match of {
        Of::Serial { mib, seed } => serial(mib, seed.unwrap_or(now)),
        Of::Manager { minutes, seed } => manager(minutes, seed.unwrap_or(now)),
    }
}

/// The guest test of serial data, with so many MiB each way on each of two ports.
fn serial(mib: u32, seed: u64) -> Result {
    let kib = mib.checked_mul(1024).filter(|kib| *kib != 0).ok_or("between 1 and 4194303 MiB")?;
    heading(&format!(
        "{mib} MiB each way on both ports; the same again: cargo xtask soak serial --mib {mib} --seed {seed}"
    ));
    let test = "test --release --locked --package mdev-user --test guest_serial --";
    let mut soak = cargo(test);
    soak.args(["--exact", "--nocapture", SERIAL]);
    succeed(soak.env("MDEV_USER_KIB", kib.to_string()).env("MDEV_USER_SEED", seed.to_string()))
}

fn manager(minutes: u32, seed: u64) -> Result {
    if minutes == 0 {
        return Err("--minutes: 1 at least, and an hour says more".into());
    }
    heading(&format!(
        "One manager for {minutes} minutes; the same again: cargo xtask soak manager --minutes {minutes} --seed {seed}"
    ));
    let mut soak = cargo("test --release --locked --package mdev-user --test soak --");
    soak.args(["--ignored", "--exact", "--nocapture", MANAGER]);
    succeed(
        soak.env("MDEV_USER_MINUTES", minutes.to_string()).env("MDEV_USER_SEED", seed.to_string()),
    )
}
