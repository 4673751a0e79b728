//! What a client waits for a register while others misbehave: on the same loop of a manager, and on a loop of its own.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, garbage, posted_store, read};
use super::manager::Manager;
use super::summary::Summary;
use super::{interval_name, median, spread};
use crate::cargo::build_program;
use crate::report::{Result, heading};

/// How long a turn is.
const TURN: Duration = Duration::from_millis(80);
/// What there is before it for the neighbour to begin, and for what the last one has left.
const SETTLE: Duration = Duration::from_millis(25);
/// A neighbour that waits looks so often whether its turn is over.
const LOOK: Duration = Duration::from_millis(5);
/// What is said at once, by those who flood.
const BURST: usize = 500;

/// Where neighbours live.
struct Street {
    /// Socket of a device that is not the measured client's.
    device: PathBuf,
    /// Of a display beside it: a client's coming and going costs it a picture.
    display: PathBuf,
    control: PathBuf,
    /// A verb that asks the loop about that device.
    question: String,
}

/// Does its worst until it is told to stop; how many messages it has said, or connections it has made.
type Neighbour = fn(&Street, &AtomicBool) -> Result<u64>;

/// Name, threads, what each does. The first is what all are compared with, and the second its control.
const KINDS: [(&str, usize, Neighbour); 11] = [
    ("nobody", 0, silent),
    ("nobody, again", 0, silent),
    ("silent client", 1, silent),
    ("posted stores", 1, |street, stop| say(street, stop, &posted_store())),
    ("reads, answers not taken", 1, |street, stop| say(street, stop, &read())),
    ("reads, answers taken", 1, read_all),
    ("garbage", 1, |street, stop| say(street, stop, &garbage())),
    ("comes, stores, leaves", 1, |street, stop| come_and_go(&street.device, stop)),
    ("the same at a display", 1, |street, stop| come_and_go(&street.display, stop)),
    ("control: 4 with questions", 4, |street, stop| {
        ask(street, stop, &street.question, "{\"ok\":")
    }),
    ("control: 4 with garbage", 4, |street, stop| ask(street, stop, "garbage\n", "{\"error\":")),
];

/// One turn of one kind.
struct Turn {
    /// Microseconds.
    median: f64,
    late: f64,
    said: f64,
    /// Ticks of the machine's CPUs: idle, and all.
    idle: (f64, f64),
}

/// Prints the tables.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    heading("Building mdev-user");
    let program = build_program()?;
    for (name, loops) in [("On the same loop", "1"), ("On a loop of its own", "2")] {
        let mut manager = Manager::start(&program, &["--loops", loops])?;
        // With two loops each takes one in turn, and the measured one's is alone with a device that nobody uses.
        let (own, other) = (manager.create("mtty-1")?, manager.create("mtty-1")?);
        let (_unused, display) = (manager.create("mtty-1")?, manager.create("mdpy-hd")?);
        let street = Street {
            device: other.socket,
            display: display.socket,
            control: manager.control(),
            question: format!("{{\"verb\": \"info\", \"device\": \"{}\"}}\n", other.uuid),
        };
        let mut client = Client::connect(&own.socket)?;
        let mut turns = KINDS.map(|_| Vec::new());
        for round in 0..rounds {
            // Each is first in its turn.
            for at in (0..KINDS.len()).map(|at| (at + round) % KINDS.len()) {
                let (Some(kind), Some(turns)) = (KINDS.get(at), turns.get_mut(at)) else { break };
                turns.push(turn(&mut client, &street, kind)?);
            }
        }
        print(name, &turns);
        note(name, &turns, summary);
        drop(client);
        manager.stop()?;
    }
    let cpus = thread::available_parallelism()?;
    println!(
        "\nTimes are of one read of a register, medians of the {rounds} turns' medians. Ratios are to the turn with nobody\n\
         of the same round, medians ({}). late: the slowest of 100. said: messages,\n\
         or connections, of the neighbour. {cpus} CPUs, nothing pinned; idle: what of them nobody used, and where it is\n\
         little the neighbour has taken the CPU too.",
        interval_name(rounds)
    );
    Ok(())
}

fn turn(
    client: &mut Client,
    street: &Street,
    (_, threads, neighbour): &(&str, usize, Neighbour),
) -> Result<Turn> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let begin = Instant::now();
        let neighbours: Vec<_> = (0..*threads)
            .map(|_| scope.spawn(|| neighbour(street, &stop).map_err(|error| error.to_string())))
            .collect();
        thread::sleep(SETTLE);
        let before = cpu_time();
        let times = read_for(client, TURN);
        let after = cpu_time();
        let time = begin.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let mut said = 0;
        for neighbour in neighbours {
            said += neighbour.join().map_err(|_| "a neighbour panicked")??;
        }
        let (mut times, before, after) = (times?, before?, after?);
        times.sort_by(f64::total_cmp);
        let late = times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN);
        let idle = (after.0 - before.0, after.1 - before.1);
        Ok(Turn { median: median(&times), late, said: said as f64 / time, idle })
    })
}

/// Reads again and again; microseconds of each.
fn read_for(client: &mut Client, time: Duration) -> Result<Vec<f64>> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let begin = Instant::now();
        client.read()?;
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Ticks of all CPUs since the machine was started: idle, and all.
fn cpu_time() -> Result<(f64, f64)> {
    let all = fs::read_to_string("/proc/stat")?;
    let times = all.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let times = times.map(str::parse).collect::<std::result::Result<Vec<f64>, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already.
    let idle = times.iter().skip(3).take(2).sum();
    Ok((idle, times.iter().take(8).sum()))
}

fn neighbour(device: &Path) -> Result<UnixStream> {
    let socket = Client::connect(device)?.into_socket();
    socket.set_write_timeout(Some(LOOK))?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

fn is_over(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}

fn silent(street: &Street, stop: &AtomicBool) -> Result<u64> {
    let _socket = neighbour(&street.device)?;
    while !is_over(stop) {
        thread::sleep(LOOK);
    }
    Ok(0)
}

/// The bytes that went, of as many as there are to go; fewer when nobody takes them.
fn write(socket: &mut UnixStream, bytes: &[u8]) -> Result<usize> {
    match socket.write(bytes) {
        Ok(sent) => Ok(sent),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Says it as fast as it is heard, and reads nothing.
fn say(street: &Street, stop: &AtomicBool, message: &[u8]) -> Result<u64> {
    let mut socket = neighbour(&street.device)?;
    let burst = message.repeat(BURST);
    let (mut sent, mut at) = (0, 0);
    while !is_over(stop) {
        let size = write(&mut socket, burst.get(at..).unwrap_or_default())?;
        sent += size;
        at = (at + size) % burst.len();
    }
    Ok((sent / message.len()) as u64)
}

fn read_all(street: &Street, stop: &AtomicBool) -> Result<u64> {
    /// Their answers fit into a socket, so that nobody waits for the other.
    const AT_ONCE: usize = 100;
    let mut socket = neighbour(&street.device)?;
    // The answers have no end that a time-out could find in the middle of one.
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (burst, mut answers) = (read().repeat(AT_ONCE), vec![0; 33 * AT_ONCE]);
    let mut said = 0;
    while !is_over(stop) {
        socket.write_all(&burst)?;
        socket.read_exact(&mut answers)?;
        said += AT_ONCE as u64;
    }
    Ok(said)
}

fn come_and_go(device: &Path, stop: &AtomicBool) -> Result<u64> {
    let burst = posted_store().repeat(BURST);
    let mut came = 0;
    while !is_over(stop) {
        let mut socket = neighbour(device)?;
        write(&mut socket, &burst)?;
        came += 1;
    }
    Ok(came)
}

/// Asks, and has asked again before it is answered: in a way that begins like this.
fn ask(street: &Street, stop: &AtomicBool, question: &str, answer: &str) -> Result<u64> {
    const AT_ONCE: usize = 20;
    let mut socket = BufReader::new(UnixStream::connect(&street.control)?);
    let questions = question.repeat(AT_ONCE);
    let (mut said, mut line) = (0, String::new());
    while !is_over(stop) {
        socket.get_mut().write_all(questions.as_bytes())?;
        for _ in 0..AT_ONCE {
            line.clear();
            socket.read_line(&mut line)?;
            if !line.starts_with(answer) {
                return Err(format!("a question was answered {line}").into());
            }
        }
        said += AT_ONCE as u64;
    }
    Ok(said)
}

/// The worst of the neighbours: it needs no list to know that all others are better.
fn note(name: &str, turns: &[Vec<Turn>], summary: &mut Summary) {
    let Some(alone) = turns.first() else { return };
    let ratios = |turns: &[Turn]| -> Vec<f64> {
        turns.iter().zip(alone).map(|(it, alone)| it.median / alone.median).collect()
    };
    let others = KINDS.iter().zip(turns).skip(2).map(|((kind, ..), turns)| (kind, ratios(turns)));
    let worst = others.max_by(|(_, one), (_, other)| median(one).total_cmp(&median(other)));
    if let Some((kind, ratios)) = worst {
        let name = format!("{}, beside the worst: {kind} / nobody", name.to_lowercase());
        summary.ratios(&name, &ratios, None);
    }
}

fn print(name: &str, turns: &[Vec<Turn>]) {
    heading(name);
    println!(
        "{:<26} {:>9} {:>24} {:>24} {:>11} {:>5}",
        "neighbour", "read", "ratio", "ratio, late", "said", "idle"
    );
    let Some(alone) = turns.first() else { return };
    for ((kind, ..), turns) in KINDS.iter().zip(turns) {
        let of = |what: fn(&Turn) -> f64| turns.iter().map(what).collect::<Vec<_>>();
        let ratios = |what: fn(&Turn) -> f64| {
            let pairs = turns.iter().zip(alone);
            spread(&pairs.map(|(it, alone)| what(it) / what(alone)).collect::<Vec<_>>())
        };
        let idle: f64 = turns.iter().map(|turn| turn.idle.0).sum();
        let all: f64 = turns.iter().map(|turn| turn.idle.1).sum();
        println!(
            "{kind:<26} {:>6.1} us {:>24} {:>24} {:>9.0}/s {:>4.0}%",
            median(&of(|turn| turn.median)),
            ratios(|turn| turn.median),
            ratios(|turn| turn.late),
            median(&of(|turn| turn.said)),
            100.0 * idle / all,
        );
    }
}
