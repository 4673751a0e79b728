//! `mdev-user wait`: until a device's picture is as it should be.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::print as print_text;
use crate::cli;
use crate::control::client::Deadline;
use crate::errors::complain;
use crate::view::{Error as ViewError, Frame, Stability, Viewer};

/// From one look to the next, at least.
const PAUSE: Duration = Duration::from_millis(20);
/// And at most, also if the last answer was long in coming.
const MOST_PAUSE: Duration = Duration::from_secs(1);

/// However short the time-out is, a server may take this long for its first answers.
const LEAST: Duration = Duration::from_secs(1);
/// What has gone wrong for no longer than this needs no word: a look may be cut off by the end.
const HICCUP: Duration = Duration::from_secs(1);

pub fn wait(options: cli::Wait) -> Result<ExitCode, Box<dyn Error>> {
    let start = Instant::now();
    let deadline = Deadline::after(options.timeout.max(LEAST));
    let ask = &options.ask;
    let mut viewer = Viewer::new(ask.server.path(), ask.device.clone());
    let mut seen = Seen::new(&options);
    loop {
        let begun = Instant::now();
        match viewer.look(deadline) {
            Ok(frame) => {
                if seen.see(frame, &options) {
                    return finish(seen);
                }
            }
            Err(error) if error.can_pass() => seen.miss(begun, error),
            Err(error) => return Err(error.into()),
        }
        // As long again as looking took: half of the machine is the guest's.
        let left = options.timeout.saturating_sub(start.elapsed());
        thread::sleep(begun.elapsed().clamp(PAUSE, MOST_PAUSE).min(left));
        if start.elapsed() >= options.timeout {
            complain(seen.report(&options, viewer.node()));
            return Ok(ExitCode::FAILURE);
        }
    }
}

fn finish(seen: Seen) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(frame) = seen.frame.flatten() {
        print_text(&(frame.summary() + "\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was seen so far.
struct Seen {
    /// Last; in it nothing, if there was no picture.
    frame: Option<Option<Frame>>,
    /// Why nothing can be seen now, and since when.
    missed: Option<(Instant, ViewError)>,
    /// Its hash, if that is asked for.
    hash: Option<String>,
    stability: Option<Stability>,
}

impl Seen {
    fn new(options: &cli::Wait) -> Self {
        let stability = options.stable.map(|time| Stability::new(time, options.ignore.clone()));
        Self { frame: None, missed: None, hash: None, stability }
    }

    /// Takes in one look. Returns whether all is as it should be.
    fn see(&mut self, frame: Option<Frame>, options: &cli::Wait) -> bool {
        self.missed = None;
        let Some(frame) = frame else {
            self.frame = Some(None);
            self.stability.iter_mut().for_each(Stability::lose);
            return false;
        };
        let now = Instant::now();
        let is_stable = self.stability.as_mut().is_none_or(|stability| {
            stability.see(&frame, now);
            stability.is_enough()
        });
        let last = self.frame.as_ref().and_then(Option::as_ref);
        if options.hash.is_some() && last != Some(&frame) {
            self.hash = Some(frame.hash());
        }
        let holds = is_stable
            && options.mode.is_none_or(|mode| frame.mode() == mode)
            && (options.hash.is_none() || options.hash == self.hash)
            && !(options.not_blank && frame.is_blank(&options.ignore));
        self.frame = Some(Some(frame));
        holds
    }

    /// Takes in a look, begun at `begun`, that came to nothing.
    fn miss(&mut self, begun: Instant, error: ViewError) {
        let since = self.missed.take().map_or(begun, |(since, _)| since);
        self.missed = Some((since, error));
        // Who knows what was there.
        self.stability.iter_mut().for_each(Stability::lose);
    }

    /// What was seen last and what is wrong with it, in a line.
    fn report(&self, options: &cli::Wait, node: &str) -> String {
        let frame = match (&self.frame, &self.missed) {
            (None, Some((_, error))) => return error.to_string(),
            (frame, _) => frame.as_ref().and_then(Option::as_ref),
        };
        let time = match options.timeout {
            Duration::ZERO => "0s".into(), // for which Rust says 0ns
            time => format!("{time:?}"),
        };
        let mut start = format!("{node} did not come to show what is waited for within {time}");
        let missed = self.missed.as_ref().filter(|(since, _)| since.elapsed() > HICCUP);
        if let Some((since, error)) = missed {
            let seconds = since.elapsed().as_secs();
            start += &format!(", and has not been seen for {seconds} s ({error}); before that");
        }
        let Some(frame) = frame else {
            return format!(
                "{start}: it shows no picture, as no driver has set a mode (beside another display, such as \
                 QEMU's without -vga none, a guest may leave it dark); give it more --timeout"
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
