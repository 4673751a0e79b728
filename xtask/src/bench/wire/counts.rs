//! What an access costs a server, counted instead of timed: system calls, allocations, instructions; and how many posted
//! writes it takes at once.

#[path = "../../../../tests/common/system_calls.rs"]
pub mod system_calls;

use std::path::Path;
use std::thread;
use std::time::Duration;

use self::system_calls::{FUTEX_WAIT, system_calls, take_waits};
use super::message::{BURST, Exchange};
use super::{PEERS, POLLING, Peer, SLEEPING, instructions};
use crate::bench::machine::Cpus;
use crate::bench::median;
use crate::bench::summary::{Bound, Summary};
use crate::cargo::build_one;
use crate::report::{Result, heading};

/// Accesses that are counted together.
const ACCESSES: u64 = 1000;
/// Bursts that are looked at one by one.
const BURSTS: usize = 101;

/// Posted writes that a receive is to take.
const TOGETHER: f64 = 10.0;

/// A read that takes more user instructions than that has become slower.
const INSTRUCTIONS: f64 = 800.0;

/// Of one access.
struct Counts {
    calls: f64,
    waits: f64,
    allocations: f64,
    instructions: f64,
}

/// Prints the tables.
pub fn run(program: &Path, cpus: Cpus, summary: &mut Summary) -> Result {
    let peers = Peer::start_all(program, cpus)?;
    // Receives are counted in servers of their own, which are slower by it.
    let counting = Peer::start_all(&build_one("bench-peers", "bench-peers-counting")?, cpus)?;
    heading("A register read, counted");
    println!(
        "{:<20} {:>12} {:>8} {:>12} {:>18} {:>26}",
        "", "system calls", "waits", "allocations", "user instructions", "posted writes a receive"
    );
    for (at, (peer, counting)) in peers.iter().zip(&counting).enumerate() {
        // The control of the times is none of the counts.
        if at == 1 {
            continue;
        }
        let counts = count(program, peer, at)?;
        let posted = |at_once| cpus.measure(|| posted(counting, at_once));
        let posted = if peer.is_echo { None } else { Some((posted(true)?, posted(false)?)) };
        let dash = || "-".to_owned();
        println!(
            "{:<20} {:>12.3} {:>8.3} {:>12} {:>18} {:>26}",
            peer.name,
            counts.calls,
            counts.waits,
            if peer.is_echo { dash() } else { format!("{:.3}", counts.allocations) },
            format!("{:.0}", counts.instructions),
            posted.as_ref().map_or_else(dash, |(together, single)| {
                format!("{:.0}, {:.1}", median(together), median(single))
            }),
        );
        note(at, &counts, posted, summary);
    }
    println!(
        "\nSystem calls of {ACCESSES} reads by ptrace, without those that wait and what is done between two polls. Instructions\n\
         by ptrace too, of a server that finds each message at its first look if it polls. Allocations\n\
         and receives are counted within the server. Posted writes a receive: of a burst of {BURST} that is there at once,\n\
         and of one that comes one by one, {}, of which a server that keeps up finds few\n\
         together; medians of {BURSTS} bursts.",
        cpus.named()
    );
    Ok(())
}

fn count(program: &Path, peer: &Peer, at: usize) -> Result<Counts> {
    let mut user = peer.user(&Exchange::register_read())?;
    // What is done once is done then.
    for _ in 0..100 {
        user.once()?;
    }
    let mut outcome = Ok(());
    let mut calls = system_calls(peer.server.pid(), || {
        outcome = (0..ACCESSES)
            .try_for_each(|_| user.once().map(drop).map_err(|error| error.to_string()));
    })?;
    outcome?;
    let waits = take_waits(&mut calls);
    calls.remove(&nix::libc::SYS_sched_yield);
    calls.remove(&FUTEX_WAIT);
    let allocations = if peer.is_echo {
        0
    } else {
        user.count_allocations()?;
        let before = user.allocations()?;
        for _ in 0..ACCESSES {
            user.once()?;
        }
        user.allocations()? - before
    };
    let each = |count: u64| count as f64 / ACCESSES as f64;
    Ok(Counts {
        calls: each(calls.values().sum()),
        waits: each(waits),
        allocations: each(allocations),
        instructions: instructions::of_a_read(program, at)?,
    })
}

/// Writes that a server takes each time it receives something, of each burst: they are there at once, or come one by one.
fn posted(peer: &Peer, at_once: bool) -> Result<Vec<f64>> {
    let mut user = peer.user(&Exchange::posted_writes())?;
    let mut each = Vec::new();
    for _ in 0..BURSTS {
        each.push(BURST as f64 / user.receives(at_once)? as f64);
        // It sleeps before the next.
        thread::sleep(Duration::from_millis(1));
    }
    Ok(each)
}

fn note(at: usize, counts: &Counts, posted: Option<(Vec<f64>, Vec<f64>)>, summary: &mut Summary) {
    let Some((name, _)) = PEERS.get(at).filter(|_| at >= SLEEPING) else { return };
    let mut figure = |what: &str, value, bound| {
        summary.figure(&format!("{what}, {name}"), value, Some(bound));
    };
    figure("system calls a read", counts.calls, Bound::Most(2.0));
    if at == SLEEPING {
        // One was interrupted to begin the count.
        figure("waits a read", counts.waits, Bound::Most(1.0 + 2.0 / ACCESSES as f64));
    }
    figure("allocations a read", counts.allocations, Bound::Most(0.0));
    let (together, single) = posted.unwrap_or_default();
    let most = Bound::Least(TOGETHER);
    figure("posted writes a receive, there at once", median(&together), most);
    // A server that keeps up finds what has come since: the next write, if it has a CPU of its own.
    summary.aim(&format!("posted writes a receive, one by one, {name}"), &single, most);
    let goal = if at == POLLING { 300.0 } else { 600.0 };
    let what = format!("user instructions a read, {name}");
    summary.goal(&what, counts.instructions, goal, Bound::Most(INSTRUCTIONS));
}
