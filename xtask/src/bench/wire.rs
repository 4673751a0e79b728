//! What one client waits for one server: the floor, which is an echo of as many bytes, the server of the vfio_user crate,
//! and ours, with one small device behind each.

mod counts;
mod instructions;
mod message;
pub mod profile;
mod sandbox;
mod user;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::message::Exchange;
use self::user::User;
use super::machine::Cpus;
use super::summary::{Bound, Summary};
use super::{interval_name, median, ratios, spread};
use crate::cargo::build;
use crate::report::{Result, heading};
use crate::server::Server;

/// How long a turn is, and what comes before it for both sides to get used to each other.
const TURN: Duration = Duration::from_millis(6);
const WARM: Duration = Duration::from_micros(1500);

/// Names, and how they are started. The first is what all are compared with, and the second its control. The third is what a
/// server costs that can have more than one client: it waits for all that it has before it receives.
const PEERS: [(&str, &[&str]); 6] = [
    ("echo", &["echo"]),
    ("echo, again", &["echo"]),
    ("echo, by epoll", &["echo", "--epoll"]),
    ("vfio_user crate", &["rust-vmm"]),
    ("ours, --poll-us 0", &["ours", "--poll-us", "0"]),
    ("ours, polling", &["ours"]),
];
const BY_EPOLL: usize = 2;
const SLEEPING: usize = 4;
const POLLING: usize = 5;

/// Of what is measured, what it may cost as a multiple of the echo.
const BOUNDS: [(&str, usize, f64); 4] = [
    ("register read", SLEEPING, 1.05),
    ("register read", POLLING, 0.80),
    ("64 KiB of a region", SLEEPING, 1.3),
    ("64 KiB of a region", POLLING, 1.3),
];

/// What a server that sleeps may take as a multiple of the echo by epoll.
const NEAR: f64 = 1.15;

/// A server that runs.
struct Peer {
    name: &'static str,
    server: Server,
    is_echo: bool,
}

impl Peer {
    fn start(program: &Path, (name, arguments): (&'static str, &[&str])) -> Result<Self> {
        let is_echo = arguments.first() == Some(&"echo");
        Ok(Self { name, server: Server::peer(program, arguments)?, is_echo })
    }

    fn start_all(program: &Path, cpus: Cpus) -> Result<Vec<Self>> {
        cpus.start(|| PEERS.into_iter().map(|peer| Self::start(program, peer)).collect())
    }

    fn user(&self, exchange: &Exchange) -> Result<User> {
        let socket: PathBuf = self.server.socket();
        if self.is_echo {
            User::of_echo(&socket, exchange)
        } else {
            User::of_server(&socket, exchange)
        }
    }
}

/// Microseconds of each round, for each peer.
type Times = Vec<Vec<f64>>;

/// Prints the tables.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    heading("Building the servers");
    let program = build("bench-peers")?;
    let cpus = Cpus::two()?;
    if cpus.are_one() {
        return Err("client and server need two CPUs, and this process may use one".into());
    }
    for cpus in [cpus, Cpus::one()?] {
        let peers = Peer::start_all(&program, cpus)?;
        let exchanges = if cpus.are_one() { Exchange::few() } else { Exchange::all() };
        let mut measured = Vec::new();
        for exchange in exchanges {
            let times = cpus.measure(|| measure(&peers, &exchange, rounds))?;
            if !cpus.are_one() {
                note(exchange.name, &times, summary);
            } else if exchange.name == Exchange::register_read().name {
                let what = "register read on one CPU, ours / by epoll";
                summary.ratios(what, &beside(&times, SLEEPING, BY_EPOLL), None);
            }
            measured.push((exchange, times));
        }
        print(cpus, &measured, rounds);
    }
    sandbox::run(rounds, summary)?;
    counts::run(&program, cpus, summary)
}

/// The peers take turns, there and back, so that what changes in a round is the same for all.
fn measure(peers: &[Peer], exchange: &Exchange, rounds: usize) -> Result<Times> {
    let mut users = peers.iter().map(|peer| peer.user(exchange)).collect::<Result<Vec<_>>>()?;
    let mut times = vec![Vec::new(); peers.len()];
    for _ in 0..rounds {
        let mut sums = vec![0.0; peers.len()];
        for at in (0..peers.len()).chain((0..peers.len()).rev()) {
            let (Some(user), Some(sum)) = (users.get_mut(at), sums.get_mut(at)) else { break };
            *sum += user.turn(WARM, TURN)?;
        }
        for (times, sum) in times.iter_mut().zip(sums) {
            times.push(sum / 2.0);
        }
    }
    Ok(times)
}

/// As a multiple of what `base` takes in the same round.
fn beside(times: &Times, at: usize, base: usize) -> Vec<f64> {
    let (Some(base), Some(times)) = (times.get(base), times.get(at)) else { return Vec::new() };
    ratios(times, base)
}

fn note(name: &str, times: &Times, summary: &mut Summary) {
    for (at, (peer, _)) in PEERS.iter().enumerate().skip(SLEEPING) {
        let bound = BOUNDS.into_iter().find(|(what, of, _)| *what == name && *of == at);
        let what = |base| format!("{name}, {peer} / {base}");
        let control = beside(times, 1, 0);
        match bound {
            // Nobody who waits for more than one client comes below an echo that does: that one decides.
            Some((.., most)) if at == SLEEPING => {
                summary.aim(&what("echo"), &beside(times, at, 0), Bound::Most(most));
                summary.against(&what("by epoll"), &beside(times, at, BY_EPOLL), &control, NEAR);
            }
            Some((.., most)) => {
                summary.against(&what("echo"), &beside(times, at, 0), &control, most)
            }
            None => summary.ratios(&what("echo"), &beside(times, at, 0), None),
        }
    }
}

fn print(cpus: Cpus, measured: &[(Exchange, Times)], rounds: usize) {
    heading(&format!("Time of one, and as a multiple of the echo's: {}", cpus.named()));
    print!("{:<24} {:>9}", "", "echo");
    for (name, _) in PEERS.iter().skip(1) {
        print!(" {name:>23}");
    }
    println!();
    for (exchange, times) in measured {
        let base = times.first().map_or(f64::NAN, |times| median(times));
        print!("{:<24} {base:>6.2} us", exchange.name);
        for at in 1..PEERS.len() {
            print!(" {:>23}", spread(&beside(times, at, 0)).trim());
        }
        println!();
    }
    println!(
        "\nMedians of the {rounds} rounds' ratios ({}). In a round each has two turns, there and back, and\n\
         of a turn the median counts. The echo receives as many bytes as the others and sends as many. The second is its\n\
         control: what two equal servers differ by.",
        interval_name(rounds)
    );
}
