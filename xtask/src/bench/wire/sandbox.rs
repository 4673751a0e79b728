//! What the sandbox costs who waits for a register: the program with it beside the same without. Two of those without are the
//! control.

use super::message::Exchange;
use super::{Peer, beside, measure};
use crate::bench::machine::Cpus;
use crate::bench::summary::Summary;
use crate::bench::{interval_name, median, spread};
use crate::cargo::build_program;
use crate::report::{Result, heading};
use crate::server::Server;

/// Names, and what the server is told beside.
const SERVERS: [(&str, &[&str]); 3] = [
    ("--sandbox off", &["--sandbox", "off"]),
    ("--sandbox off, again", &["--sandbox", "off"]),
    ("with its sandbox", &[]),
];

/// What the sandbox may make of a read: its filter looks at each system call.
const MOST: f64 = 1.1;

/// Prints the table.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    heading("Building mdev-user");
    let program = build_program()?;
    // Nobody waits for another CPU there, and what a system call costs is not hidden behind that.
    let cpus = Cpus::one()?;
    let start = |(name, options): (&'static str, &[&str])| {
        let device = [&["mtty-1", "--poll-us", "0"], options].concat();
        Ok(Peer { name, server: Server::start(&program, &device)?, is_echo: false })
    };
    let peers: Vec<Peer> = cpus.start(|| SERVERS.into_iter().map(start).collect())?;
    let times = cpus.measure(|| measure(&peers, &Exchange::scratch_read(), rounds))?;
    heading(&format!(
        "A register of mtty-1 by `mdev-user serve --poll-us 0`: {}; as a multiple of the first, median ({})",
        cpus.named(),
        interval_name(rounds)
    ));
    for (at, (peer, of)) in peers.iter().zip(&times).enumerate() {
        println!("{:<22} {:6.2} us {}", peer.name, median(of), spread(&beside(&times, at, 0)));
    }
    peers.into_iter().try_for_each(|peer| peer.server.stop())?;
    let what = "register read on one CPU, mtty-1, sandbox / without";
    summary.against(what, &beside(&times, 2, 0), &beside(&times, 1, 0), MOST);
    Ok(())
}
