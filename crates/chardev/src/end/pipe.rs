//! Two FIFOs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, read, write};

use super::{End, Events, Sent, Wants};
use crate::poller::{Poller, Watched};
use crate::{Event, OpenError, files};

const IN: u64 = 0;
const OUT: u64 = 1;
/// A FIFO that nobody reads does not tell when somebody does: how often to look.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Pipe {
    input: Watched,
    /// Opened when there is a reader for the first time, and kept: bytes that one has left in it are for the next.
    output: Option<Watched>,
    path: PathBuf,
    is_connected: bool,
    look: Instant,
    poller: Poller,
}

impl Pipe {
    pub(crate) fn open(path: &Path, poller: &Poller) -> Result<Self, OpenError> {
        let with = |end: &str| {
            let mut path = path.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        let (from, to) = (with(".in"), with(".out"));
        // For writing too: so it does not end when its writer leaves.
        let input = fifo(&from, true, true)?;
        // Two who read it would each have a part.
        files::keep(&input, &from, false)?;
        let output = match fifo(&to, false, true) {
            Err(OpenError::File { error, .. }) if no_reader(&error) => None,
            done => Some(Watched::new(done?.into(), OUT, poller)),
        };
        let input = Watched::new(input.into(), IN, poller);
        let poller = poller.clone();
        Ok(Self { input, output, path: to, is_connected: false, look: Instant::now(), poller })
    }

    fn look(&mut self, events: &mut Events, now: Instant) {
        if self.output.is_none() {
            let found = fifo(&self.path, false, true).ok();
            self.output = found.map(|file| Watched::new(file.into(), OUT, &self.poller));
        }
        let has_reader = |output: &Watched| !output.poll(PollFlags::OUT).contains(PollFlags::ERR);
        let is_there = self.output.as_ref().is_some_and(has_reader);
        if is_there != self.is_connected {
            self.is_connected = is_there;
            events.push(if is_there { Event::Connected } else { Event::Disconnected });
        }
        self.look = now + LOOK;
    }
}

fn no_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
}

fn fifo(path: &Path, readable: bool, writable: bool) -> Result<File, OpenError> {
    let nonblock = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(readable).write(writable).custom_flags(nonblock.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::NoFifo { path: path.into() });
        }
        done => done.map_err(|error| OpenError::file(path, error))?,
    };
    let is_fifo = file.metadata().is_ok_and(|found| found.file_type().is_fifo());
    if is_fifo { Ok(file) } else { Err(OpenError::NotAFifo { path: path.into() }) }
}

impl End for Pipe {
    fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn send(&mut self, bytes: &[u8], events: &mut Events) -> Sent {
        let Some(output) = &self.output else { return Sent::Gone };
        // To write where nobody reads would be a signal.
        if output.poll(PollFlags::OUT).contains(PollFlags::ERR) {
            self.look(events, Instant::now());
            return Sent::Gone;
        }
        let sent = Sent::from(write(output, bytes));
        if sent == Sent::Gone {
            self.look(events, Instant::now());
        }
        sent
    }

    fn receive(&mut self, into: &mut [u8], _events: &mut Events) -> usize {
        read(&self.input, into).unwrap_or(0)
    }

    fn happened(&mut self, key: u64, flags: EventFlags, events: &mut Events, now: Instant) {
        if key == OUT && flags.contains(EventFlags::ERR) {
            self.look(events, now);
        }
    }

    fn turn(&mut self, events: &mut Events, now: Instant) {
        if !self.is_connected && self.look <= now {
            self.look(events, now);
        }
    }

    fn watch(&mut self, wants: Wants) {
        self.input.watch(if wants.input { EventFlags::IN } else { EventFlags::empty() });
        if let Some(output) = &mut self.output {
            let mut flags = EventFlags::empty();
            if self.is_connected {
                // Of interest or not, an error is reported: no reader any more.
                flags = EventFlags::PRI;
                flags.set(EventFlags::OUT, wants.output);
            }
            output.watch(flags);
        }
    }

    fn next_timer(&self, _wants: Wants) -> Option<Instant> {
        (!self.is_connected).then_some(self.look)
    }
}
