//! What a benchmark comes to: the figures that matter, beside what they have to be.

use super::{FEWEST, median, median_interval, spread};
use crate::report::{Result, heading};

/// A bound on a figure.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    Most(f64),
    Least(f64),
}

impl Bound {
    /// What is no number meets nothing.
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::Most(most) => value <= most,
            Self::Least(least) => value >= least,
        }
    }

    fn named(self) -> String {
        match self {
            Self::Most(most) => format!("<= {}", rounded(most)),
            Self::Least(least) => format!(">= {}", rounded(least)),
        }
    }
}

/// To what is shown of a figure.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Figures in the order in which they were had, and which of them are not what they should be.
#[derive(Default)]
pub struct Summary {
    lines: Vec<String>,
    missed: Vec<String>,
}

impl Summary {
    /// Notes ratios of rounds; their median is what is held against the bound.
    pub fn ratios(&mut self, what: &str, ratios: &[f64], bound: Option<Bound>) {
        self.note(what, &spread(ratios), median(ratios), bound);
    }

    /// The same where two equal ones were measured too. Nothing is decided if they differ by more than the bound does from
    /// being equal.
    pub fn against(&mut self, what: &str, ratios: &[f64], control: &[f64], most: f64) {
        let (from, to) = median_interval(control);
        let room = (most - 1.0).abs();
        let enough = control.len() >= FEWEST;
        if enough && from >= 1.0 - room && to <= 1.0 + room {
            self.ratios(what, ratios, Some(Bound::Most(most)));
        } else {
            self.ratios(what, ratios, None);
            self.missed.push(format!(
                "{what}: two equal ones differ by {from:.3} .. {to:.3}, which decides nothing about {most}: leave the \
                 machine alone, or take more --rounds"
            ));
        }
    }

    /// Notes one figure.
    pub fn figure(&mut self, what: &str, value: f64, bound: Option<Bound>) {
        self.note(what, &format!("{value:5.2}"), value, bound);
    }

    /// Notes values whose median is to come to `aim`, and does not decide: `docs/performance.md` says what keeps it from
    /// that.
    pub fn aim(&mut self, what: &str, values: &[f64], aim: Bound) {
        self.line(what, &spread(values), median(values), aim);
    }

    /// Notes a figure that is to come to `aim`, and is held against `bound` until then.
    pub fn goal(&mut self, what: &str, value: f64, aim: f64, bound: Bound) {
        if value <= aim {
            return self.figure(what, value, Some(Bound::Most(aim)));
        }
        self.line(what, &format!("{value:5.2}"), value, Bound::Most(aim));
        self.figure("    but at least", value, Some(bound));
    }

    fn line(&mut self, what: &str, shown: &str, value: f64, aim: Bound) {
        let verdict = if aim.is_met(value) { "met" } else { "not yet: docs/performance.md" };
        self.lines.push(format!("{what:<58} {shown:<26} {:>8} {verdict}", aim.named()));
    }

    fn note(&mut self, what: &str, shown: &str, value: f64, bound: Option<Bound>) {
        let verdict = match bound {
            None => "",
            Some(bound) if bound.is_met(value) => "met",
            Some(_) => "MISSED",
        };
        let wanted = bound.map(Bound::named).unwrap_or_default();
        let line = format!("{what:<58} {shown:<26} {wanted:>8} {verdict}");
        self.lines.push(line.trim_end().to_owned());
        if verdict == "MISSED" {
            self.missed.push(format!("{what}: {}, not {wanted}", shown.trim()));
        }
    }

    /// Takes the outcome of a part in, which need not be the last.
    pub fn part(&mut self, name: &str, outcome: Result) {
        self.missed.extend(outcome.err().map(|error| format!("{name}: {error}")));
    }

    /// Prints the table. An error names what was missed.
    pub fn end(self) -> Result {
        if !self.lines.is_empty() {
            heading("The figures that matter, and what they have to be");
            self.lines.iter().for_each(|line| println!("{line}"));
        }
        if self.missed.is_empty() {
            Ok(())
        } else {
            Err(format!("missed: {}", self.missed.join("; ")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_named_and_what_is_met_is_not() {
        let mut summary = Summary::default();
        summary.ratios("a read", &[1.0, 1.1, 1.2], Some(Bound::Most(1.1)));
        summary.figure("writes a receive", 10.0, Some(Bound::Least(10.0)));
        summary.figure("without a bound", 3.0, None);
        assert_eq!(summary.lines.len(), 3);
        assert!(summary.end().is_ok());

        let mut summary = Summary::default();
        summary.figure("a read", 1.11, Some(Bound::Most(1.1)));
        summary.figure("no number", f64::NAN, Some(Bound::Least(0.0)));
        summary.part("serial", Err("no guest".into()));
        let said = summary.end().unwrap_err().to_string();
        let expected =
            "missed: a read: 1.11, not <= 1.1; no number: NaN, not >= 0; serial: no guest";
        assert_eq!(said, expected);
    }

    #[test]
    fn a_control_that_varies_more_than_the_bound_allows_decides_nothing() {
        let calm = [0.98, 0.99, 0.99, 1.0, 1.01, 1.02];
        let wild = [0.9, 0.95, 0.99, 1.0, 1.01, 1.02];
        let mut summary = Summary::default();
        summary.against("a read", &[1.04], &calm, 1.05);
        assert!(summary.end().is_ok());
        let mut summary = Summary::default();
        summary.against("a read", &[1.04], &wild, 1.05);
        let said = summary.end().unwrap_err().to_string();
        assert!(said.contains("a read: two equal ones differ by 0.900 .. 1.020"), "{said}");
        let mut summary = Summary::default();
        summary.against("a read", &[0.7], &wild, 0.8);
        assert!(summary.end().is_ok());
        let mut summary = Summary::default();
        summary.against("a read", &[1.04], &calm[..5], 1.05);
        assert!(summary.end().is_err(), "five rounds");
    }

    #[test]
    fn what_is_aimed_at_does_not_decide_and_what_it_is_held_against_does() {
        let mut summary = Summary::default();
        summary.aim("a read", &[1.2], Bound::Most(1.05));
        summary.aim("writes a receive", &[3.0, 4.0, 11.0], Bound::Least(10.0));
        summary.goal("instructions", 700.0, 600.0, Bound::Most(800.0));
        assert!(summary.lines[0].ends_with("<= 1.05 not yet: docs/performance.md"));
        assert!(summary.lines[1].ends_with(">= 10 not yet: docs/performance.md"));
        assert!(summary.lines[2].ends_with("<= 600 not yet: docs/performance.md"));
        assert!(summary.end().is_ok());
        let mut summary = Summary::default();
        summary.goal("instructions", 801.0, 600.0, Bound::Most(800.0));
        assert!(summary.end().is_err());
    }
}
