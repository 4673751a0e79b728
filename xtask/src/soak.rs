//! `cargo xtask soak`: the guest test of serial data, with more of it.

use std::time::SystemTime;

use crate::cargo::{cargo, succeed};
use crate::report::{Result, heading};

const TEST: &str =
    "data::random_bytes_each_way_on_both_ports_at_once_arrive_whole_and_crtscts_stops_either_side";

/// So many MiB each way on each of two ports. Without a seed no two runs are the same.
pub fn run(mib: u32, seed: Option<u64>) -> Result {
    let kib = mib.checked_mul(1024).filter(|kib| *kib != 0).ok_or("between 1 and 4194303 MiB")?;
    let seed = match seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
    };
    heading(&format!(
        "{mib} MiB each way on both ports; the same again: cargo xtask soak --mib {mib} --seed {seed}"
    ));
    let test = "test --release --locked --package mdev-user --test guest_serial --";
    let mut soak = cargo(test);
    soak.args(["--exact", "--nocapture", TEST]);
    succeed(soak.env("MDEV_USER_KIB", kib.to_string()).env("MDEV_USER_SEED", seed.to_string()))
}
