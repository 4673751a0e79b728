//! How others are told that this program is ready, how it does, and that it ends: `NOTIFY_SOCKET` as in systemd's
//! `sd_notify(3)`, and `--ready-fd`.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};

use crate::errors::{plain, printable};
use crate::inherited;

/// Names the socket of whoever wants to be told.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// How long one message may wait for a reader.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of the program waits for its last words, and its start for `--ready-fd`.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Whoever started this program, if it wants to be told. Nothing here waits: a thread of its own does.
pub struct Notify(Option<Teller>);

struct Teller {
    queue: Arc<Queue>,
    done: Receiver<()>,
}

impl Notify {
    /// As `NOTIFY_SOCKET` says: `/PATH` or `@ABSTRACT`. Without it, and if it cannot be used, which is logged, nobody is
    /// told.
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match Teller::start(&name) {
            Ok(teller) => Self(Some(teller)),
            Err(why) => {
                log::warn!("{VARIABLE} {}: {why}; nobody is told", name.display());
                Self(None)
            }
        }
    }

    /// Whether anybody is told.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// All sockets take clients.
    pub fn ready(&self, status: &str) {
        self.say(Some("READY=1"), status);
    }

    /// A line for people. Of two that nobody has read yet the first is left out.
    pub fn status(&self, status: &str) {
        self.say(None, status);
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say(Some("STOPPING=1"), "ending");
    }

    fn say(&self, state: Option<&'static str>, status: &str) {
        if let Self(Some(teller)) = self {
            teller.queue.put(Message { state, status: printable(status) });
        }
    }
}

struct Message {
    /// What is more than a status.
    state: Option<&'static str>,
    status: String,
}

/// What is still to be told: no more than one message of each kind.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    closed: bool,
}

impl Queue {
    fn put(&self, message: Message) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.messages.back().is_some_and(|last| last.state.is_none()) {
            waiting.messages.pop_back();
        }
        waiting.messages.push_back(message);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_one();
    }

    /// The next; `None` when there is none any more.
    fn take(&self) -> Option<Message> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(message) = waiting.messages.pop_front() {
                return Some(message);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Teller {
    fn start(name: &OsStr) -> Result<Self, String> {
        let cannot = |errno: Errno| plain(&errno.into());
        let address = address(name)?;
        let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(cannot)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).map_err(cannot)?;
        let queue = Arc::new(Queue::default());
        let (finished, done) = channel();
        let (name, waiting) = (name.to_owned(), Arc::clone(&queue));
        let tell = move || {
            let mut level = log::Level::Warn;
            while let Some(Message { state, status }) = waiting.take() {
                let state = state.map(|state| format!("{state}\n")).unwrap_or_default();
                let text = format!("{state}STATUS={status}");
                let sent = sendto(&socket, text.as_bytes(), SendFlags::NOSIGNAL, &address);
                if let Err(errno) = sent {
                    let why = match errno {
                        Errno::AGAIN => "nobody reads there".into(),
                        _ => format!("{}; nobody is told", cannot(errno)),
                    };
                    log::log!(level, "{VARIABLE} {}: {why}", name.display());
                    level = log::Level::Debug;
                }
            }
            let _ = finished.send(());
        };
        let thread = thread::Builder::new().name("notify".into()).spawn(tell);
        thread.map_err(|error| plain(&error))?;
        Ok(Self { queue, done })
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.queue.close();
        let _: Result<(), RecvTimeoutError> = self.done.recv_timeout(LAST_WORDS);
    }
}

fn address(name: &OsStr) -> Result<SocketAddrUnix, String> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] if !rest.is_empty() => SocketAddrUnix::new_abstract_name(rest),
        [b'/', ..] => SocketAddrUnix::new(Path::new(name)),
        _ => return Err("it is neither /PATH nor @NAME".into()),
    };
    address.map_err(|_| "it is too long for the address of a socket".into())
}

/// The descriptor of `--ready-fd`.
pub struct ReadyFd(OwnedFd);

impl ReadyFd {
    /// Takes it over, as [`inherited::take_writable`] does.
    pub fn take(fd: RawFd) -> Result<Self, String> {
        inherited::take_writable(fd, &format!("--ready-fd {fd}")).map(Self)
    }

    /// Writes a line end and closes it, as s6 has it. A full pipe holds up what follows for a moment only.
    pub fn tell(self) {
        let (done, written) = channel();
        let tell = move || {
            if let Err(error) = File::from(self.0).write_all(b"\n") {
                log::warn!("--ready-fd: cannot write: {}", plain(&error));
            }
            let _ = done.send(());
        };
        match thread::Builder::new().name("ready".into()).spawn(tell) {
            Ok(_) => drop(written.recv_timeout(LAST_WORDS)),
            Err(error) => log::warn!("--ready-fd: {}", plain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_name() {
        for name in ["", "x", "./x", "@", "vsock:2:1", "vsock-stream:2:1"] {
            assert!(address(OsStr::new(name)).unwrap_err().contains("neither"), "{name}");
        }
        for name in ["/", "@"] {
            let long = name.to_owned() + &"x".repeat(108);
            assert!(address(OsStr::new(&long)).unwrap_err().contains("too long"), "{name}");
        }
        assert_eq!(address(OsStr::new("@x")).unwrap().abstract_name(), Some(&b"x"[..]));
        assert!(address(OsStr::new("/x")).unwrap().path().is_some());
    }

    #[test]
    fn of_what_nobody_reads_the_newest_status_stays_and_every_change_of_state() {
        let queue = Queue::default();
        let put = |state, status: &str| queue.put(Message { state, status: status.to_owned() });
        put(Some("READY=1"), "0");
        (1..1000).for_each(|number| put(None, &number.to_string()));
        put(Some("STOPPING=1"), "ending");
        queue.close();
        let taken = std::iter::from_fn(|| queue.take()).map(|it| (it.state, it.status));
        // The status that the end replaces is old news.
        let expected = [(Some("READY=1"), "0"), (Some("STOPPING=1"), "ending")];
        assert_eq!(taken.collect::<Vec<_>>(), expected.map(|(state, it)| (state, it.to_owned())));
    }
}
