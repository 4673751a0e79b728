//! A line on which characters take the time that they would.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vfio_device::Interest;

use crate::host::{Host, PACE_RECEIVE, PACE_TRANSMIT};
use crate::line::{Character, Line, Room, Sent, Settings};

/// Characters that pass in so much time may pass together.
const TICK: Duration = Duration::from_millis(1);
/// A timer that was late by no more than this does not slow the line down.
const LATE: Duration = Duration::from_millis(100);

/// Another line, at the rate that the guest has set: start, data, parity and stop bits, at 115200 / divisor baud, in each
/// direction.
///
/// What would pass within a millisecond may pass at its beginning; in all no character is early by more. Order, breaks
/// and errors are the other line's. Its timers and descriptors are its own.
pub struct Paced {
    line: Box<dyn Line>,
    /// `None`: for good.
    switch: Option<Arc<AtomicBool>>,
    settings: Settings,
    transmit: Pace,
    receive: Pace,
}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Paced {
    /// Paces `line`.
    pub fn new(line: Box<dyn Line>) -> Self {
        Self {
            line,
            switch: None,
            settings: Settings::default(),
            transmit: Pace::default(),
            receive: Pace::default(),
        }
    }

    /// Paces `line` while `switch` is on. It is looked at whenever the port is: whoever turns it sees to an event of the
    /// line's ([`ready`](Line::ready), [`timer`](Line::timer)) if what has been held up is to move at once.
    pub fn switched(line: Box<dyn Line>, switch: Arc<AtomicBool>) -> Self {
        Self { switch: Some(switch), ..Self::new(line) }
    }

    fn is_on(&self) -> bool {
        self.switch.as_ref().is_none_or(|switch| switch.load(Ordering::Relaxed))
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Pace {
    /// Characters that have passed since the last ones had their time.
    passed: u32,
    /// When those that have passed have had theirs.
    due: Option<Instant>,
    /// When the ones before had theirs, if that was just now.
    since: Option<Instant>,
}

impl Pace {
    /// Whether a character may pass now.
    fn is_open(&self, settings: Settings) -> bool {
        let character = settings.time_of(1).as_nanos().max(1);
        self.due.is_none() && u128::from(self.passed) < (TICK.as_nanos() / character).max(1)
    }

    /// Has those that have passed take their time, as timer `number`.
    fn settle(&mut self, number: u32, settings: Settings, host: &mut Host<'_>) {
        let since = self.since.take();
        let passed = std::mem::take(&mut self.passed);
        if passed == 0 {
            return;
        }
        let now = Instant::now();
        let since = since.filter(|&since| now.saturating_duration_since(since) < LATE);
        let due = since.unwrap_or(now) + settings.time_of(passed);
        self.due = Some(due);
        host.start(number, due.saturating_duration_since(now));
    }

    fn had_its_time(&mut self) {
        self.since = self.due.take();
    }
}

impl Line for Paced {
    fn transmit(&mut self, sent: Character, room: Room) -> Sent {
        if !self.is_on() {
            return self.line.transmit(sent, room);
        }
        if !self.transmit.is_open(self.settings) {
            return Sent::Held;
        }
        let done = self.line.transmit(sent, room);
        self.transmit.passed += u32::from(done != Sent::Held);
        done
    }

    fn receive(&mut self) -> Option<Character> {
        if !self.is_on() {
            return self.line.receive();
        }
        if !self.receive.is_open(self.settings) {
            return None;
        }
        let character = self.line.receive();
        self.receive.passed += u32::from(character.is_some());
        character
    }

    fn modem(&mut self, outputs: u8, across: u8) -> u8 {
        self.line.modem(outputs, across)
    }

    fn outruns(&self) -> bool {
        !self.is_on() && self.line.outruns()
    }

    fn start(&mut self, host: &mut Host<'_>) {
        self.line.start(host);
    }

    fn settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.line.settings(settings);
    }

    fn settle(&mut self, host: &mut Host<'_>) {
        self.transmit.settle(PACE_TRANSMIT, self.settings, host);
        self.receive.settle(PACE_RECEIVE, self.settings, host);
        self.line.settle(host);
    }

    fn ready(&mut self, n: u32, ready: Interest, host: &mut Host<'_>) {
        self.line.ready(n, ready, host);
    }

    fn timer(&mut self, n: u32, host: &mut Host<'_>) {
        match n {
            PACE_TRANSMIT => self.transmit.had_its_time(),
            PACE_RECEIVE => self.receive.had_its_time(),
            n => self.line.timer(n, host),
        }
    }
}
