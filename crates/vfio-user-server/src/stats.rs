//! What an endpoint counts.

use vfio_device::Errno;

use crate::command::Command;

/// One more than the highest number of a command; what is beyond is counted at 0, which no command has.
const NUMBERS: usize = Command::MigDataWrite as usize + 1;

/// What has happened at an endpoint since it was made, over all its clients. Counts begin at 0.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub(crate) clients: u64,
    pub(crate) refused: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Why the device could not be opened for a client, until that has been said.
    pub(crate) not_opened: Option<Errno>,
    messages: [u64; NUMBERS],
}

impl Stats {
    /// Clients that became the device's user: their `VERSION` was agreed on.
    pub fn clients(&self) -> u64 {
        self.clients
    }

    /// Messages with this command's number that arrived whole, from whomever; those that were refused are among them.
    pub fn messages(&self, command: Command) -> u64 {
        self.messages.get(usize::from(command.number())).copied().unwrap_or(0)
    }

    /// Messages that arrived whole with a number that no command has.
    pub fn unknown_messages(&self) -> u64 {
        let all: u64 = self.messages.iter().sum();
        Command::ALL.iter().fold(all, |rest, command| rest - self.messages(*command))
    }

    /// Messages that were refused ([`refusal`](crate::refusal)), also those of a size that no message can have.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Bytes of messages that were read from clients' sockets.
    pub fn bytes_received(&self) -> u64 {
        self.received
    }

    /// Bytes of answers that clients' sockets took.
    pub fn bytes_sent(&self) -> u64 {
        self.sent
    }

    /// A message with this number has arrived.
    pub(crate) fn count(&mut self, number: u16) {
        let at = usize::from(number);
        if let Some(count) = self.messages.get_mut(if at < NUMBERS { at } else { 0 }) {
            *count = count.wrapping_add(1);
        }
    }
}
