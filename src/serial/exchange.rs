//! What hangs on a port, and how that is exchanged while a guest has the port open.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chardev::{Backend, Chardev, OpenError, Spec};
use mtty::line::Host;

use super::wire::{BACK_END, PLUG, Wire};

/// For so long a port is open at the end when something else is plugged in: a guest's interrupt handler sees the lines
/// drop, and its driver hangs up what was there.
const UNPLUGGED: Duration = Duration::from_millis(100);

/// Where TXD leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Loopback,
    Crossover,
    Host,
}

/// What hangs on a port, opened.
pub struct Hung {
    /// As it was asked for.
    pub(super) text: String,
    pub(super) end: End,
    /// With a plug it is there for the log alone.
    pub(super) chardev: Option<Chardev>,
}

impl Hung {
    /// Opens it, which may take time.
    ///
    /// # Errors
    /// [`OpenError`] names the thing and the way out.
    pub fn open(text: String, spec: &Spec) -> Result<Self, OpenError> {
        let end = match spec.backend {
            Backend::Loopback => End::Loopback,
            Backend::Crossover => End::Crossover,
            _ => End::Host,
        };
        let chardev = match (end, &spec.log) {
            (End::Host, _) => Some(Chardev::open(spec)?),
            (_, None) => None,
            (_, Some(_)) => {
                let mut log = spec.clone();
                log.backend = Backend::Null;
                Some(Chardev::open(&log)?)
            }
        };
        Ok(Self { text, end, chardev })
    }

    /// The back end, where there is one.
    pub(super) fn host(&self) -> Option<&Chardev> {
        self.chardev.as_ref().filter(|_| self.end == End::Host)
    }

    /// Whether a guest sees that something is there.
    fn is_there(&self) -> bool {
        self.host().is_none_or(Chardev::is_connected)
    }
}

/// What a wire is to become.
#[derive(Default)]
pub struct Change {
    /// What is to hang on it.
    pub hung: Option<Hung>,
    /// Whether it is to be paced.
    pub pace: Option<bool>,
}

impl Change {
    /// Becomes this one and, where the two differ, `later`.
    pub(super) fn merge(&mut self, later: Self) {
        self.hung = later.hung.or(self.hung.take());
        self.pace = later.pace.or(self.pace);
    }
}

/// What ports before this one have lost of what the guest has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    /// Fell out of a history, or had nowhere to go.
    pub dropped: u64,
    /// Is missing in a log.
    pub log: u64,
}

impl Wire {
    /// Becomes what it is to be. What the guest has sent and nobody has taken is for who comes now, if that is somebody on
    /// the host; what has been read for the guest, or sent by a verb, is the guest's.
    pub(super) fn change(&mut self, change: Change, host: &mut Host<'_>) {
        if let Some(pace) = change.pace {
            self.pace.store(pace, Ordering::Relaxed);
        }
        let Some(hung) = change.hung else { return };
        // Whoever is there now is to have what was said to it.
        self.flush();
        self.forget_sources(host);
        host.stop_timer(BACK_END);
        self.due = None;
        let old = std::mem::replace(&mut self.hung, hung);
        if old.is_there() {
            self.unplugged = true;
            host.start_timer(PLUG, UNPLUGGED);
        }
        self.stalled = false;
        let was_host = old.end == End::Host;
        if let Some(old) = old.chardev {
            self.lost.log += old.log_lost();
            self.lost.dropped += old.dropped();
            match &mut self.hung.chardev {
                Some(new) if self.hung.end == End::Host => {
                    if was_host {
                        new.succeed(old);
                    }
                }
                _ => {
                    self.lost.dropped += (old.pending() + self.burst.len()) as u64;
                    self.burst.clear();
                }
            }
        }
        self.turn();
    }

    /// Something is plugged in.
    pub(super) fn plug_in(&mut self) {
        self.unplugged = false;
        self.turn();
    }
}
