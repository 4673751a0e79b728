//! How clients come.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use log::Level;
use rustix::event::epoll::EventFlags;

use super::{Client, Endpoint, GREETING};
use crate::closer;
use crate::conduct::Stall;
use crate::connection::{Connection, UNTIL_CLOSED};
use crate::registry::{KIND_BITS, Registry, Token};
use crate::transport;

/// Connections at one time: the client, and those that are about to hear that there is one.
const MAX_CONNECTIONS: usize = 16;
/// How long the listener rests when this process can open no more descriptors.
const REST: Duration = Duration::from_millis(100);
/// So often it rests for what is to be closed before that is told of: a second.
const LONG: u32 = 100;

impl Endpoint {
    pub(super) fn accept(&mut self, registry: Registry<'_>) {
        let Some(listener) = &self.listener else { return };
        if self.user_account.is_full() || self.other_account.is_full() {
            self.waits = self.waits.saturating_add(1);
            if self.waits == LONG {
                log::warn!(
                    "{}: takes no client on: what clients have sent cannot be closed, since something keeps it waiting (a \
                     socket that lingers, a file of FUSE)",
                    self.name()
                );
            }
            return self.rest(registry, Some(Instant::now() + UNTIL_CLOSED));
        }
        self.waits = 0;
        let greeted = match listener.accept() {
            Ok(Some(socket)) => self.greet(socket, registry),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let starved_before = std::mem::replace(&mut self.starved, greeted.is_err());
        if let Err(error) = greeted {
            // Out of descriptors or memory: whoever waits goes on waiting, and we do not spin on it. To be said once.
            let level = if starved_before { Level::Debug } else { Level::Warn };
            log::log!(
                level,
                "{}: cannot take a client on: {error}; trying again every {REST:?}",
                self.name()
            );
            self.rest(registry, Some(Instant::now() + REST));
        }
    }

    pub(super) fn rest(&mut self, registry: Registry<'_>, until: Option<Instant>) {
        self.rests = until;
        if let Some(listener) = &self.listener {
            let flags = if until.is_some() { EventFlags::empty() } else { EventFlags::IN };
            if let Err(error) = registry.modify(listener, Token::Listener, flags) {
                log::warn!("{}: listener: {error}", self.name());
            }
        }
    }

    /// Takes a connection on. It becomes the device's user when it says `VERSION`, unless another one is.
    pub(super) fn greet(&mut self, socket: UnixStream, registry: Registry<'_>) -> io::Result<()> {
        let peer = transport::peer(&socket);
        let may_open = self.allowed.as_ref().is_none_or(|uids| {
            // Whom the system does not name is nobody's friend.
            peer.uid.is_some_and(|uid| uids.contains(&uid))
        });
        if self.clients.len() >= MAX_CONNECTIONS {
            // The oldest of those that have said nothing makes room, but not for one that is to be turned away.
            let silent = |client: &Client| may_open && !client.connection.is_open();
            let stranger = self.clients.iter().position(|it| it.connection.is_stranger());
            let position = stranger.or_else(|| self.clients.iter().position(silent));
            match position {
                Some(position) => {
                    let connection = self.clients.remove(position).connection;
                    registry.remove(&connection);
                    let line = format_args!("{connection} has not said VERSION and makes room");
                    self.conduct.say(self.device.object(), line);
                }
                None if may_open => (),
                None => {
                    closer::close_elsewhere(socket.into(), &self.other_account);
                    return Ok(());
                }
            }
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1) & (u32::MAX >> KIND_BITS);
        let account = &self.other_account;
        let connection =
            Connection::new(socket, account, id, peer, may_open, Instant::now() + GREETING)?;
        registry.add(&connection, Token::Connection(id), EventFlags::IN)?;
        log::debug!("{}: {connection} connected", self.name());
        if !may_open {
            let name = self.device.object();
            let who = peer.uid.map_or_else(|| "an unknown user".into(), |uid| format!("uid {uid}"));
            let line = format_args!("{name}: {connection} is turned away: {who} is not allowed");
            self.strangers.say(Level::Warn, line);
        }
        self.clients.push(Client { id, connection, interest: EventFlags::IN, stall: Stall::No });
        Ok(())
    }
}
