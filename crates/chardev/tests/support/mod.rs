//! An event loop for one end, and what else the tests share.
#![allow(dead_code)] // each test uses some of it

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use chardev::{Chardev, Event, OpenError, Spec};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

/// Longer than anything takes on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn spec(text: &str) -> Spec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub fn open(text: &str) -> Result<Chardev, OpenError> {
    Chardev::open(&spec(text))
}

/// An end, who owns it, and what went through it.
pub struct Port {
    pub chardev: Chardev,
    /// What is still to be sent.
    pub output: Vec<u8>,
    /// What came.
    pub input: Vec<u8>,
    pub events: Vec<Event>,
    /// Room for input, in bytes a turn; 0: none.
    pub room: usize,
    pub turns: usize,
    /// Watches a duplicate of the source, level-triggered, as event loops do.
    epoll: OwnedFd,
}

impl Port {
    pub fn open(text: &str) -> Self {
        Self::of(open(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    pub fn of(chardev: Chardev) -> Self {
        let (output, input, events) = (Vec::new(), Vec::new(), Vec::new());
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let sources: Vec<_> = chardev.sources().collect();
        let [source] = sources[..] else { panic!("{sources:?}") };
        assert!(source.readable && !source.writable && source.token == 0);
        let fd = source.fd.try_clone_to_owned().unwrap();
        epoll::add(&epoll, &fd, EventData::new_u64(0), EventFlags::IN).unwrap();
        Self { chardev, output, input, events, room: 4096, turns: 0, epoll }
    }

    /// What its owner does after each turn.
    pub fn pump(&mut self) {
        let taken = self.chardev.write(&self.output);
        self.output.drain(..taken);
        if self.room != 0 {
            let mut bytes = vec![0; self.room];
            let count = self.chardev.read(&mut bytes);
            self.input.extend(&bytes[..count]);
        }
        while let Some(event) = self.chardev.event() {
            self.events.push(event);
        }
    }

    /// Sends, as far as it goes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.output.extend(bytes);
        self.pump();
    }

    pub fn accept_input(&mut self, room: usize) {
        self.room = room;
        self.chardev.wants_input(room != 0);
    }

    /// Waits for this long at most, and does what is to be done.
    pub fn turn(&mut self, most: Duration) {
        let due = self.chardev.next_timer().map(|at| at.saturating_duration_since(Instant::now()));
        let pause = due.unwrap_or(most).min(most);
        if self.is_ready(pause) {
            self.chardev.ready(0, true, false);
            self.turns += 1;
        }
        let now = Instant::now();
        if self.chardev.next_timer().is_some_and(|at| at <= now) {
            self.chardev.timer(now);
            self.turns += 1;
        }
        self.pump();
    }

    /// Turns until it is so.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "never: {what}; {:?} {:?}", self.events, self.chardev);
            self.turn(Duration::from_millis(5));
        }
    }

    /// Turns for a while.
    pub fn during(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now()));
        }
    }

    fn is_ready(&self, pause: Duration) -> bool {
        let pause = Timespec::try_from(pause).unwrap();
        let mut events = [MaybeUninit::uninit(); 4];
        match epoll::wait(&self.epoll, &mut events, Some(&pause)) {
            Ok((found, _)) => !found.is_empty(),
            Err(error) => {
                assert_eq!(error, Errno::INTR);
                false
            }
        }
    }

    /// Whether an event loop would be woken now.
    pub fn has_work(&self) -> bool {
        self.is_ready(Duration::ZERO)
    }
}

/// Numbers by a seed (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % most
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}
