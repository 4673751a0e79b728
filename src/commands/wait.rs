//! `mdev-user wait`: until a device's picture is as it should be.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::print as print_text;
use crate::cli;
use crate::control::client::PATIENCE;
use crate::errors::complain;
use crate::view::{Frame, Stability, Viewer};

/// From one look to the next, at least.
const PAUSE: Duration = Duration::from_millis(20);

pub fn wait(options: cli::Wait) -> Result<ExitCode, Box<dyn Error>> {
    let start = Instant::now();
    let patience = options.timeout.clamp(Duration::from_secs(1), PATIENCE);
    let mut viewer =
        Viewer::connect(&options.ask.control_path, options.ask.device.clone(), patience)?;
    let mut seen = Seen::new(&options);
    loop {
        let begun = Instant::now();
        if seen.look(&mut viewer, &options)? {
            return finish(seen);
        }
        if start.elapsed() >= options.timeout {
            complain(seen.report(&options, viewer.node()));
            return Ok(ExitCode::FAILURE);
        }
        // As long again as looking took: half of the machine is the guest's.
        let left = options.timeout.saturating_sub(start.elapsed());
        thread::sleep(begun.elapsed().max(PAUSE).min(left));
    }
}

fn finish(seen: Seen) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(frame) = seen.frame {
        print_text(&(frame.summary() + "\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was seen so far.
struct Seen {
    /// Last.
    frame: Option<Frame>,
    /// Its hash, if that is asked for.
    hash: Option<String>,
    stability: Option<Stability>,
}

impl Seen {
    fn new(options: &cli::Wait) -> Self {
        let stability = options.stable.map(|time| Stability::new(time, options.ignore.clone()));
        Self { frame: None, hash: None, stability }
    }

    /// Looks once more. Returns whether all is as it should be.
    fn look(&mut self, viewer: &mut Viewer, options: &cli::Wait) -> Result<bool, Box<dyn Error>> {
        let Some(frame) = viewer.look()? else {
            self.frame = None;
            self.stability.iter_mut().for_each(Stability::lose);
            return Ok(false);
        };
        let now = Instant::now();
        let is_stable = self.stability.as_mut().is_none_or(|stability| {
            stability.see(&frame, now);
            stability.is_enough()
        });
        if options.hash.is_some() && self.frame.as_ref() != Some(&frame) {
            self.hash = Some(frame.hash());
        }
        let holds = is_stable
            && options.mode.is_none_or(|mode| frame.mode() == mode)
            && (options.hash.is_none() || options.hash == self.hash)
            && !(options.not_blank && frame.is_blank(&options.ignore));
        self.frame = Some(frame);
        Ok(holds)
    }

    /// What was seen last and what is wrong with it, in a line.
    fn report(&self, options: &cli::Wait, node: &str) -> String {
        let start =
            format!("{node} did not come to show what is waited for within {:?}", options.timeout);
        let Some(frame) = &self.frame else {
            return format!(
                "{start}: it shows no picture; see to its driver, or give it more --timeout"
            );
        };
        let mut saw = format!("it shows {}", frame.summary());
        if let Some(mode) = options.mode.filter(|mode| *mode != frame.mode()) {
            saw += &format!(", not {mode}");
        }
        if let Some(hash) = options.hash.as_ref().filter(|hash| self.hash.as_ref() != Some(hash)) {
            saw += &format!(", not sha256:{hash}");
        }
        if options.not_blank && frame.is_blank(&options.ignore) {
            saw += ", of one colour";
        }
        let stability = self.stability.as_ref().filter(|it| !it.is_enough());
        if let (Some(needed), Some(stability)) = (options.stable, stability) {
            saw += &format!(
                ", stable for {} ms of {} ms",
                stability.rest().as_millis(),
                needed.as_millis()
            );
            if let Some(place) = stability.disturbed {
                saw += &format!(" since a change at {place}");
            }
        }
        format!("{start}: {saw}; look at it with `mdev-user screenshot`, or give it more --timeout")
    }
}
