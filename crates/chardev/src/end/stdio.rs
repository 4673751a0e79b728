//! Standard input and output.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::{Errno, read, write};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::termios::isatty;
use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGTSTP};

use super::{End, Events, Sent, Wants};
use crate::poller::{Poller, Watched};
use crate::{Event, OpenError, terminal};

const IN: u64 = 0;
const OUT: u64 = 1;
const SIGNALS: u64 = 2;
/// What leads to a command: Ctrl-A.
const ESCAPE: u8 = 1;
const HELP: &[u8] = b"\r\n\
    Ctrl-A x  leave\r\n\
    Ctrl-A b  send a break\r\n\
    Ctrl-A h  this help\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A\r\n";
/// What is typed, or pasted, ahead of a guest that has no room, at most; then it stays with the terminal.
const MAX_AHEAD: usize = 64 << 10;
/// Bytes that a terminal or pipe takes at once when it says that it takes any.
const CAREFUL: usize = 256;
/// In the background, how often to look whether that is over.
const LOOK: Duration = Duration::from_secs(1);

static IN_USE: AtomicBool = AtomicBool::new(false);

/// Standard input and output, for one stream of the process.
#[derive(Debug)]
struct Claim;

impl Claim {
    fn new() -> Result<Self, OpenError> {
        if IN_USE.swap(true, Ordering::AcqRel) {
            return Err(OpenError::StdioInUse);
        }
        Ok(Self)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        IN_USE.store(false, Ordering::Release);
    }
}

/// How to read or write without waiting. The flag that makes a file not wait belongs to all who have it open, a shell
/// among them: so ours is opened once more, if that can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Does not wait by itself.
    Own,
    /// A socket, which is told each time.
    Socket,
    /// Shared: only when it says that it is ready, and little at a time.
    Shared,
}

fn own(fd: BorrowedFd<'_>, writable: bool) -> io::Result<(OwnedFd, Manner)> {
    let shared = fd.try_clone_to_owned()?;
    Ok(match FileType::from_raw_mode(fstat(fd)?.st_mode) {
        FileType::Socket => (shared, Manner::Socket),
        // With a place in it that is shared too, as the shell's `>` and `>>` would have it.
        FileType::RegularFile | FileType::BlockDevice => (shared, Manner::Own),
        _ => {
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            let mut options = OpenOptions::new();
            options.read(!writable).write(writable).custom_flags(flags);
            match options.open(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
                Ok(file) => (file.into(), Manner::Own),
                Err(_) => (shared, Manner::Shared),
            }
        }
    })
}

#[derive(Clone, Copy, Debug)]
enum Typed {
    Byte(u8),
    Break,
}

#[derive(Debug)]
struct Signals {
    socket: Watched,
    stop: Arc<AtomicBool>,
    ids: [SigId; 3],
}

impl Signals {
    fn new(poller: &Poller) -> io::Result<Self> {
        let (socket, to) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ids = [
            signal_hook::flag::register(SIGTSTP, Arc::clone(&stop))?,
            signal_hook::low_level::pipe::register(SIGTSTP, to.try_clone()?)?,
            signal_hook::low_level::pipe::register(SIGCONT, to)?,
        ];
        let mut socket = Watched::new(socket.into(), SIGNALS, poller);
        socket.watch(EventFlags::IN);
        Ok(Self { socket, stop, ids })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids {
            signal_hook::low_level::unregister(id);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stdio {
    input: Watched,
    how_in: Manner,
    at_end: bool,
    output: Watched,
    how_out: Manner,
    is_gone: bool,
    /// Standard input is a terminal: it is raw, and Ctrl-A is ours.
    signals: Option<Signals>,
    ahead: VecDeque<Typed>,
    escaped: bool,
    /// We are not whom the terminal's user is typing to.
    background: Option<Instant>,
    /// Of input and output, who is ready and cannot say so.
    unwatched: [Option<Instant>; 2],
    _claim: Claim,
}

impl Stdio {
    pub(crate) fn open(poller: &Poller) -> Result<Self, OpenError> {
        let claim = Claim::new()?;
        let fail = |which| move |error| OpenError::Stdio { which, error };
        let (input, how_in) = own(io::stdin().as_fd(), false).map_err(fail("input"))?;
        let (output, how_out) = own(io::stdout().as_fd(), true).map_err(fail("output"))?;
        let mut signals = None;
        if isatty(io::stdin()) {
            signals = Some(Signals::new(poller)?);
            terminal::take();
        }
        Ok(Self {
            input: Watched::new(input, IN, poller),
            how_in,
            at_end: false,
            output: Watched::new(output, OUT, poller),
            how_out,
            is_gone: false,
            signals,
            ahead: VecDeque::new(),
            escaped: false,
            background: None,
            unwatched: [None; 2],
            _claim: claim,
        })
    }

    fn fetch(&mut self, into: &mut [u8]) -> usize {
        if self.at_end || into.is_empty() {
            return 0;
        }
        if self.signals.is_some() && !terminal::is_ours() {
            self.background = Some(Instant::now() + LOOK);
            return 0;
        }
        let done = match self.how_in {
            Manner::Own => read(&self.input, into),
            Manner::Socket => recv(&self.input, into, RecvFlags::DONTWAIT).map(|(count, _)| count),
            Manner::Shared => match self.input.poll(PollFlags::IN).is_empty() {
                true => Err(Errno::AGAIN),
                false => read(&self.input, into),
            },
        };
        match done {
            Ok(count) => {
                self.at_end = count == 0;
                count
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                self.at_end = true;
                0
            }
        }
    }

    /// Looks at what is typed as soon as it is, also when there is no room for it: the user may want to leave.
    fn look(&mut self, events: &mut Events) {
        let mut bytes = [0; 1024];
        let room = MAX_AHEAD.saturating_sub(self.ahead.len()).min(bytes.len());
        let count = self.fetch(bytes.get_mut(..room).unwrap_or_default());
        for byte in bytes.into_iter().take(count) {
            let escaped = std::mem::take(&mut self.escaped);
            match byte {
                ESCAPE if !escaped => self.escaped = true,
                b'x' if escaped => {
                    // Whoever has the terminal next begins a line.
                    let _ = self.put(b"\r\n");
                    events.push(Event::Leave);
                }
                b'b' if escaped => self.ahead.push_back(Typed::Break),
                b'h' | b'?' if escaped => drop(self.put(HELP)),
                byte if byte == ESCAPE || !escaped => self.ahead.push_back(Typed::Byte(byte)),
                _ => (),
            }
        }
    }

    /// What has been typed: bytes for the guest up to a break.
    fn typed(&mut self, into: &mut [u8], events: &mut Events) -> usize {
        if self.ahead.is_empty() {
            self.look(events);
        }
        let mut count = 0;
        for slot in into {
            match self.ahead.pop_front() {
                Some(Typed::Byte(byte)) => {
                    *slot = byte;
                    count += 1;
                }
                Some(Typed::Break) => {
                    events.push(Event::Break);
                    break;
                }
                None => break,
            }
        }
        count
    }

    fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        if self.how_out == Manner::Socket {
            return send(&self.output, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
        let state = self.output.poll(PollFlags::OUT);
        if state.contains(PollFlags::ERR) {
            return Err(Errno::PIPE); // without the signal
        }
        match self.how_out {
            Manner::Shared if !state.contains(PollFlags::OUT) => Err(Errno::AGAIN),
            Manner::Shared => {
                write(&self.output, bytes.get(..CAREFUL.min(bytes.len())).unwrap_or_default())
            }
            _ => write(&self.output, bytes),
        }
    }

    fn signalled(&mut self) {
        let Some(signals) = &mut self.signals else { return };
        let _ = read(&signals.socket, &mut [0; 64]);
        if signals.stop.swap(false, Ordering::AcqRel) {
            terminal::lend();
            // Returns when the process goes on.
            let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
        }
        terminal::make_raw();
        self.background = None;
    }
}

impl End for Stdio {
    fn is_connected(&self) -> bool {
        !self.is_gone
    }

    fn send(&mut self, bytes: &[u8], events: &mut Events) -> Sent {
        if self.is_gone {
            return Sent::Gone;
        }
        let sent = Sent::from(self.put(bytes));
        if sent == Sent::Gone {
            self.is_gone = true;
            events.push(Event::Disconnected);
        }
        sent
    }

    fn receive(&mut self, into: &mut [u8], events: &mut Events) -> usize {
        match self.signals {
            Some(_) => self.typed(into, events),
            None => self.fetch(into),
        }
    }

    fn happened(&mut self, key: u64, flags: EventFlags, events: &mut Events, _now: Instant) {
        match key {
            SIGNALS => self.signalled(),
            IN if self.signals.is_some() => self.look(events),
            OUT if flags.contains(EventFlags::ERR) && !self.is_gone => {
                self.is_gone = true;
                events.push(Event::Disconnected);
            }
            _ => (),
        }
    }

    fn turn(&mut self, _events: &mut Events, now: Instant) {
        if self.background.is_some_and(|at| at <= now) {
            self.background = None;
            terminal::make_raw();
        }
    }

    fn watch(&mut self, wants: Wants) {
        let room = match self.signals {
            Some(_) => self.ahead.len() < MAX_AHEAD && self.background.is_none(),
            None => wants.input,
        };
        let input = room && !self.at_end;
        let output = wants.output && !self.is_gone;
        let watch = |end: &mut Watched, wanted: bool, flags| {
            let can = end.watch(if wanted { flags } else { EventFlags::empty() });
            (wanted && !can).then(Instant::now)
        };
        let input = watch(&mut self.input, input, EventFlags::IN);
        self.unwatched = [input, watch(&mut self.output, output, EventFlags::OUT)];
    }

    fn next_timer(&self, wants: Wants) -> Option<Instant> {
        if wants.input && !self.ahead.is_empty() {
            return Some(Instant::now());
        }
        let [input, output] = self.unwatched;
        input.or(output).or(self.background)
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        if self.signals.is_some() {
            terminal::restore_terminal();
        }
    }
}
