//! A copy of what the guest sends.

use std::time::SystemTime;

use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, write};

use crate::poller::{Poller, Watched};
use crate::socket_path::plain;
use crate::spec::LogSpec;
use crate::{OpenError, clock, files};

/// Bytes that are held for a file that takes no more for now.
const MAX_HELD: usize = 64 << 10;
/// Its key in the poller, where an end has the low ones.
pub(crate) const LOG: u64 = u64::MAX;

/// The copy. It never holds the stream up: what it cannot take is counted.
#[derive(Debug)]
pub(crate) struct LogFile {
    name: String,
    /// Watched while something is held.
    file: Watched,
    timestamp: bool,
    begins_line: bool,
    /// What a FIFO or a terminal had no room for.
    held: Vec<u8>,
    lost: u64,
}

impl LogFile {
    pub(crate) fn open(spec: &LogSpec, poller: &Poller) -> Result<Self, OpenError> {
        let file = files::create(&spec.path, spec.append, "logappend")?;
        Ok(Self {
            name: spec.path.display().to_string(),
            file: Watched::new(file.into(), LOG, poller),
            timestamp: spec.timestamp,
            begins_line: true,
            held: Vec::new(),
            lost: 0,
        })
    }

    /// Bytes that are not in the file.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if !self.timestamp {
            self.put(bytes);
            return;
        }
        let stamp = clock::stamp(SystemTime::now());
        let mut text = Vec::with_capacity(bytes.len() + stamp.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.begins_line {
                text.extend_from_slice(stamp.as_bytes());
            }
            text.extend_from_slice(line);
            self.begins_line = line.ends_with(b"\n");
        }
        self.put(&text);
    }

    fn put(&mut self, bytes: &[u8]) {
        if !self.held.is_empty() {
            self.go_on();
        }
        let rest = if self.held.is_empty() { self.drain(bytes) } else { bytes };
        self.hold(rest);
        self.watch();
    }

    /// There may be room for what is held: the guest may have said its last.
    pub(crate) fn go_on(&mut self) {
        let held = std::mem::take(&mut self.held);
        let rest = self.drain(&held);
        self.hold(rest);
        self.watch();
    }

    fn watch(&mut self) {
        let holds = !self.held.is_empty();
        self.file.watch(if holds { EventFlags::OUT } else { EventFlags::empty() });
    }

    /// Writes what the file takes, and answers what it may take later.
    fn drain<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            match write(&self.file, bytes) {
                Ok(0) | Err(Errno::AGAIN) => return bytes,
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => (),
                Err(error) => {
                    self.lose(bytes.len(), &plain(&error.into()));
                    return &[];
                }
            }
        }
        bytes
    }

    fn hold(&mut self, rest: &[u8]) {
        let room = MAX_HELD.saturating_sub(self.held.len()).min(rest.len());
        let (fits, over) = rest.split_at(room);
        self.held.extend_from_slice(fits);
        if !over.is_empty() {
            self.lose(over.len(), "it is read too slowly");
        }
    }

    fn lose(&mut self, count: usize, why: &str) {
        if self.lost == 0 {
            log::warn!("log {}: {why}; what is missing from here on is counted", self.name);
        }
        self.lost += count as u64;
    }
}
