//! Sockets: those who come to us, and those whom we go to. One peer at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, accept_with, getpeername, recv,
    send, shutdown, sockopt,
};

use super::{End, Events, Sent, Wants};
use crate::poller::{Poller, Watched, poll_now};
use crate::socket_path::{SocketFile, address, listen_at, plain};
use crate::spec::Role;
use crate::{Event, OpenError, sockets};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;
/// Peers that have left behind what the card has no room for yet, at most.
const MAX_LEFT: usize = 16;
/// Without descriptors to be had nobody is let in for this long.
const BREATH: Duration = Duration::from_millis(100);

const DOOR: u64 = 0;
const CALL: u64 = 1;
const PEER: u64 = 2;

/// Where to connect to.
#[derive(Debug)]
pub(crate) enum Target {
    Unix(SocketAddrUnix),
    /// Addresses of a host, and the one whose turn it is.
    Tcp(Vec<SocketAddr>, usize),
}

#[derive(Debug)]
enum Side {
    Server {
        /// One for each address.
        doors: Vec<Watched>,
        /// Not before then.
        closed_until: Option<Instant>,
        knocked: bool,
        /// Who could not be let in has been told of.
        told: bool,
        _file: Option<SocketFile>,
    },
    Client {
        target: Target,
        pause: Option<Duration>,
        call: Option<Watched>,
        due: Option<Instant>,
    },
}

#[derive(Debug)]
struct Peer {
    socket: Watched,
    /// It sends no more, or is not there at all.
    half_closed: bool,
    /// What it sent has been read.
    is_read: bool,
}

#[derive(Debug)]
pub(crate) struct Stream {
    side: Side,
    peer: Option<Peer>,
    /// Peers that have gone, with input that nobody had room for: all of it has arrived.
    left: VecDeque<OwnedFd>,
    gave_up: bool,
    /// TCP, and with small packets at once.
    tcp: Option<bool>,
    address: String,
    poller: Poller,
}

impl Stream {
    pub(crate) fn unix(path: &Path, role: Role, poller: &Poller) -> Result<Self, OpenError> {
        match role {
            Role::Server { .. } => {
                let (socket, file) = listen_at(path, BACKLOG)?;
                let name = file.path().display().to_string();
                Ok(Self::server(vec![socket], Some(file), None, name, poller))
            }
            Role::Client { reconnect } => {
                let name = path.display().to_string();
                Self::client(Target::Unix(address(path)?), reconnect, None, name, poller)
            }
        }
    }

    pub(crate) fn tcp(
        host: &str,
        port: &str,
        role: Role,
        nodelay: bool,
        poller: &Poller,
    ) -> Result<Self, OpenError> {
        let found = sockets::resolve(host, port)?;
        match role {
            Role::Server { .. } => {
                let (doors, name) = sockets::listen_on(&found, BACKLOG)?;
                Ok(Self::server(doors, None, Some(nodelay), name, poller))
            }
            Role::Client { reconnect } => {
                let name = found.first().map(SocketAddr::to_string).unwrap_or_default();
                Self::client(Target::Tcp(found, 0), reconnect, Some(nodelay), name, poller)
            }
        }
    }

    fn new(side: Side, tcp: Option<bool>, address: String, poller: &Poller) -> Self {
        let (peer, left, poller) = (None, VecDeque::new(), poller.clone());
        Self { side, peer, left, gave_up: false, tcp, address, poller }
    }

    fn server(
        doors: Vec<OwnedFd>,
        file: Option<SocketFile>,
        tcp: Option<bool>,
        address: String,
        poller: &Poller,
    ) -> Self {
        let doors = doors.into_iter().map(|door| Watched::new(door, DOOR, poller)).collect();
        let side =
            Side::Server { doors, closed_until: None, knocked: false, told: false, _file: file };
        Self::new(side, tcp, address, poller)
    }

    fn client(
        target: Target,
        pause: Option<Duration>,
        tcp: Option<bool>,
        address: String,
        poller: &Poller,
    ) -> Result<Self, OpenError> {
        let found = match pause {
            Some(_) => None,
            None => Some(sockets::connect_now(&target, &address)?),
        };
        let due = pause.map(|_| Instant::now());
        let side = Side::Client { target, pause, call: None, due };
        let mut stream = Self::new(side, tcp, address, poller);
        if let Some(socket) = found {
            stream.welcome(socket, &mut Events::default());
        }
        Ok(stream)
    }

    fn welcome(&mut self, socket: OwnedFd, events: &mut Events) {
        if let Some(nodelay) = self.tcp
            && let Err(error) = sockopt::set_tcp_nodelay(&socket, nodelay)
        {
            log::debug!("{}: TCP_NODELAY: {error}", self.address);
        }
        let socket = Watched::new(socket, PEER, &self.poller);
        self.peer = Some(Peer { socket, half_closed: false, is_read: false });
        events.push(Event::Connected);
    }

    /// The peer goes; what it has sent stays to be read.
    fn part(&mut self, events: &mut Events) {
        let Some(peer) = self.peer.take() else { return };
        events.push(Event::Disconnected);
        // It reads to the end, whatever becomes of what it sent. It may have gone long ago: then this fails.
        let _ = shutdown(&peer.socket, Shutdown::Write);
        if !peer.is_read {
            if self.left.len() == MAX_LEFT {
                if !self.gave_up {
                    self.gave_up = true;
                    log::warn!("{}: input of clients that have left is given up", self.address);
                }
                self.left.pop_front();
            }
            self.left.push_back(peer.socket.into_fd());
        }
        if let Side::Client { pause, due, .. } = &mut self.side {
            *due = pause.map(|pause| Instant::now() + pause);
        }
    }

    /// Lets one in, if there is one.
    fn accept(&mut self, events: &mut Events, now: Instant) {
        let Side::Server { doors, closed_until, knocked, told, .. } = &mut self.side else {
            return;
        };
        *closed_until = closed_until.filter(|until| *until > now);
        if !*knocked || self.peer.is_some() {
            return;
        }
        *knocked = false;
        let accept = |door| accept_with(door, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        // Whoever is not at one may be at another.
        let found = doors.iter().map(accept).find(|found| !matches!(found, Err(Errno::AGAIN)));
        match found.unwrap_or(Err(Errno::AGAIN)) {
            Ok(socket) => {
                *told = false;
                self.welcome(socket, events);
            }
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => (),
            Err(error) => {
                if !std::mem::replace(told, true) {
                    let why = plain(&error.into());
                    log::warn!("{}: cannot let a client in: {why}; trying again", self.address);
                }
                *closed_until = Some(now + BREATH);
            }
        }
    }

    /// Goes to whom we are to connect to, if it is time.
    fn call(&mut self, events: &mut Events, now: Instant) {
        let Side::Client { target, call, due, pause } = &mut self.side else { return };
        if call.is_some() || due.is_none_or(|due| due > now) {
            return;
        }
        match sockets::connect_to(target) {
            Ok((socket, true)) => {
                *due = None;
                self.welcome(socket, events);
            }
            Ok((socket, false)) => {
                *due = None;
                let mut socket = Watched::new(socket, CALL, &self.poller);
                socket.watch(EventFlags::OUT);
                *call = Some(socket);
            }
            Err(error) => {
                log::debug!("{}: cannot connect: {error}", self.address);
                *due = pause.map(|pause| now + pause);
            }
        }
    }

    /// A call has been answered, or refused.
    fn answered(&mut self, events: &mut Events, now: Instant) {
        let Side::Client { call, due, pause, .. } = &mut self.side else { return };
        let Some(socket) = call.take() else { return };
        match sockopt::socket_error(&socket) {
            Ok(Ok(())) => self.welcome(socket.into_fd(), events),
            _ => *due = pause.map(|pause| now + pause),
        }
    }
}

impl End for Stream {
    fn is_connected(&self) -> bool {
        self.peer.is_some()
    }

    fn send(&mut self, bytes: &[u8], events: &mut Events) -> Sent {
        let Some(peer) = &self.peer else { return Sent::Gone };
        let sent = Sent::from(send(&peer.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT));
        if sent == Sent::Gone {
            self.part(events);
        }
        sent
    }

    fn receive(&mut self, into: &mut [u8], events: &mut Events) -> usize {
        while let Some(socket) = self.left.front() {
            match recv(socket, &mut *into, RecvFlags::DONTWAIT) {
                Ok((count, _)) if count != 0 => return count,
                _ => drop(self.left.pop_front()),
            }
        }
        let Some(peer) = &mut self.peer else { return 0 };
        if peer.is_read {
            return 0;
        }
        match recv(&peer.socket, into, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                peer.is_read = true;
                peer.half_closed = true;
                0
            }
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                peer.is_read = true;
                self.part(events);
                0
            }
        }
    }

    fn happened(&mut self, key: u64, flags: EventFlags, events: &mut Events, now: Instant) {
        match (key, &mut self.side) {
            (DOOR, Side::Server { knocked, .. }) => *knocked = true,
            (CALL, _) => self.answered(events, now),
            (PEER, _) if flags.contains(EventFlags::ERR) => self.part(events),
            (PEER, _) if flags.intersects(EventFlags::HUP | EventFlags::RDHUP) => {
                if let Some(peer) = &mut self.peer {
                    peer.half_closed = true;
                }
            }
            _ => (),
        }
    }

    fn turn(&mut self, events: &mut Events, now: Instant) {
        self.accept(events, now);
        self.call(events, now);
    }

    fn watch(&mut self, wants: Wants) {
        if let Side::Server { doors, closed_until, .. } = &mut self.side {
            let open = self.peer.is_none() && closed_until.is_none();
            let flags = if open { EventFlags::IN } else { EventFlags::empty() };
            for door in doors {
                door.watch(flags);
            }
        }
        if let Some(peer) = &mut self.peer {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, wants.input && !peer.is_read);
            flags.set(EventFlags::OUT, wants.output);
            flags.set(EventFlags::RDHUP, !peer.half_closed);
            peer.socket.watch(flags);
        }
    }

    fn next_timer(&self, wants: Wants) -> Option<Instant> {
        if wants.input && !self.left.is_empty() {
            return Some(Instant::now());
        }
        match &self.side {
            Side::Server { closed_until, .. } => *closed_until,
            Side::Client { due, .. } => *due,
        }
    }

    fn is_half_closed(&mut self) -> bool {
        let Some(peer) = &mut self.peer else { return false };
        // A UNIX socket whose peer is gone takes nothing. TCP takes, and what it took is lost.
        if self.tcp.is_some() && !peer.half_closed {
            let found = poll_now(peer.socket.as_fd(), PollFlags::RDHUP);
            peer.half_closed = found.intersects(PollFlags::RDHUP | PollFlags::HUP);
        }
        peer.half_closed
    }

    fn finish(&mut self, events: &mut Events) {
        self.part(events);
    }

    fn peer(&self) -> Option<String> {
        let socket = &self.peer.as_ref()?.socket;
        if self.tcp.is_some() {
            let address = SocketAddr::try_from(getpeername(socket).ok()??).ok()?;
            return Some(address.to_string());
        }
        let process = sockopt::socket_peercred(socket).ok()?.pid;
        Some(format!("pid {}", process.as_raw_nonzero()))
    }

    fn address(&self) -> Option<String> {
        Some(self.address.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn clients_come_in_by_each_door() {
        let poller = Poller::new().unwrap();
        let addresses = [1, 2].map(|number| SocketAddr::from(([127, 0, 0, number], 0)));
        let (doors, name) = sockets::listen_on(&addresses, BACKLOG).unwrap();
        let (_, port) = name.split_once(':').unwrap();
        let mut stream = Stream::server(doors, None, Some(true), name.clone(), &poller);
        let (wants, mut events) = (Wants { input: true, output: false }, Events::default());
        for number in [2, 1, 2] {
            stream.watch(wants);
            let client = TcpStream::connect(format!("127.0.0.{number}:{port}")).unwrap();
            while !stream.is_connected() {
                for (key, flags) in poller.take() {
                    stream.happened(key, flags, &mut events, Instant::now());
                }
                stream.turn(&mut events, Instant::now());
            }
            assert_eq!(stream.peer(), Some(client.local_addr().unwrap().to_string()));
            stream.finish(&mut events);
            stream.receive(&mut [0; 9], &mut events);
        }
    }
}
