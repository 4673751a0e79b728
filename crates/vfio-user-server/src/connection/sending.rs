//! Answers on their way out.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use super::Connection;
use crate::stats::Stats;
use crate::transport;

impl Connection {
    /// Sends, and keeps what the socket does not take.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        fd: Option<BorrowedFd<'_>>,
        stats: &mut Stats,
    ) -> io::Result<()> {
        let sent = match transport::send(&self.socket, &[IoSlice::new(bytes)], fd.as_slice()) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        stats.sent += sent as u64;
        if sent < bytes.len() {
            // Descriptors go with the first byte.
            self.keep(bytes.get(sent..).unwrap_or_default(), fd.filter(|_| sent == 0))?;
        }
        Ok(())
    }

    pub(super) fn keep(&mut self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.outbox.extend_from_slice(bytes);
        self.outbox_fd = fd.map(|fd| fd.try_clone_to_owned()).transpose()?;
        Ok(())
    }

    /// Goes on sending what is in the outbox; `true` if all of it is out.
    pub(super) fn flush(&mut self, stats: &mut Stats) -> io::Result<bool> {
        let fd = self.outbox_fd.as_ref().map(AsFd::as_fd);
        match transport::send(&self.socket, &[IoSlice::new(&self.outbox)], fd.as_slice()) {
            Ok(sent) => {
                stats.sent += sent as u64;
                self.outbox.drain(..sent);
                self.outbox_fd = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) => return Err(error),
        }
        if self.outbox.is_empty() {
            self.outbox = Vec::new();
        }
        Ok(self.outbox.is_empty())
    }
}
