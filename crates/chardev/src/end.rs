//! What each kind of end can do.

mod file;
mod null;
mod pipe;
mod pty;
mod stdio;
mod stream;

use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

pub(crate) use file::File;
pub(crate) use null::Null;
pub(crate) use pipe::Pipe;
pub(crate) use pty::Pty;
pub(crate) use stdio::Stdio;
pub(crate) use stream::{Stream, Target};

use crate::Event;

/// What became of bytes that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// So many were taken; 0: there is no room.
    Took(usize),
    /// Nobody is there any more.
    Gone,
}

impl Sent {
    /// What a system call for writing answered.
    pub(crate) fn from(done: Result<usize, Errno>) -> Self {
        match done {
            Ok(count) => Self::Took(count),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => Self::Took(0),
            Err(_) => Self::Gone,
        }
    }
}

/// What the stream wants to be woken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// There is room for input.
    pub(crate) input: bool,
    /// There is output that had no room.
    pub(crate) output: bool,
}

/// One kind of end. Nothing here waits.
pub(crate) trait End: std::fmt::Debug + Send {
    /// Whether somebody is there to take output.
    fn is_connected(&self) -> bool;

    /// Sends what there is room for.
    fn send(&mut self, bytes: &[u8], events: &mut Events) -> Sent;

    /// Receives what is there; 0 if nothing is.
    fn receive(&mut self, into: &mut [u8], events: &mut Events) -> usize;

    /// Something happened to the descriptor `key`.
    fn happened(&mut self, _key: u64, _flags: EventFlags, _events: &mut Events, _now: Instant) {}

    /// Called at each turn: what is due by time, and what follows from what has happened.
    fn turn(&mut self, _events: &mut Events, _now: Instant) {}

    /// Watches for what is wanted.
    fn watch(&mut self, _wants: Wants) {}

    /// When a turn is due, whatever happens.
    fn next_timer(&self, _wants: Wants) -> Option<Instant> {
        None
    }

    /// The peer sends no more; once it has what there is, it may go.
    fn is_half_closed(&mut self) -> bool {
        false
    }

    /// Lets a half-closed peer go.
    fn finish(&mut self, _events: &mut Events) {}

    /// Who is there, if that can be told.
    fn peer(&self) -> Option<String> {
        None
    }

    /// Where a peer finds this end, if it has to be told.
    fn address(&self) -> Option<String> {
        None
    }
}

/// Events on their way to who has the stream.
#[derive(Debug, Default)]
pub(crate) struct Events(std::collections::VecDeque<Event>);

impl Events {
    /// Of those that are not fetched the eldest pair is forgotten.
    const MOST: usize = 64;

    pub(crate) fn push(&mut self, event: Event) {
        if self.0.len() >= Self::MOST {
            self.0.drain(..2);
        }
        self.0.push_back(event);
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.0.pop_front()
    }
}
