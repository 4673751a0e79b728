//! A file that takes the output.

use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use super::{End, Events, Sent, Wants};
use crate::poller::{Poller, Watched};
use crate::socket_path::plain;
use crate::{Event, OpenError, files};

/// How long a file that would take no more, for want of room say, is left alone.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct File {
    name: String,
    out: Watched,
    /// Bytes went in, the last time.
    works: bool,
    told: bool,
    retry: Option<Instant>,
    /// Without room, and nothing that could be watched for room.
    unwatched: Option<Instant>,
}

impl File {
    pub(crate) fn open(
        path: &std::path::Path,
        append: Option<bool>,
        poller: &Poller,
    ) -> Result<Self, OpenError> {
        let file = files::create(path, append, "append")?;
        let name = path.display().to_string();
        let out = Watched::new(file.into(), 0, poller);
        Ok(Self { name, out, works: true, told: false, retry: None, unwatched: None })
    }
}

impl End for File {
    fn is_connected(&self) -> bool {
        self.retry.is_none()
    }

    fn send(&mut self, bytes: &[u8], events: &mut Events) -> Sent {
        let done = rustix::io::write(&self.out, bytes);
        match Sent::from(done) {
            Sent::Took(count) => {
                if count != 0 && !self.works {
                    self.works = true;
                    events.push(Event::Connected);
                }
                Sent::Took(count)
            }
            Sent::Gone => {
                if self.works {
                    self.works = false;
                    events.push(Event::Disconnected);
                }
                if !self.told
                    && let Err(error) = done
                {
                    self.told = true;
                    log::warn!(
                        "{} takes no more: {}; trying again each second",
                        self.name,
                        plain(&error.into())
                    );
                }
                self.retry = Some(Instant::now() + PAUSE);
                Sent::Gone
            }
        }
    }

    fn receive(&mut self, _into: &mut [u8], _events: &mut Events) -> usize {
        0
    }

    fn turn(&mut self, _events: &mut Events, now: Instant) {
        self.retry = self.retry.filter(|at| *at > now);
    }

    fn watch(&mut self, wants: Wants) {
        let room = wants.output && self.retry.is_none();
        let flags = if room { EventFlags::OUT } else { EventFlags::empty() };
        let can = self.out.watch(flags);
        self.unwatched = (room && !can).then(Instant::now);
    }

    fn next_timer(&self, _wants: Wants) -> Option<Instant> {
        self.retry.or(self.unwatched)
    }
}
