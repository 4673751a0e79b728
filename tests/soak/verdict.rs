//! Whether anything grew: a table, and what is wrong.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::samples::{NAMES, Report, Sample};
use crate::stage::Stage;

/// How much more there may be of it in the end than after the first phase, when all other devices are gone: KiB, or how many. The
/// allocator keeps what it may need again.
const LEFT: [f64; NAMES.len()] = [1024.0, 1024.0, 1024.0, 0.0, 0.0, 16.0, 0.0];
/// Threads that close what clients have sent, and stay for the next.
const CLOSERS: f64 = 8.0;
/// And while all act: a part of the median, and so much at least. The load changes from moment to moment, so only what is
/// beyond twice the spread of the slope counts.
const GROWTH: (f64, [f64; NAMES.len()]) = (0.1, [4096.0, 4096.0, 2048.0, 8.0, 4096.0, 16.0, 8.0]);
/// Samples that follow each other are of the same guests: so many count as one.
const ALIKE: f64 = 6.0;

/// A line through samples.
struct Line {
    /// From the first sample to the last.
    growth: f64,
    /// Of it: twice the standard error.
    doubt: f64,
    median: f64,
}

/// By least squares.
fn line(samples: &[Sample], of: usize) -> Line {
    let count = samples.len() as f64;
    let mean = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / count;
    let (at, value) = (mean(&|it| it.at), mean(&|it| it.values[of]));
    let spread = mean(&|it| (it.at - at).powi(2));
    let slope = mean(&|it| (it.at - at) * (it.values[of] - value)) / spread;
    let noise = mean(&|it| (it.values[of] - value - slope * (it.at - at)).powi(2));
    let time = samples.last().map_or(0.0, |last| last.at) - samples.first().map_or(0.0, |it| it.at);
    let mut sorted: Vec<_> = samples.iter().map(|it| it.values[of]).collect();
    sorted.sort_by(f64::total_cmp);
    Line {
        growth: slope * time,
        doubt: 2.0 * (noise / spread / (count / ALIKE).max(1.0)).sqrt() * time,
        median: sorted[sorted.len() / 2],
    }
}

impl Report {
    /// Prints the tables, writes them to `target/soak`, and says what is wrong.
    pub fn judge(&self, stage: &Stage) -> Vec<String> {
        let mut wrong = stage.failures();
        let unexpected = self.unexpected.iter().map(|line| format!("the log: {line}"));
        wrong.extend(unexpected);
        let mut text = format!("{} minutes, seed {}\n\n", self.minutes, self.seed);
        self.write_done(stage, &mut text);
        self.write_rests(&mut text, &mut wrong);
        self.write_live(&mut text, &mut wrong);
        for (words, times) in self.expected() {
            writeln!(text, "log: {times} x \"{words}\"").unwrap();
        }
        writeln!(text, "log: {} other lines above info", self.unexpected.len()).unwrap();
        for line in &wrong {
            writeln!(text, "WRONG: {line}").unwrap();
        }
        let verdict = if wrong.is_empty() { "nothing grew, and nothing failed" } else { "FAILED" };
        writeln!(text, "\nsoak: {verdict}").unwrap();
        println!("\n{text}");
        self.keep(stage, &text);
        wrong
    }

    fn write_done(&self, stage: &Stage, text: &mut String) {
        for (what, times) in stage.done() {
            writeln!(text, "{times:>10} {what}").unwrap();
        }
    }

    /// After each phase, with all devices gone but the one that stays.
    fn write_rests(&self, text: &mut String, wrong: &mut Vec<String>) {
        writeln!(text, "\nWith all devices gone but one:").unwrap();
        let names: String = NAMES.iter().map(|name| format!("{name:>11}")).collect();
        writeln!(text, "{:>9}{names}", "minute").unwrap();
        for rest in &self.rests {
            let values: String = rest.values.iter().map(|it| format!("{it:>11.0}")).collect();
            writeln!(text, "{:>9.1}{values}", rest.at / 60.0).unwrap();
        }
        // The first is from before all, the second from after the phase that warms up.
        let [first, warm, .., last] = &self.rests[..] else { return };
        for (of, name) in NAMES.iter().enumerate() {
            let grown = last.values[of] - warm.values[of];
            if grown > LEFT[of] {
                wrong.push(format!("{name}: {grown:.0} more than after the first phase"));
            }
        }
        let (fds, memory, threads) = (3, 4, 6);
        for (of, may_stay) in [(fds, 0.0), (memory, 0.0), (threads, CLOSERS)] {
            let kept = last.values[of] - first.values[of];
            if kept > may_stay {
                wrong.push(format!("{}: {kept:.0} more than before the first device", NAMES[of]));
            }
        }
        let allowed: String = LEFT.iter().map(|it| format!("{it:>11.0}")).collect();
        writeln!(text, "{:>9}{allowed}", "may grow").unwrap();
    }

    /// While all act.
    fn write_live(&self, text: &mut String, wrong: &mut Vec<String>) {
        let warm: Vec<_> =
            self.live.iter().filter(|(phase, _)| *phase != 0).map(|(_, it)| *it).collect();
        writeln!(text, "\nWhile all act, {} samples after the first phase:", warm.len()).unwrap();
        if warm.len() < 6 {
            writeln!(text, "too few to see a slope").unwrap();
            return;
        }
        writeln!(
            text,
            "{:>11}{:>10}{:>10}{:>10}{:>20}{:>10}",
            "", "least", "median", "most", "growth by slope", "allowed"
        )
        .unwrap();
        for (of, name) in NAMES.iter().enumerate() {
            let Line { growth, doubt, median } = line(&warm, of);
            let values = warm.iter().map(|it| it.values[of]);
            let (least, most) =
                (values.clone().fold(f64::MAX, f64::min), values.fold(0.0, f64::max));
            let allowed = (GROWTH.0 * median).max(GROWTH.1[of]);
            writeln!(
                text,
                "{name:>11}{least:>10.0}{median:>10.0}{most:>10.0}{:>20}{allowed:>10.0}",
                format!("{growth:.0} +- {doubt:.0}")
            )
            .unwrap();
            if growth - doubt > allowed {
                wrong.push(format!("{name}: grows by {growth:.0} while all act"));
            }
        }
    }

    /// The table, all samples as a table for other programs, and the log.
    fn keep(&self, stage: &Stage, text: &str) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak");
        fs::create_dir_all(&directory).unwrap();
        let mut samples = format!("seconds,phase,{}\n", NAMES.join(","));
        let rests = self.rests.iter().map(|it| ("rest".to_owned(), it));
        for (phase, it) in self.live.iter().map(|(phase, it)| (phase.to_string(), it)).chain(rests)
        {
            let values: Vec<_> = it.values.iter().map(f64::to_string).collect();
            writeln!(samples, "{:.1},{phase},{}", it.at, values.join(",")).unwrap();
        }
        fs::write(directory.join("report.txt"), text).unwrap();
        fs::write(directory.join("samples.csv"), samples).unwrap();
        fs::copy(stage.managed.directory().join("log"), directory.join("log.txt")).unwrap();
        println!("{}", directory.join("report.txt").display());
    }
}

#[test]
fn a_slope_is_seen_and_noise_is_doubt() {
    let sample = |at: u32, fds: f64| {
        let mut values = [0.0; NAMES.len()];
        values[3] = fds;
        Sample { at: f64::from(at) * 10.0, values }
    };
    let grows: Vec<_> = (0..100).map(|at| sample(at, f64::from(at))).collect();
    let Line { growth, doubt, median } = line(&grows, 3);
    assert!((growth - 99.0).abs() < 1e-6 && doubt < 1e-6 && median == 50.0);
    let noise: Vec<_> = (0..100).map(|at| sample(at, f64::from(at * 37 % 20))).collect();
    let Line { growth, doubt, .. } = line(&noise, 3);
    assert!(growth.abs() < doubt && doubt > 1.0, "{growth} {doubt}");
}
