//! A client of a peer, which does one thing again and again.

#![expect(clippy::host_endian_bytes, reason = "the wire and eventfds are in host order")]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv,
    recvmsg, send, sendmsg,
};

use super::message::{Descriptors, Exchange, allocations, count_allocations, receives, version};
use crate::bench::median;
use crate::bench::protocol::HEADER;
use crate::report::Result;

/// An answer takes no longer, whatever the machine has to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// What an answer may have.
const ROOM: usize = 128 << 10;

/// A connection to a peer.
pub struct User {
    socket: UnixStream,
    exchange: Exchange,
    trigger: OwnedFd,
    room: Vec<u8>,
}

impl User {
    /// Comes to a server that speaks the protocol.
    pub fn of_server(path: &Path, exchange: &Exchange) -> Result<Self> {
        let begin = Instant::now();
        // Right after another has left it may still be in use, or not yet listen.
        let mut user = loop {
            match Self::greeted(path, exchange) {
                Ok(user) => break user,
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        };
        if exchange.descriptors == Descriptors::Signalled {
            let [message] = &*Exchange::set_irqs().messages else { return Err("one".into()) };
            user.send(message, true)?;
            user.receive(HEADER)?;
        }
        Ok(user)
    }

    fn greeted(path: &Path, exchange: &Exchange) -> Result<Self> {
        let mut user = Self::connected(path, exchange)?;
        user.send(&version(), false)?;
        user.receive_some(ROOM)?;
        Ok(user)
    }

    /// Comes to an echo.
    pub fn of_echo(path: &Path, exchange: &Exchange) -> Result<Self> {
        let user = Self::connected(path, exchange)?;
        user.send(&exchange.shape(), exchange.descriptors == Descriptors::Signalled)?;
        // It takes these by themselves.
        thread::sleep(Duration::from_millis(2));
        Ok(user)
    }

    fn connected(path: &Path, exchange: &Exchange) -> Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let trigger = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { socket, exchange: exchange.clone(), trigger, room: vec![0; ROOM] })
    }

    /// Microseconds for one of what it does, the median of a turn.
    pub fn turn(&mut self, warm: Duration, turn: Duration) -> Result<f64> {
        self.repeat(warm)?;
        let times = self.repeat(turn)?;
        Ok(median(&times) / self.exchange.count() as f64)
    }

    fn repeat(&mut self, time: Duration) -> Result<Vec<f64>> {
        let (begin, mut times) = (Instant::now(), Vec::new());
        while begin.elapsed() < time {
            times.push(self.once()?.as_secs_f64() * 1e6);
        }
        Ok(times)
    }

    /// Does it once. How long it took: until the answer is there, or the interrupt.
    pub fn once(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        let brings = self.exchange.descriptors == Descriptors::Brought;
        for message in &self.exchange.messages {
            self.send(message, brings)?;
        }
        if self.exchange.descriptors == Descriptors::Signalled {
            // A read alone may not wait: the server may have a say in that too.
            poll(&mut [PollFd::new(&self.trigger, PollFlags::IN)], None)?;
            rustix::io::read(&self.trigger, &mut [0; 8])?;
            let time = begin.elapsed();
            self.receive(self.exchange.answer)?;
            return Ok(time);
        }
        self.receive(self.exchange.answer)?;
        Ok(begin.elapsed())
    }

    fn send(&self, message: &[u8], with_trigger: bool) -> Result {
        let sent = if with_trigger {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = [self.trigger.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&fds));
            sendmsg(&self.socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?
        } else {
            send(&self.socket, message, SendFlags::NOSIGNAL)?
        };
        if sent == message.len() { Ok(()) } else { Err("a socket took a part of a message".into()) }
    }

    /// Receives so many bytes, of which the first are a header without an error.
    fn receive(&mut self, size: usize) -> Result {
        let mut have = self.receive_some(size)?;
        while have < size {
            let rest = self.room.get_mut(have..size).ok_or("an answer without room")?;
            let (_, more) = recv(&self.socket, rest, RecvFlags::empty())?;
            if more == 0 {
                return Err("a peer left in the middle of an answer".into());
            }
            have += more;
        }
        Ok(())
    }

    /// The beginning of an answer, and so many bytes at most.
    fn receive_some(&mut self, most: usize) -> Result<usize> {
        let room = self.room.get_mut(..most).ok_or("an answer without room")?;
        let received = if self.exchange.descriptors == Descriptors::Given {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut rooms = [IoSliceMut::new(room)];
            // The descriptor is closed with the buffer.
            recvmsg(&self.socket, &mut rooms, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes
        } else {
            recv(&self.socket, room, RecvFlags::empty())?.1
        };
        let error = self.room.get(..received).and_then(|header| header.get(12..16));
        match error {
            Some([0, 0, 0, 0]) => Ok(received),
            Some(error) => Err(format!("a peer answered the errno {error:?}").into()),
            None => Err(format!("a peer answered {received} bytes").into()),
        }
    }

    /// Begins to count what the server's thread allocates.
    pub fn count_allocations(&mut self) -> Result {
        let (message, answer) = count_allocations();
        self.send(&message, false)?;
        self.receive(answer)
    }

    /// Allocations since then.
    pub fn allocations(&mut self) -> Result<u64> {
        self.number(&allocations())
    }

    /// How often the server receives something while all is sent that has no answer: one by one, or all of it at once.
    pub fn receives(&mut self, at_once: bool) -> Result<u64> {
        let before = self.number(&receives())?;
        let messages = self.exchange.messages.split_last().map_or(&[][..], |(_, rest)| rest);
        if at_once {
            self.send(&messages.concat(), false)?;
        } else {
            for message in messages {
                self.send(message, false)?;
            }
        }
        Ok(self.number(&receives())? - before)
    }

    fn number(&mut self, (message, answer): &(Vec<u8>, usize)) -> Result<u64> {
        self.send(message, false)?;
        self.receive(*answer)?;
        let number = self.room.get(..*answer).and_then(|answer| answer.last_chunk());
        Ok(u64::from_ne_bytes(*number.ok_or("no number")?))
    }
}
