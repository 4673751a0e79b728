//! Sends and receives at the same time: neither side ever waits for the other to read.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::client::Reply;
use super::conversation::{Kind, Samples};

/// What is sent with one sendmsg.
pub struct Sending {
    pub bytes: Vec<u8>,
    pub fds: Vec<Kind>,
}

/// What the server sent.
pub struct Answers {
    /// In order; bodies are left out, and descriptors closed.
    pub replies: Vec<Reply>,
    /// It has closed the connection.
    pub closed: bool,
}

/// Connects, sends, and takes replies until all that are wanted are there, or, if the connection is to end or ends before,
/// until its end.
pub fn exchange(
    path: &Path,
    sendings: &[Sending],
    samples: &Samples,
    wanted: &[(u16, u16)],
    ends: bool,
) -> Result<Answers, String> {
    exchange_on(UnixStream::connect(path).unwrap(), sendings, samples, wanted, ends)
}

/// The same on a connection that is there.
pub fn exchange_on(
    socket: UnixStream,
    sendings: &[Sending],
    samples: &Samples,
    wanted: &[(u16, u16)],
    ends: bool,
) -> Result<Answers, String> {
    socket.set_nonblocking(true).unwrap();
    let mut stream = Incoming::default();
    let mut pieces = sendings.iter().filter(|piece| !piece.bytes.is_empty()).peekable();
    let mut sent = 0;
    let mut broken = false;
    let mut idle = 0;
    loop {
        while let Some(piece) = pieces.peek().filter(|_| !broken) {
            match send(&socket, piece, sent, samples) {
                Ok(more) if sent + more == piece.bytes.len() => {
                    sent = 0;
                    pieces.next();
                }
                Ok(more) => sent += more,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => (),
                Err(Errno::PIPE | Errno::CONNRESET) => broken = true,
                Err(error) => return Err(format!("sendmsg: {error}")),
            }
        }
        stream.take(&socket)?;
        let all_sent = pieces.peek().is_none() || broken;
        if stream.closed || all_sent && !ends && stream.replies.len() >= wanted.len() {
            return Ok(Answers { replies: stream.replies, closed: stream.closed });
        }
        // Seconds that somebody who stops both ends does not count towards.
        if idle == 20 {
            let count = stream.replies.len();
            return Err(format!("{count} replies of {}, then none for long", wanted.len()));
        }
        let flags = if all_sent { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&socket, flags)], Some(&second)) {
            Ok(0) => idle += 1,
            Ok(_) | Err(Errno::INTR) => (),
            Err(error) => return Err(format!("poll: {error}")),
        }
    }
}

fn send(
    socket: &UnixStream,
    piece: &Sending,
    from: usize,
    samples: &Samples,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = samples.of(&piece.fds);
    if from == 0 && !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    sendmsg(socket, &[io::IoSlice::new(&piece.bytes[from..])], &mut control, SendFlags::NOSIGNAL)
}

/// Replies out of the stream. What is of no interest is not kept.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    replies: Vec<Reply>,
    closed: bool,
}

impl Incoming {
    fn take(&mut self, mut socket: &UnixStream) -> Result<(), String> {
        let mut buffer = [0; 16 << 10];
        while !self.closed {
            // Descriptors that come along are not asked for, and so not made.
            match socket.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A fuzzer's clock.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.closed = true,
                Err(error) => return Err(format!("recvmsg: {error}")),
            }
        }
        let mut rest = self.bytes.as_slice();
        while let Some(head) = rest.get(..16) {
            let half = |at: usize| u16::from_ne_bytes(head[at..at + 2].try_into().unwrap());
            let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
            let size = word(4);
            if !(16..=2 << 20).contains(&size) {
                return Err(format!("a reply of {size} bytes: {head:02x?}"));
            }
            let Some(after) = rest.get(size as usize..) else { break };
            let (body, fds) = (Vec::new(), Vec::new());
            let (flags, error) = (word(8), word(12));
            self.replies.push(Reply {
                id: half(0),
                command: half(2),
                size,
                flags,
                error,
                body,
                fds,
            });
            rest = after;
        }
        self.bytes = rest.to_vec();
        if self.closed && !self.bytes.is_empty() {
            return Err(format!("a reply in part: {:02x?}", self.bytes));
        }
        Ok(())
    }
}
