//! What a device costs a manager that has many: time, memory, descriptors; whether the next one costs as much as the one
//! before it; and what is left when all are gone.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::Client;
use super::manager::{Held, Made, Manager};
use super::median;
use crate::cargo::build_program;
use crate::report::{Result, heading};

/// How many devices there are when they are looked at.
const STEPS: [usize; 5] = [125, 250, 500, 1000, 2000];
/// Of those, what the bounds are about.
const FEW: usize = 250;
const MANY: usize = 1000;
/// Descriptors for everything that is no device.
const SPARE: usize = 100;

/// KiB a device may take, resident or in memory files.
const MOST_KIB: f64 = 40.0;
/// What one of [`MANY`] may cost, as a multiple of one of [`FEW`].
const MOST_GROWTH: f64 = 1.5;
/// What may stay after a round more than after the one before it, KiB a device; and KiB that stay now and then however many
/// there were.
const MOST_LEFT: f64 = 0.5;
const NOISE: f64 = 1024.0;
/// Descriptors a device takes of this process, or of the manager: of whichever takes more.
const FILES: usize = 6;

/// A client is let go after 5 s if it has said nothing, and a loop looks once whether it has: not before that is it idle.
const GREETING: Duration = Duration::from_secs(6);
const IDLE: Duration = Duration::from_secs(5);

const KINDS: [(&str, &[&str]); 4] = [
    ("mtty-1", &["mtty-1"]),
    ("mdpy-vga", &["mdpy-vga"]),
    ("mbochs-small", &["mbochs-small"]),
    ("all three in turn", &["mtty-1", "mdpy-vga", "mbochs-small"]),
];

/// Some devices more, or less: microseconds for each of them, a round each.
#[derive(Default)]
struct Step {
    create: Vec<f64>,
    connect: Vec<f64>,
    remove: Vec<f64>,
    /// With all of them there, in the first round.
    held: Option<Held>,
}

/// What was measured of one kind.
struct Measured {
    steps: Vec<(usize, Step)>,
    before: Held,
    /// After each round.
    after: Vec<Held>,
    /// Ticks of CPU time and context switches while nobody wanted anything of the many.
    idle: Option<(u64, u64)>,
}

/// Prints the tables, and fails where a bound is broken.
pub fn run(rounds: usize) -> Result {
    if rounds < 2 {
        return Err(
            "--rounds: it takes two to see whether something is left of one; say 2 or more".into(),
        );
    }
    let most = most_devices(raised_limit())?;
    heading("Building mdev-user");
    let program = build_program()?;
    let mut doubts = Vec::new();
    for (number, (name, kinds)) in KINDS.into_iter().enumerate() {
        let (pool, megabytes) = (most.to_string(), (4 * most).to_string());
        let pools = ["--mtty-ports", &pool, "--mdpy-max", &pool, "--mbochs-mb", &megabytes];
        let mut manager = Manager::start(&program, &pools)?;
        // The last has some of each.
        let is_last = number + 1 == KINDS.len();
        let measured = measure(&mut manager, kinds, rounds, most, is_last)?;
        print(name, &measured);
        doubts.extend(judge(&measured).into_iter().map(|doubt| format!("{name}: {doubt}")));
        manager.stop()?;
    }
    println!(
        "\nTimes are of one device more or less at about that number, medians of {rounds} rounds; connect is a connection\n\
         and VERSION. Memory is what of the process is resident, a device, without pictures: mdpy's are painted when it\n\
         is made. What is left of it is the allocator's, for devices to come.\n\
         Bounds: {MOST_KIB} KiB a device; one of the first {MANY} at {MOST_GROWTH} times the cost of one of the first\n\
         {FEW}, by the least times of the rounds; no CPU time while idle; every descriptor given back, and {MOST_LEFT} KiB a\n\
         device more, at most, or {NOISE} KiB in all, after a round than after the one before it."
    );
    if doubts.is_empty() { Ok(()) } else { Err(doubts.join("; ").into()) }
}

/// How many files this process may have open at one time, and what it starts.
pub(super) fn raised_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// As many as there can be with so many files open: as many as the bounds are about, at least.
fn most_devices(files: u64) -> Result<usize> {
    let most = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(SPARE) / FILES;
    let found = STEPS.into_iter().rev().find(|step| (MANY..=most).contains(step));
    found.ok_or_else(|| {
        let needed = MANY * FILES + SPARE;
        format!("{MANY} devices take {needed} open files, and the limit is {files}; raise it (ulimit -Hn {needed})").into()
    })
}

fn measure(
    manager: &mut Manager,
    kinds: &[&str],
    rounds: usize,
    most: usize,
    idles: bool,
) -> Result<Measured> {
    // What is made once, by whatever comes first.
    for kind in kinds {
        let made = manager.create(kind)?;
        drop(Client::connect(&made.socket)?);
        manager.remove(&made)?;
    }
    let before = at_rest(manager)?;
    let mut steps: Vec<_> = STEPS.map(|step| (step, Step::default())).into();
    steps.retain(|(count, _)| *count <= most);
    let (mut after, mut idle) = (Vec::new(), None);
    for round in 0..rounds {
        let mut kinds = kinds.iter().cycle();
        let (mut made, mut clients): (Vec<Made>, Vec<Client>) = (Vec::new(), Vec::new());
        for (count, step) in &mut steps {
            let more = *count - made.len();
            step.create.push(each(more, || {
                made.push(manager.create(kinds.next().unwrap_or(&""))?);
                Ok(())
            })?);
            let mut new = made.iter().skip(clients.len());
            step.connect.push(each(more, || {
                clients.extend(new.next().map(|made| Client::connect(&made.socket)).transpose()?);
                Ok(())
            })?);
            if round == 0 {
                step.held = Some(manager.held()?);
                if idles && *count == MANY {
                    idle = Some(while_idle(manager)?);
                }
            }
        }
        for at in (0..steps.len()).rev() {
            let left =
                at.checked_sub(1).and_then(|at| steps.get(at)).map_or(0, |(count, _)| *count);
            clients.truncate(left);
            // The oldest goes first of those that go: it is where looking for it takes longest to end.
            let mut gone = made.split_off(left).into_iter();
            let Some((_, step)) = steps.get_mut(at) else { continue };
            step.remove.push(each(gone.len(), || {
                gone.next().map_or(Ok(()), |made| manager.remove(&made))
            })?);
        }
        after.push(at_rest(manager)?);
    }
    Ok(Measured { steps, before, after, idle })
}

/// Microseconds for each of so many.
fn each(count: usize, mut what: impl FnMut() -> Result) -> Result<f64> {
    let begin = Instant::now();
    (0..count).try_for_each(|_| what())?;
    Ok(begin.elapsed().as_secs_f64() * 1e6 / count as f64)
}

/// What it has when other threads have closed what there was to close.
fn at_rest(manager: &Manager) -> Result<Held> {
    let mut held = manager.held()?;
    let mut still = 0;
    while still < 5 {
        thread::sleep(Duration::from_millis(20));
        let now = manager.held()?;
        still = if now.descriptors == held.descriptors { still + 1 } else { 0 };
        held = now;
    }
    Ok(held)
}

fn while_idle(manager: &Manager) -> Result<(u64, u64)> {
    thread::sleep(GREETING);
    let (ticks, switches) = manager.worked()?;
    thread::sleep(IDLE);
    let (ticks_then, switches_then) = manager.worked()?;
    Ok((ticks_then - ticks, switches_then - switches))
}

impl Measured {
    fn at(&self, count: usize) -> Option<&Step> {
        self.steps.iter().find(|(it, _)| *it == count).map(|(_, step)| step)
    }

    /// KiB a device.
    fn memory(&self, count: usize) -> f64 {
        let held = self.at(count).and_then(|step| step.held);
        held.map_or(f64::NAN, |held| (held.memory - self.before.memory) / count as f64)
    }

    /// What one of the first many costs, as a multiple of one of the first few.
    fn growth(&self) -> [(&'static str, f64); 4] {
        let of = |of: fn(&Step) -> &Vec<f64>| {
            // The least of the rounds: what others do on the machine only adds to it.
            let least = |step| of(step).iter().copied().reduce(f64::min).unwrap_or(f64::NAN);
            let each_of = |count: usize| {
                let (mut before, mut sum) = (0, 0.0);
                for (at, step) in self.steps.iter().filter(|(at, _)| *at <= count) {
                    sum += (at - before) as f64 * least(step);
                    before = *at;
                }
                sum / count as f64
            };
            each_of(MANY) / each_of(FEW)
        };
        [
            ("create", of(|step| &step.create)),
            ("connect", of(|step| &step.connect)),
            ("remove", of(|step| &step.remove)),
            ("memory", self.memory(MANY) / self.memory(FEW)),
        ]
    }
}

fn print(name: &str, measured: &Measured) {
    heading(name);
    println!(
        "{:>8} {:>10} {:>10} {:>10} {:>13} {:>12} {:>12} {:>9}",
        "devices", "create", "connect", "remove", "memory", "pictures", "descriptors", "mappings"
    );
    let before = measured.before;
    for (count, step) in &measured.steps {
        let Some(held) = step.held else { continue };
        let a_device = |now: usize, then: usize| (now as f64 - then as f64) / *count as f64;
        println!(
            "{count:>8} {:>7.0} us {:>7.0} us {:>7.0} us {:>9.1} KiB {:>8.0} KiB {:>12.2} {:>9.2}",
            median(&step.create),
            median(&step.connect),
            median(&step.remove),
            measured.memory(*count),
            (held.files - before.files) / *count as f64,
            a_device(held.descriptors, before.descriptors),
            a_device(held.maps, before.maps),
        );
    }
    let growth = measured.growth().map(|(what, ratio)| format!("{what} {ratio:.2}"));
    println!("{MANY} to {FEW}: {}", growth.join(", "));
    if let Some((ticks, switches)) = measured.idle {
        println!(
            "idle for {IDLE:?} with {MANY}: {ticks} ticks of CPU time, {switches} context switches"
        );
    }
    let shown = |held: &Held| {
        let Held { descriptors, maps, threads, .. } = held;
        format!(
            "{:.0} KiB, {descriptors} descriptors, {maps} mappings, {threads} threads",
            held.memory
        )
    };
    println!("before: {}", shown(&before));
    for (round, held) in (1..).zip(&measured.after) {
        println!("after round {round}: {}", shown(held));
    }
}

/// The bounds that are broken.
fn judge(measured: &Measured) -> Vec<String> {
    let mut doubts = Vec::new();
    let memory = measured.memory(MANY);
    // What is no number is no proof.
    if memory.is_nan() || memory >= MOST_KIB {
        doubts.push(format!("{memory:.1} KiB a device"));
    }
    for (what, ratio) in measured.growth() {
        if ratio.is_nan() || ratio >= MOST_GROWTH {
            doubts.push(format!("{what} costs {ratio:.2} times as much with {MANY}"));
        }
    }
    if measured.idle.is_some_and(|(ticks, _)| ticks != 0) {
        doubts.push("it takes CPU time while idle".into());
    }
    let before = measured.before;
    let most = measured.steps.last().map_or(MANY, |(count, _)| *count) as f64;
    let most_left = (MOST_LEFT * most).max(NOISE);
    let mut last = None;
    for held in &measured.after {
        if held.descriptors != before.descriptors {
            doubts.push(format!("{} descriptors, not {}", held.descriptors, before.descriptors));
        }
        let grown = last.map_or(0.0, |last: f64| held.memory - last);
        if grown > most_left {
            doubts.push(format!("{grown:.0} KiB more after a round than after the one before"));
        }
        last = Some(held.memory);
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_files_or_rounds_are_named_before_anything_is_measured() {
        for (files, expected) in [(6100, 1000), (12_099, 1000), (12_100, 2000), (u64::MAX, 2000)] {
            assert_eq!(most_devices(files).unwrap(), expected, "{files}");
        }
        let why = most_devices(4096).unwrap_err().to_string();
        assert!(why.contains("4096") && why.contains("ulimit -Hn 6100"), "{why}");
        assert!(most_devices(6099).is_err());
        assert!(run(1).unwrap_err().to_string().contains("2 or more"));
    }

    #[test]
    fn noise_is_no_leak_and_a_leak_is_none() {
        let held = |memory| Held { memory, ..Held::default() };
        let of = |after: &[f64]| {
            let step = Step { held: Some(held(1000.0)), ..Step::default() };
            let after = after.iter().map(|memory| held(*memory)).collect();
            let measured =
                Measured { steps: vec![(MANY, step)], before: held(0.0), after, idle: None };
            judge(&measured).into_iter().filter(|doubt| doubt.contains("after a round")).count()
        };
        assert_eq!((of(&[5000.0, 5472.0]), of(&[5000.0, 6025.0, 7050.0])), (0, 2));
    }
}
