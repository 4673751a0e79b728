//! How others are told that this program is ready, how it does, and that it ends: `NOTIFY_SOCKET` as in systemd's
//! `sd_notify(3)`, and `--ready-fd`.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};

use crate::errors::plain;
use crate::inherited;

/// Names the socket of whoever wants to be told.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Messages that may wait for a reader.
const WAITING: usize = 64;
/// How long one message may wait for a reader.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the end of the program waits for its last words, and its start for `--ready-fd`.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Whoever started this program, if it wants to be told. Nothing here waits: a thread of its own does.
pub struct Notify(Option<Teller>);

struct Teller {
    messages: Option<SyncSender<String>>,
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

    /// All sockets take clients.
    pub fn ready(&self, status: &str) {
        self.say(format!("READY=1\nSTATUS={}", line(status)));
    }

    /// A line for people.
    pub fn status(&self, status: &str) {
        self.say(format!("STATUS={}", line(status)));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=ending".into());
    }

    fn say(&self, message: String) {
        // Who reads nothing hears nothing.
        let _ = self
            .0
            .iter()
            .filter_map(|it| it.messages.as_ref())
            .try_for_each(|messages| messages.try_send(message.clone()));
    }
}

fn line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '?' } else { it }).collect()
}

impl Teller {
    fn start(name: &OsStr) -> Result<Self, String> {
        let cannot = |errno: Errno| plain(&errno.into());
        let address = address(name)?;
        let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(cannot)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).map_err(cannot)?;
        let (messages, waiting) = sync_channel::<String>(WAITING);
        let (finished, done) = channel();
        let name = name.to_owned();
        let tell = move || {
            let mut level = log::Level::Warn;
            for message in waiting {
                let sent = sendto(&socket, message.as_bytes(), SendFlags::NOSIGNAL, &address);
                if let Err(errno) = sent {
                    let why = match errno {
                        Errno::AGAIN => "nobody reads there".into(),
                        _ => cannot(errno),
                    };
                    log::log!(level, "{VARIABLE} {}: {why}", name.display());
                    level = log::Level::Debug;
                }
            }
            let _ = finished.send(());
        };
        let thread = thread::Builder::new().name("notify".into()).spawn(tell);
        thread.map_err(|error| plain(&error))?;
        Ok(Self { messages: Some(messages), done })
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.messages = None;
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
}
