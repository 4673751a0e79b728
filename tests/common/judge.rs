//! What a stream of messages is to be answered with, and whether it was.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use super::client::{message, words};
use super::pump::{Answers, Sending};

/// A REGION_WRITE of max_data_xfer_size, headers included: the longest message.
const MAX_MESSAGE: u32 = (1 << 20) + 32;
const VERSION: u16 = 1;
const GET_INFO: u16 = 4;
/// The message that ends every round.
const LAST_ID: u16 = 0xbeef;

/// What a server that does as the protocol says answers, in this order.
pub struct Expected {
    /// id and command of each reply.
    pub replies: Vec<(u16, u16)>,
    /// After these the connection ends: a header gave a size that no message has.
    pub ends: bool,
    /// A VERSION wants no reply: whether it was refused, which ends the connection, cannot be seen.
    pub silent_version: bool,
}

/// Reads the stream as the server has to. An unfinished message is finished, or if it is a long one left as it is: then
/// nothing more is answered.
pub fn expected(stream: &mut Vec<u8>) -> Expected {
    let mut it = Expected { replies: Vec::new(), ends: false, silent_version: false };
    let mut at = 0;
    while at < stream.len() {
        let missing = (at + 16).saturating_sub(stream.len());
        stream.resize(stream.len() + missing, 0);
        let half =
            |offset: usize| u16::from_ne_bytes(stream[at + offset..][..2].try_into().unwrap());
        let word =
            |offset: usize| u32::from_ne_bytes(stream[at + offset..][..4].try_into().unwrap());
        let (id, command, size, wants_reply) = (half(0), half(2), word(4), word(8) & 0x10 == 0);
        it.ends = !(16..=MAX_MESSAGE).contains(&size);
        it.silent_version |= command == VERSION && !wants_reply;
        if wants_reply {
            it.replies.push((id, command));
        }
        if it.ends {
            return it;
        }
        at += size as usize;
    }
    stream.resize(at, 0);
    it
}

/// Whether what came is what had to come.
pub fn judge(expected: &Expected, answers: &Answers) -> Result<(), String> {
    let mut agreed = false;
    for (number, reply) in answers.replies.iter().enumerate() {
        let Some(wanted) = expected.replies.get(number) else {
            return Err(format!("one reply too many: {reply:x?}"));
        };
        if (reply.id, reply.command) != *wanted {
            return Err(format!("reply {number} is {reply:x?} instead of {wanted:x?}"));
        }
        let well_formed = match reply.flags {
            0x1 => reply.error == 0 && (16..=MAX_MESSAGE).contains(&reply.size),
            0x21 => (1..4096).contains(&reply.error) && reply.size == 16,
            _ => false,
        };
        if !well_formed {
            return Err(format!("reply {number} is malformed: {reply:x?}"));
        }
        let is_last = number + 1 == answers.replies.len() && answers.closed;
        if is_last && reply.command == VERSION && reply.error != 0 && !agreed {
            return Ok(());
        }
        agreed |= reply.command == VERSION && reply.error == 0;
    }
    if answers.closed && expected.silent_version {
        return Ok(());
    }
    if answers.replies.len() != expected.replies.len() {
        let count = answers.replies.len();
        return Err(format!("{count} replies instead of {}", expected.replies.len()));
    }
    if expected.ends != answers.closed {
        return Err(format!("closed: {}, to be: {}", answers.closed, expected.ends));
    }
    // A silent VERSION may have been agreed on, or not.
    let last = answers.replies.last().filter(|_| !expected.ends && !expected.silent_version);
    match last.map(|last| (last.error, last.size)) {
        Some((0, 32)) if agreed => Ok(()),
        Some((22, 16)) if !agreed => Ok(()),
        None => Ok(()),
        Some(_) => Err(format!("GET_INFO at the end, agreed {agreed}: {last:x?}")),
    }
}

/// What ends every round, unless the connection has ended before.
pub fn last(wanted: &mut Expected) -> Sending {
    wanted.replies.push((LAST_ID, GET_INFO));
    let bytes = message(LAST_ID, GET_INFO, 0, &words(&[16, 0, 0, 0]));
    Sending { bytes, fds: Vec::new() }
}
