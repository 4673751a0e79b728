//! What the manager has at a moment, and what its log says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::managed::Managed;
use crate::stage::Stage;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

/// What a log may say above "info" in a run like this.
const EXPECTED: [&str; 3] = [
    // A device was removed while it was used.
    "and blocked until that lets it go",
    // And its user was not waited for.
    "its user is sent away",
    // A fault was taken away before it could act.
    "never acted",
];

/// Names of what a sample has, in the order of its numbers.
pub const NAMES: [&str; 7] =
    ["RSS KiB", "PSS KiB", "own KiB", "fds", "memfd KiB", "maps", "threads"];

/// What the process has at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since the begin.
    pub at: f64,
    pub values: [f64; NAMES.len()],
}

/// A number of a file of lines `NAME NUMBER`.
fn number(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.split_whitespace().next().unwrap().parse().unwrap()
}

impl Sample {
    pub fn take(managed: &Managed, at: Duration) -> Self {
        let process = PathBuf::from(format!("/proc/{}", managed.pid().as_raw_pid()));
        let read = |name: &str| fs::read_to_string(process.join(name)).unwrap();
        let status = read("status");
        // By their inode: a file can have several descriptors.
        let (mut descriptors, mut memory) = (0, BTreeMap::new());
        for entry in fs::read_dir(process.join("fd")).unwrap().flatten() {
            descriptors += 1;
            let path = entry.path();
            if fs::read_link(&path).is_ok_and(|it| it.to_string_lossy().starts_with("/memfd:")) {
                memory.extend(fs::metadata(&path).map(|found| (found.ino(), found.blocks())));
            }
        }
        let resident = number(&status, "VmRSS:");
        let values = [
            resident,
            number(&read("smaps_rollup"), "Pss:"),
            // But for framebuffers, and for what is in files.
            number(&status, "RssAnon:"),
            f64::from(descriptors),
            memory.values().sum::<u64>() as f64 / 2.0,
            read("maps").lines().count() as f64,
            fs::read_dir(process.join("task")).unwrap().count() as f64,
        ];
        Self { at: at.as_secs_f64(), values }
    }

    /// What it has when nothing comes or goes any more.
    fn at_rest(stage: &Stage) -> Self {
        let deadline = Instant::now() + Duration::from_secs(60);
        // Who has said nothing is let go after 5 s, and a control connection that takes nothing, too.
        std::thread::sleep(Duration::from_secs(6));
        let mut before = Self::take(&stage.managed, stage.elapsed());
        let mut still = 0;
        while still < 20 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let now = Self::take(&stage.managed, stage.elapsed());
            still = if now.values[3..] == before.values[3..] { still + 1 } else { 0 };
            before = now;
        }
        before
    }
}

/// All that is measured.
pub struct Report {
    pub minutes: u64,
    pub seed: u64,
    /// Before the first device that goes, and after each phase.
    pub rests: Vec<Sample>,
    /// While all act, with the number of the phase.
    pub live: Vec<(u64, Sample)>,
    log: BufReader<File>,
    /// Lines above "info" by what they are, of those that are expected.
    pub warnings: [u64; EXPECTED.len()],
    pub unexpected: Vec<String>,
    next: Duration,
    line: Duration,
}

impl Report {
    pub fn new(stage: &Stage, minutes: u64, seed: u64) -> Self {
        // What is made once, by whatever comes first.
        let made = stage.managed.create(&["mtty-1"]);
        stage.managed.remove(&made);
        println!(
            "{minutes} minutes by seed {seed}; the manager is process {}",
            stage.managed.pid().as_raw_pid()
        );
        let mut report = Self {
            minutes,
            seed,
            rests: Vec::new(),
            live: Vec::new(),
            log: BufReader::new(File::open(stage.managed.directory().join("log")).unwrap()),
            warnings: [0; EXPECTED.len()],
            unexpected: Vec::new(),
            next: PERIOD,
            line: MINUTE,
        };
        report.rests.push(Sample::at_rest(stage));
        report
    }

    /// Takes a sample if it is time, and prints a line if it is time for that.
    pub fn look(&mut self, stage: &Stage, phase: u64) {
        let now = stage.elapsed();
        if now < self.next {
            return;
        }
        self.next = now + PERIOD;
        let sample = Sample::take(&stage.managed, now);
        self.live.push((phase, sample));
        self.read_log();
        if now >= self.line {
            self.line += MINUTE;
            self.print_line(stage, "", &sample);
        }
    }

    /// All devices are gone but the one that stays.
    pub fn rest(&mut self, stage: &Stage) {
        let sample = Sample::at_rest(stage);
        self.rests.push(sample);
        self.read_log();
        self.print_line(stage, "at rest, ", &sample);
        let left = fs::read_dir(stage.managed.path("devices")).unwrap().count();
        assert_eq!(left, 1, "devices, of which one stays");
    }

    fn print_line(&self, stage: &Stage, what: &str, sample: &Sample) {
        let values = NAMES.iter().zip(sample.values);
        let values: Vec<_> = values.map(|(name, value)| format!("{name} {value:.0}")).collect();
        let done = stage.done();
        let done: Vec<_> =
            ["boots", "plugs", "clients", "hostile acts", "rounds of commands", "pictures"]
                .iter()
                .map(|what| format!("{} {what}", done.get(what).unwrap_or(&0)))
                .collect();
        println!(
            "{:5.1} min: {what}{}; {}; {} failed, {} lines of the log unexpected",
            sample.at / 60.0,
            values.join(", "),
            done.join(", "),
            stage.failures().len(),
            self.unexpected.len()
        );
    }

    fn read_log(&mut self) {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() != 0 {
            // What is not whole yet is read on the next time.
            if !line.ends_with('\n') {
                let back = -(line.len() as i64);
                self.log.seek_relative(back).unwrap();
                return;
            }
            let is_bad = line.contains(" ERROR ") || line.contains("panicked");
            match EXPECTED.iter().position(|words| line.contains(words)) {
                Some(at) if !is_bad => self.warnings[at] += u64::from(line.contains(" WARN ")),
                _ if is_bad || line.contains(" WARN ") => {
                    println!("UNEXPECTED: {}", line.trim_end());
                    self.unexpected.push(line.trim_end().to_owned());
                }
                _ => {}
            }
            line.clear();
        }
    }

    /// How often each expected line came.
    pub fn expected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        EXPECTED.into_iter().zip(self.warnings)
    }
}
