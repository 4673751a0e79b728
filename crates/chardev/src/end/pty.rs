//! A pseudo-terminal.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use rustix::fs::inotify;
use rustix::io::{Errno, fcntl_setfd, ioctl_fionbio, read, write};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::{End, Events, Sent, Wants};
use crate::poller::{Poller, Watched};
use crate::{Event, OpenError};

const MASTER: u64 = 0;
const OPENED: u64 = 1;
/// Where the system does not tell that somebody has come, how often to look.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Pty {
    master: Watched,
    /// Tells that the other side has been opened. Without a client the master reports a hang-up for ever, so there is
    /// nothing else to wait for.
    opened: Option<Watched>,
    name: PathBuf,
    _link: Option<Link>,
    is_connected: bool,
    /// Nobody is there any more, but what they wrote is.
    left_input: bool,
    look: Option<Instant>,
}

impl Pty {
    pub(crate) fn open(link: Option<&Path>, poller: &Poller) -> Result<Self, OpenError> {
        let (master, name) = make().map_err(|errno| OpenError::Pty { error: errno.into() })?;
        let link = link.map(|link| Link::make(link, &name)).transpose()?;
        let opened = match watch_opens(&name) {
            Ok(fd) => Some(Watched::new(fd, OPENED, poller)),
            Err(error) => {
                log::debug!("no inotify on {}: {error}", name.display());
                None
            }
        };
        let mut pty = Self {
            master: Watched::new(master, MASTER, poller),
            opened,
            name,
            _link: link,
            is_connected: false,
            left_input: false,
            look: None,
        };
        pty.look = pty.opened.is_none().then(Instant::now);
        if let Some(opened) = &mut pty.opened {
            opened.watch(EventFlags::IN);
        }
        Ok(pty)
    }

    /// Looks whether somebody is there.
    fn look(&mut self, events: &mut Events) {
        let is_there = !self.master.poll(PollFlags::OUT).contains(PollFlags::HUP);
        if is_there == self.is_connected {
            return;
        }
        self.is_connected = is_there;
        if is_there {
            events.push(Event::Connected);
        } else {
            events.push(Event::Disconnected);
            self.left_input = true;
            // The next one finds a raw terminal, whatever this one made of it.
            let _ = make_raw(&self.master);
        }
    }
}

fn make_raw(terminal: impl std::os::fd::AsFd) -> Result<(), Errno> {
    let mut modes = tcgetattr(&terminal)?;
    modes.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &modes)
}

fn make() -> Result<(std::os::fd::OwnedFd, PathBuf), Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    ioctl_fionbio(&master, true)?;
    // Else it would echo what the guest says.
    make_raw(&master)?;
    // Only once somebody has been there is it reported that nobody is.
    drop(ioctl_tiocgptpeer(&master, flags)?);
    let name = ptsname(&master, Vec::new())?;
    Ok((master, std::ffi::OsStr::from_bytes(name.as_bytes()).into()))
}

fn watch_opens(name: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let inotify = inotify::init(flags)?;
    inotify::add_watch(&inotify, name, inotify::WatchFlags::OPEN)?;
    Ok(inotify)
}

impl End for Pty {
    fn is_connected(&self) -> bool {
        self.is_connected
    }

    fn send(&mut self, bytes: &[u8], events: &mut Events) -> Sent {
        if self.master.poll(PollFlags::OUT).contains(PollFlags::HUP) {
            // It would take them all the same, and forget them.
            self.look(events);
            return Sent::Gone;
        }
        Sent::from(write(&self.master, bytes))
    }

    fn receive(&mut self, into: &mut [u8], _events: &mut Events) -> usize {
        if !self.is_connected && !self.left_input {
            return 0;
        }
        match read(&self.master, into) {
            Ok(count) if count != 0 => count,
            Err(Errno::INTR) => 0,
            _ => {
                self.left_input = false;
                0
            }
        }
    }

    fn happened(&mut self, key: u64, _flags: EventFlags, events: &mut Events, _now: Instant) {
        if key == OPENED
            && let Some(opened) = &self.opened
        {
            // What they say does not matter: only that there were some. What is left wakes us again.
            let _ = read(opened, &mut [0; 1024]);
            // Of somebody who has left already there may be input.
            self.left_input |= !self.is_connected;
        }
        self.look(events);
    }

    fn turn(&mut self, events: &mut Events, now: Instant) {
        if self.look.is_some_and(|at| at <= now) {
            self.look(events);
            self.look = Some(now + LOOK);
        }
    }

    fn watch(&mut self, wants: Wants) {
        let mut flags = EventFlags::empty();
        if self.is_connected {
            // Of interest or not, a hang-up is reported.
            flags = EventFlags::PRI;
            flags.set(EventFlags::IN, wants.input);
            flags.set(EventFlags::OUT, wants.output);
        }
        self.master.watch(flags);
    }

    fn next_timer(&self, wants: Wants) -> Option<Instant> {
        if wants.input && self.left_input && !self.is_connected {
            return Some(Instant::now());
        }
        self.look.filter(|_| !self.is_connected)
    }

    fn address(&self) -> Option<String> {
        Some(self.name.display().to_string())
    }
}

/// A symbolic link to the terminal; it goes with this.
#[derive(Debug)]
struct Link {
    path: PathBuf,
    target: PathBuf,
}

impl Link {
    /// One that leads nowhere, or to the terminal that has just been made, is of somebody who went without a word.
    fn make(path: &Path, target: &Path) -> Result<Self, OpenError> {
        let fail = |error| OpenError::file(path, error);
        match std::os::unix::fs::symlink(target, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let stale = fs::read_link(path).is_ok_and(|found| {
                    found == target || (found.starts_with("/dev/pts") && !found.exists())
                });
                if !stale {
                    return Err(OpenError::LinkExists { path: path.into() });
                }
                fs::remove_file(path).map_err(fail)?;
                std::os::unix::fs::symlink(target, path).map_err(fail)?;
            }
            done => done.map_err(fail)?,
        }
        Ok(Self { path: path.into(), target: target.into() })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if fs::read_link(&self.path).is_ok_and(|found| found == self.target)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
