//! What hangs on one port: a plug, or a back end of the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chardev::{Chardev, Event};
use mtty::line::{Character, Host, Line, Room, Sent, Settings};
use mtty::spec::{lsr, mcr, msr};
use rustix::process::{Signal, getpid, kill_process};
use vfio_device::Interest;

use super::bell::Ringer;
use super::exchange::{End, Hung, Lost};
use super::incoming::Incoming;
use super::overrides::Overrides;
use super::port::Orders;
use super::record::{Heard, Record};
use super::status::{Counters, Status};

/// The host's numbers: orders, and after it the sources of the back end.
const ORDERS: u32 = 0;
const SOURCES: u32 = 1;
/// Timers: what has gathered is to be written; the back end's own; something is to be plugged in.
const BURST: u32 = 0;
pub(super) const BACK_END: u32 = 1;
pub(super) const PLUG: u32 = 2;
/// How long a burst of the guest is gathered. Its accesses come 10 to 70 us apart.
const GATHER: Duration = Duration::from_millis(1);
/// Bytes of a burst, at most; then it is written at once.
const BURST_MOST: usize = 4096;

/// A port's line, whatever is at its end.
///
/// | what | while |
/// |---|---|
/// | DSR, DCD on | a peer is connected |
/// | CTS on | the peer, or with nobody there the history, takes what the guest sends |
/// | input goes to the guest | RTS is on |
///
/// What the guest sends is gathered for a millisecond, and handed over in one piece. When the peer does not take all of it
/// the transmitter stops. With a plug the lines are those of `mtty::line`.
pub struct Wire {
    pub(super) hung: Hung,
    /// Nothing hangs on it at this moment.
    pub(super) unplugged: bool,
    /// Whether whoever has this line paces it.
    pub(super) pace: Arc<AtomicBool>,
    orders: Orders,
    /// What the guest has sent and the peer has not taken.
    pub(super) burst: Vec<u8>,
    /// The peer does not take it.
    pub(super) stalled: bool,
    incoming: Incoming,
    overrides: Overrides,
    record: Record,
    /// Up to where those who wait have been told.
    told: u64,
    /// Those who wait for output.
    waiters: Vec<Ringer>,
    outputs: u8,
    inputs: u8,
    settings: Settings,
    counters: Counters,
    pub(super) lost: Lost,
    /// What the host was last told of the back end.
    generation: Option<u64>,
    sources: u32,
    pub(super) due: Option<Instant>,
}

impl Wire {
    pub(super) fn new(hung: Hung, pace: Arc<AtomicBool>, orders: Orders) -> Self {
        Self {
            hung,
            unplugged: false,
            pace,
            orders,
            burst: Vec::with_capacity(BURST_MOST),
            stalled: false,
            incoming: Incoming::new(),
            overrides: Overrides::default(),
            record: Record::new(),
            told: 0,
            waiters: Vec::new(),
            outputs: 0,
            inputs: 0,
            settings: Settings::default(),
            counters: Counters::default(),
            lost: Lost::default(),
            generation: None,
            sources: 0,
            due: None,
        }
    }

    /// What was asked for.
    pub(super) fn text(&self) -> &str {
        &self.hung.text
    }

    /// How it does.
    pub fn status(&self) -> Status {
        let of = |count: fn(&Chardev) -> u64| self.hung.chardev.as_ref().map_or(0, count);
        let host = self.hung.host();
        Status {
            spec: self.hung.text.clone(),
            connected: host.map(Chardev::is_connected),
            address: host.and_then(Chardev::address),
            peer: host.and_then(Chardev::peer),
            paced: self.pace.load(Ordering::Relaxed),
            outputs: self.outputs,
            inputs: self.inputs,
            overrides: self.overrides,
            settings: self.settings,
            counters: self.counters,
            pending: self.burst.len() + host.map_or(0, Chardev::pending),
            waiting: self.incoming.len(),
            dropped: self.lost.dropped + of(Chardev::dropped),
            log_lost: self.lost.log + of(Chardev::log_lost),
        }
    }

    /// Sets modem inputs by hand.
    pub fn set_lines(&mut self, change: Overrides) {
        self.overrides.change(change);
    }

    /// Sends the guest a character after what is on its way; `None`: a break.
    /// `None` is answered if too much is on its way already.
    pub fn inject(&mut self, errors: Option<u8>) -> Option<u64> {
        self.incoming.put(vec![0], errors.unwrap_or(Character::BREAK.errors), None)
    }

    /// Sends the guest bytes after what is on its way, and drops `done` when it has taken them. Returns a number for
    /// [`withdraw`](Self::withdraw), or `None` if too much is on its way already.
    pub fn send(&mut self, bytes: Vec<u8>, done: Ringer) -> Option<u64> {
        self.incoming.put(bytes, 0, Some(done))
    }

    /// Takes back what the guest has not taken of that. How much that was.
    pub fn withdraw(&mut self, number: u64) -> usize {
        self.incoming.withdraw(number)
    }

    /// What the guest has sent since the last match, if that is more than up to `end`; or `tell` is dropped when there is
    /// more.
    pub fn listen(&mut self, end: Option<u64>, tell: Ringer) -> Option<Heard> {
        if end.is_none_or(|end| end < self.record.end()) {
            return Some(self.record.unmatched());
        }
        self.tell();
        self.waiters.retain(Ringer::is_heard);
        self.waiters.push(tell);
        None
    }

    /// What the guest has sent up to there is not listened for again.
    pub fn set_matched(&mut self, position: u64) {
        self.record.set_matched(position);
    }

    /// Hands over what has gathered.
    pub(super) fn flush(&mut self) {
        if let Some(chardev) = &mut self.hung.chardev
            && !self.burst.is_empty()
            && !self.unplugged
        {
            let taken = chardev.write(&self.burst).min(self.burst.len());
            self.burst.drain(..taken);
            self.stalled = !self.burst.is_empty();
        }
        self.fetch_events();
    }

    fn has_room(&mut self) -> bool {
        if self.burst.len() >= BURST_MOST && !self.stalled {
            self.flush();
        }
        !self.stalled && self.burst.len() < BURST_MOST
    }

    fn fetch_events(&mut self) {
        while let Some(event) = self.hung.chardev.as_mut().and_then(Chardev::event) {
            match event {
                Event::Break => self.incoming.push_break(),
                Event::Leave => leave(),
                Event::Connected => log::debug!("{}: connected", self.hung.text),
                Event::Disconnected => log::debug!("{}: disconnected", self.hung.text),
                _ => (),
            }
        }
    }

    /// After each turn of the back end.
    pub(super) fn turn(&mut self) {
        self.fetch_events();
        self.flush();
        self.incoming.not_dry();
        self.read();
    }

    fn read(&mut self) {
        if let Some(chardev) = self.hung.chardev.as_mut().filter(|_| self.hung.end == End::Host) {
            self.incoming.read(chardev);
            self.fetch_events();
        }
    }

    fn tell(&mut self) {
        if self.told != self.record.end() {
            self.told = self.record.end();
            self.waiters.clear();
        }
    }

    /// Has the host watch nothing of a back end any more.
    pub(super) fn forget_sources(&mut self, host: &mut Host<'_>) {
        (0..self.sources).for_each(|number| host.unwatch(SOURCES + number));
        self.sources = 0;
        self.generation = None;
    }

    /// Has the host watch what the back end wants to be watched.
    fn mirror(&mut self, host: &mut Host<'_>) {
        let Some(chardev) = &mut self.hung.chardev else { return };
        chardev.wants_input(self.incoming.wants_input());
        if self.generation.replace(chardev.generation()) != Some(chardev.generation()) {
            (0..self.sources).for_each(|number| host.unwatch(SOURCES + number));
            self.sources = 0;
            for source in chardev.sources() {
                let interest = Interest { readable: source.readable, writable: source.writable };
                match source.fd.try_clone_to_owned() {
                    Ok(fd) => host.watch(SOURCES + source.token, fd, interest),
                    Err(error) => log::error!("{}: cannot be watched: {error}", self.hung.text),
                }
                self.sources = self.sources.max(source.token + 1);
            }
        }
        let due = chardev.next_timer();
        if due != self.due || due.is_some() && !host.is_running(BACK_END) {
            self.due = due;
            match due {
                Some(at) => {
                    let after = at.saturating_duration_since(Instant::now());
                    host.start_timer(BACK_END, after);
                }
                None => host.stop_timer(BACK_END),
            }
        }
    }
}

impl Line for Wire {
    fn transmit(&mut self, sent: Character, room: Room) -> Sent {
        let done = match self.hung.end {
            End::Host => Sent::Away,
            _ if self.unplugged => return Sent::Held,
            End::Loopback if room.back => Sent::Back,
            End::Crossover if room.across => Sent::Across,
            End::Loopback | End::Crossover => return Sent::Held,
        };
        // A log always takes what it is given.
        if self.hung.chardev.is_some() && !self.has_room() {
            return Sent::Held;
        }
        if sent.is_break() {
            self.counters.breaks_sent += 1;
            return done;
        }
        self.counters.sent += 1;
        self.record.push(sent.data);
        if self.hung.chardev.is_some() {
            self.burst.push(sent.data);
        }
        done
    }

    fn receive(&mut self) -> Option<Character> {
        if self.unplugged || self.hung.end == End::Host && self.outputs & mcr::RTS == 0 {
            return None;
        }
        self.incoming.forget_unheard();
        if self.incoming.must_look() {
            self.read();
        }
        let character = self.incoming.next()?;
        if character.is_break() {
            self.counters.breaks_received += 1;
        } else {
            self.counters.received += 1;
        }
        Some(character)
    }

    fn modem(&mut self, outputs: u8, across: u8) -> u8 {
        self.outputs = outputs;
        let inputs = match self.hung.end {
            _ if self.unplugged => 0,
            End::Loopback => msr::CTS | msr::DSR | msr::DCD,
            End::Crossover => across,
            End::Host => {
                let is_connected = self.hung.host().is_some_and(Chardev::is_connected);
                let cts = if self.stalled { 0 } else { msr::CTS };
                cts | if is_connected { msr::DSR | msr::DCD } else { 0 }
            }
        };
        self.inputs = self.overrides.of(inputs);
        self.inputs
    }

    fn outruns(&self) -> bool {
        self.hung.end == End::Host
    }

    fn start(&mut self, host: &mut Host<'_>) {
        match self.orders.wake() {
            Ok(wake) => host.watch(ORDERS, wake, Interest::READ),
            Err(error) => log::error!("{}: verbs cannot reach it: {error}", self.hung.text),
        }
        self.turn();
        self.mirror(host);
    }

    fn settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn settle(&mut self, host: &mut Host<'_>) {
        let is_due = !self.burst.is_empty() && !self.stalled && !self.unplugged
            || !self.waiters.is_empty() && self.told != self.record.end();
        // Not anew: whoever waits for the first byte of a long burst has it in a millisecond too.
        if is_due && !host.is_running(BURST) {
            host.start_timer(BURST, GATHER);
        }
        self.mirror(host);
    }

    fn ready(&mut self, n: u32, ready: Interest, host: &mut Host<'_>) {
        if n == ORDERS {
            self.orders.calm();
            self.change(self.orders.change(), host);
            while let Some(order) = self.orders.next() {
                order(self);
            }
        } else if let Some(chardev) = &mut self.hung.chardev {
            chardev.ready(n.saturating_sub(SOURCES), ready.readable, ready.writable);
            self.turn();
        }
    }

    fn timer(&mut self, n: u32, _host: &mut Host<'_>) {
        if n == BURST {
            self.flush();
            self.tell();
        } else if n == PLUG {
            self.plug_in();
        } else if let Some(chardev) = &mut self.hung.chardev {
            self.due = None;
            chardev.timer(Instant::now());
            self.turn();
        }
    }
}

/// As from outside: whatever a signal ends is ended in the same way.
fn leave() {
    log::info!("asked to leave by the terminal");
    if let Err(error) = kill_process(getpid(), Signal::TERM) {
        log::error!("cannot end the program: {error}");
    }
}

/// The error bits of an injected character, by the verb's word.
pub fn errors(word: &str) -> Option<u8> {
    match word {
        "parity" => Some(lsr::PE),
        "framing" => Some(lsr::FE),
        "overrun" => Some(lsr::OE),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
