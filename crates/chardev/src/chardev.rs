//! The stream: what is the same whichever end it has.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use crate::end::{End, Events, File, Null, Pipe, Pty, Sent, Stdio, Stream, Wants};
use crate::history::History;
use crate::log_file::{LOG, LogFile};
use crate::poller::Poller;
use crate::spec::{Backend, Role, Spec};
use crate::{Event, OpenError};

/// Of the history so much is sent at once, before others on the same event loop have their turn.
const MAX_REPLAY: usize = 256 << 10;

/// What an event loop is to watch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Source<'a> {
    /// Names it in [`Chardev::ready`].
    pub token: u32,
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Wake when it can be read.
    pub readable: bool,
    /// Wake when it can be written.
    pub writable: bool,
}

/// The host's end of a byte stream, for an event loop that somebody else runs. No call of it waits.
///
/// The event loop watches [`sources`](Self::sources), level-triggered, and calls [`ready`](Self::ready) when one is ready
/// and [`timer`](Self::timer) when [`next_timer`](Self::next_timer) is due. **After each of both** it fetches the
/// [events](Self::event), [writes](Self::write) what it has and [reads](Self::read) what it has room for; in between it
/// need not try again what has been refused. `next_timer` may change with every call.
///
/// Output is what goes to the peer, input what comes from it.
#[derive(Debug)]
pub struct Chardev {
    end: Box<dyn End>,
    history: History,
    log: Option<LogFile>,
    events: Events,
    poller: Poller,
    /// There is room for input.
    input: bool,
    /// The last write was taken in part: its owner has a rest.
    short: bool,
    /// There was room again for the rest, and its owner has not come back to it yet.
    offered: bool,
    /// Nobody has been there yet, and output waits for the first.
    holds: bool,
}

impl Chardev {
    /// Opens an end: makes sockets, links and files. What it makes in the file system, files apart, goes when it is
    /// dropped.
    ///
    /// Names are looked up here, and an end that is to connect without `reconnect-ms` does so here: both may take time.
    ///
    /// # Errors
    /// [`OpenError`] names the thing and the way out.
    pub fn open(spec: &Spec) -> Result<Self, OpenError> {
        let poller = Poller::new().map_err(std::io::Error::from)?;
        let mut holds = false;
        let end: Box<dyn End> = match &spec.backend {
            Backend::Loopback => return Err(OpenError::WithinTheCard { word: "loopback" }),
            Backend::Crossover => return Err(OpenError::WithinTheCard { word: "crossover" }),
            Backend::Null => Box::new(Null),
            Backend::Pty { link } => Box::new(Pty::open(link.as_deref(), &poller)?),
            Backend::Unix { path, role } => {
                holds = *role == Role::Server { wait: true };
                Box::new(Stream::unix(path, *role, &poller)?)
            }
            Backend::Tcp { host, port, role, nodelay } => {
                holds = *role == Role::Server { wait: true };
                Box::new(Stream::tcp(host, port, *role, *nodelay, &poller)?)
            }
            Backend::File { path, append } => Box::new(File::open(path, *append, &poller)?),
            Backend::Stdio => Box::new(Stdio::open(&poller)?),
            Backend::Pipe { path } => Box::new(Pipe::open(path, &poller)?),
        };
        // Last, as it may empty a file.
        let log = spec.log.as_ref().map(|log| LogFile::open(log, &poller)).transpose()?;
        let mut events = Events::default();
        if end.is_connected() {
            events.push(Event::Connected);
        }
        let history = History::new(spec.history);
        let (input, short, offered) = (true, false, false);
        let mut chardev = Self { end, history, log, events, poller, input, short, offered, holds };
        chardev.turn(&[]);
        Ok(chardev)
    }

    /// What to watch. It is one descriptor, for as long as this lives: an epoll of the end's own, of which the state of
    /// the end moves things in and out.
    pub fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        [Source { token: 0, fd: self.poller.as_fd(), readable: true, writable: false }].into_iter()
    }

    /// A number that changes whenever [`sources`](Self::sources) does: never, as it is now.
    pub fn generation(&self) -> u64 {
        0
    }

    /// A source is ready.
    pub fn ready(&mut self, _token: u32, _readable: bool, _writable: bool) {
        let happened: Vec<_> = self.poller.take().collect();
        self.turn(&happened);
    }

    /// When to call [`timer`](Self::timer), if at all; what lies in the past is due at once.
    pub fn next_timer(&self) -> Option<Instant> {
        // Whoever holds a rest would wait for a wake-up that nobody is there to cause any more.
        if self.short && !self.end.is_connected() && !self.holds {
            return Some(Instant::now());
        }
        self.end.next_timer(self.wants())
    }

    /// It is time.
    pub fn timer(&mut self, now: Instant) {
        if self.next_timer().is_some_and(|at| at <= now) {
            self.offer();
        }
        let happened: Vec<_> = self.poller.take().collect();
        self.turn_at(&happened, now);
    }

    /// Hands output over, and answers how much of it was taken: by the peer, or by the history if there is none. The rest
    /// stays with the caller, who tries again after the next [`ready`](Self::ready) or [`timer`](Self::timer).
    ///
    /// A caller whose rest is no more, as after a reset, says so with a write of nothing.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let owes = self.short || self.offered || !self.history.is_empty();
        if !owes && self.end.is_half_closed() {
            self.end.finish(&mut self.events);
        }
        self.offered = false;
        self.replay();
        let taken = self.take(bytes);
        self.short = taken < bytes.len();
        if let Some(log) = &mut self.log {
            log.write(bytes.get(..taken).unwrap_or_default());
        }
        self.settle();
        taken
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.end.is_connected() && self.history.is_empty() && taken < bytes.len() {
            match self.end.send(bytes.get(taken..).unwrap_or_default(), &mut self.events) {
                Sent::Took(0) => return taken,
                Sent::Took(count) => taken += count,
                Sent::Gone => break,
            }
        }
        if self.end.is_connected() && !self.history.is_empty() || self.holds {
            return taken;
        }
        self.history.push(bytes.get(taken..).unwrap_or_default());
        bytes.len()
    }

    /// Takes the place of another end: what nobody has taken from that one's history comes before all that is written here.
    /// Of a long one that is over several turns, with a peer all of it and else as much as this history holds. The log has
    /// none of it. The other one is closed.
    pub fn succeed(&mut self, other: Self) {
        self.history.inherit(other.history);
        self.replay();
        if !self.end.is_connected() {
            self.history.trim();
        }
        self.settle();
    }

    /// Fetches input, and answers how much; 0 when there is none for now. A break in the input ends the read in front of
    /// it, and is then among the events: who minds its place fetches them after each read.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        if into.is_empty() {
            return 0;
        }
        let count = self.end.receive(into, &mut self.events);
        self.settle();
        count
    }

    /// Whether there is room for input. Without, input does not wake the event loop. There is at first.
    pub fn wants_input(&mut self, wants: bool) {
        if self.input != wants {
            self.input = wants;
            self.watch();
        }
    }

    /// Whether a peer is there to take output.
    pub fn is_connected(&self) -> bool {
        self.end.is_connected()
    }

    /// Who is there: the address of a TCP peer, or the process of a UNIX socket's, as it was when it connected. `None` if
    /// nobody is, or if the system does not tell.
    pub fn peer(&self) -> Option<String> {
        self.end.peer()
    }

    /// What has happened since this was last asked, one at a time. Of 64 that are not fetched the eldest are forgotten.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Where a peer finds this end: the path of the socket or terminal, the address with its port. `None` if it has none.
    pub fn address(&self) -> Option<String> {
        self.end.address()
    }

    /// Bytes of output that wait for a peer.
    pub fn pending(&self) -> usize {
        self.history.len()
    }

    /// Bytes of output that fell out of the history: nobody will see them.
    pub fn dropped(&self) -> u64 {
        self.history.dropped()
    }

    /// Bytes that are missing in the log file.
    pub fn log_lost(&self) -> u64 {
        self.log.as_ref().map_or(0, LogFile::lost)
    }

    fn turn(&mut self, happened: &[(u64, EventFlags)]) {
        self.turn_at(happened, Instant::now());
    }

    fn turn_at(&mut self, happened: &[(u64, EventFlags)], now: Instant) {
        for (key, flags) in happened {
            if *key == LOG {
                self.log.iter_mut().for_each(LogFile::go_on);
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                self.offer();
            }
            self.end.happened(*key, *flags, &mut self.events, now);
        }
        self.end.turn(&mut self.events, now);
        if self.end.is_connected() {
            self.holds = false;
        }
        self.replay();
        self.settle();
    }

    /// There may be room again: the owner of the rest has until the next turn to come back to it.
    fn offer(&mut self) {
        self.offered = self.short;
        self.short = false;
    }

    /// Sends what nobody was there for.
    fn replay(&mut self) {
        let mut budget = MAX_REPLAY;
        while budget != 0 && self.end.is_connected() && !self.history.is_empty() {
            let front = self.history.front();
            let front = front.get(..budget.min(front.len())).unwrap_or_default();
            match self.end.send(front, &mut self.events) {
                Sent::Took(0) | Sent::Gone => break,
                Sent::Took(count) => {
                    self.history.consume(count);
                    budget = budget.saturating_sub(count);
                }
            }
        }
    }

    /// What follows from the state that has been reached.
    fn settle(&mut self) {
        let owes = self.short || self.offered || !self.history.is_empty();
        if !owes && self.end.is_half_closed() {
            self.end.finish(&mut self.events);
        }
        self.watch();
    }

    fn wants(&self) -> Wants {
        let output = self.short || self.offered || !self.history.is_empty();
        Wants { input: self.input, output }
    }

    fn watch(&mut self) {
        let wants = self.wants();
        self.end.watch(wants);
    }
}

impl AsFd for Chardev {
    /// The one source.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
