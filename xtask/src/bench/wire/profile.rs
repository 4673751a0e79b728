//! In which functions of our server the instructions of an access are.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::ptrace;
use nix::unistd::Pid;

use super::instructions::steps;
use super::message::Exchange;
use super::{PEERS, Peer, SLEEPING};
use crate::cargo::build;
use crate::report::{Result, heading};

/// Messages whose instructions are counted, about, and exchanges before that.
const MESSAGES: usize = 600;
const WARM: usize = 3;
/// What has less of them, of an access, is not shown by itself.
const LEAST: f64 = 0.5;

/// Prints a table for each kind of access.
pub fn run() -> Result {
    heading("Building the server");
    let program = build("bench-peers")?;
    for exchange in Exchange::few() {
        let peer = Peer::start(&program, *PEERS.get(SLEEPING).ok_or("no such peer")?)?;
        let pid = Pid::from_raw(peer.server.pid().as_raw_nonzero().get());
        let mut user = peer.user(&exchange)?;
        let rounds = MESSAGES / exchange.messages.len();
        let (mut places, mut outcome) = (HashMap::new(), Ok(()));
        let counts = AtomicBool::new(false);
        let step = || {
            if counts.load(Ordering::SeqCst) {
                *places.entry(instruction(pid)?).or_insert(0u64) += 1;
            }
            Ok(())
        };
        steps(pid, step, || {
            outcome = (0..WARM + rounds).try_for_each(|round| {
                counts.store(round >= WARM, Ordering::SeqCst);
                user.once().map(drop).map_err(|error| error.to_string())
            });
            counts.store(false, Ordering::SeqCst);
        })?;
        outcome?;
        print(exchange.name, &by_function(pid, &places)?, (rounds * exchange.count()) as f64);
    }
    println!(
        "\nUser instructions, by ptrace, of `bench-peers ours --poll-us 0` from answer to answer; of a burst, for each write,\n\
         with its part of the read that ends it. A function has with it what the compiler has put into it."
    );
    Ok(())
}

/// Where a process that is stopped goes on.
fn instruction(pid: Pid) -> Result<u64> {
    let registers = ptrace::getregs(pid)?;
    #[cfg(target_arch = "x86_64")]
    return Ok(registers.rip);
    #[cfg(target_arch = "aarch64")]
    return Ok(registers.pc);
}

/// Adds up what is in one function, by what the process has mapped.
fn by_function(pid: Pid, places: &HashMap<u64, u64>) -> Result<BTreeMap<String, u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    // Of each file the first map, which is where its addresses count from, and all that are in it.
    let mut files: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in maps.lines() {
        let Some((range, rest)) = line.split_once(' ') else { continue };
        let Some((from, to)) = range.split_once('-') else { continue };
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let Some(name) = rest.split_whitespace().nth(4) else { continue };
        files.entry(name).or_insert((from, to)).1 = to;
    }
    let mut functions = BTreeMap::new();
    for (name, (from, to)) in files {
        let here: Vec<_> = places.iter().filter(|(at, _)| (from..to).contains(*at)).collect();
        if here.is_empty() {
            continue;
        }
        let symbols =
            if name.starts_with('/') { symbols(Path::new(name))? } else { BTreeMap::new() };
        for (at, count) in here {
            let at = at - from;
            let before = symbols.range(..=at).next_back();
            let within = before.filter(|(start, (size, _))| at < **start + size);
            let function = within.map_or_else(|| format!("in {name}"), |(_, (_, it))| it.clone());
            *functions.entry(function).or_insert(0) += count;
        }
    }
    Ok(functions)
}

/// The functions of a file by where they begin: how long they are, and their names.
fn symbols(file: &Path) -> Result<BTreeMap<u64, (u64, String)>> {
    let mut symbols = BTreeMap::new();
    // A library may have no others than those that it is linked by.
    for more in [&[][..], &["--dynamic"]] {
        let mut nm = Command::new("nm");
        nm.args(["--defined-only", "--print-size", "--demangle"]).args(more).arg(file);
        let output = nm.output().map_err(|error| {
            format!("nm: {error}; it names functions, and comes with binutils: install that")
        })?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.splitn(4, ' ');
            let mut number = || u64::from_str_radix(words.next()?, 16).ok();
            let (Some(start), Some(size)) = (number(), number()) else { continue };
            if let (Some("t" | "T" | "w" | "W" | "i"), Some(name)) = (words.next(), words.next()) {
                symbols.insert(start, (size, plain(name).to_owned()));
            }
        }
    }
    Ok(symbols)
}

/// A name without the hash that the compiler puts behind it.
fn plain(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((plain, hash)) if hash.len() == 16 => plain,
        _ => name,
    }
}

fn print(name: &str, functions: &BTreeMap<String, u64>, accesses: f64) {
    heading(&format!("{name}: instructions of one, by function"));
    let mut rows: Vec<_> =
        functions.iter().map(|(name, count)| (*count as f64 / accesses, name.as_str())).collect();
    rows.sort_by(|one, other| other.0.total_cmp(&one.0));
    let all: f64 = rows.iter().map(|(count, _)| count).sum();
    let shown = rows.iter().filter(|(count, _)| *count >= LEAST);
    shown.for_each(|(count, name)| println!("{count:8.1}  {name}"));
    let rest = rows.iter().map(|(count, _)| count).filter(|count| **count < LEAST);
    let rest = rest.fold(0.0, |sum, count| sum + count);
    println!("{rest:8.1}  others\n{all:8.1}  all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_in_its_program_without_its_hash() {
        let symbols = symbols(&std::env::current_exe().unwrap()).unwrap();
        let is_now = |name: &str| name.contains("time::Instant") && name.ends_with("::now");
        assert!(symbols.values().any(|(size, name)| *size > 0 && is_now(name)));
        assert_eq!(plain("one::two::h0123456789abcdef"), "one::two");
        assert_eq!(plain("one::hello"), "one::hello");
    }
}
