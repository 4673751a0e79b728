//! One device with all that belongs to it on a loop: its listener, its clients, its sources, its timers.

mod arriving;
mod leaving;

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use log::Level;
use rustix::event::epoll::{self, EventFlags};
use vfio_device::{Device, DeviceRef, Errno, Interest, SourceId};

use crate::closer::Account;
use crate::conduct::{Conduct, Stall};
use crate::connection::{Connection, Flow, Watch};
use crate::deadlines::earlier;
use crate::fault::{Fault, Faults};
use crate::listener::Listener;
use crate::log_limit::LogLimit;
use crate::registry::{KIND_BITS, Registry, Token};
use crate::scratch::Scratch;
use crate::stats::Stats;
use crate::transport;

/// How long a client may take to say `VERSION`. QEMU says it at once.
const GREETING: Duration = Duration::from_secs(5);

/// What has happened on a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client has agreed on a version and become the device's user.
    ClientCame,
    /// The device's user has left, and the device is closed.
    ClientLeft,
    /// The device has panicked and is served no longer.
    Faulted,
}

/// Who uses a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Number of the connection, as the log has it.
    pub number: u32,
    /// The process that connected; `None` if it is in a PID namespace that cannot be seen from here. It may have handed
    /// the socket on since.
    pub pid: Option<u32>,
}

struct Client {
    id: u32,
    connection: Connection,
    /// What is waited for.
    interest: EventFlags,
    /// Whether that lasts too long.
    stall: Stall,
}

impl Client {
    /// Whether it uses the device and nothing is waited for but its next message.
    fn is_calm(&self) -> bool {
        self.connection.is_at_work() && self.interest == EventFlags::IN && self.stall == Stall::No
    }
}

/// A registered device and the socket on which its clients come. Give it to an [`EventLoop`](crate::EventLoop).
pub struct Endpoint {
    device: Device,
    listener: Option<Listener>,
    /// Until when the listener rests.
    rests: Option<Instant>,
    /// It has rested at least once since a client was last taken on.
    starved: bool,
    clients: Vec<Client>,
    /// When one of them is due, whatever it does, or the listener has rested.
    clients_due: Option<Instant>,
    /// That is as it was: a calm client has been attended to since, and is calm.
    is_quiet: bool,
    /// Sockets that were connected already when they were handed over.
    handed_over: Vec<UnixStream>,
    next_id: u32,
    coming_and_going: LogLimit,
    conduct: Conduct,
    failures: LogLimit,
    /// The users whose processes may be clients; all, if there is no list.
    allowed: Option<Box<[u32]>>,
    strangers: LogLimit,
    /// For what its users send, and for all others.
    user_account: Account,
    other_account: Account,
    /// How often the listener has rested on end since these were full.
    waits: u32,
    sources: Vec<(SourceId, u32)>,
    sources_seen: u64,
    /// Boxed: hardly any endpoint has some.
    faults: Option<Box<Faults>>,
    stats: Stats,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Serves the clients that come on `listener`, one after the other. The device has been registered.
    pub fn new(device: Device, listener: Listener) -> Self {
        Self { listener: Some(listener), ..Self::without_listener(device) }
    }

    /// Serves the one client at the other end of `socket`.
    pub fn connected(device: Device, socket: UnixStream) -> Self {
        Self { handed_over: vec![socket], ..Self::without_listener(device) }
    }

    fn without_listener(device: Device) -> Self {
        Self {
            device,
            listener: None,
            rests: None,
            starved: false,
            clients: Vec::new(),
            clients_due: None,
            is_quiet: false,
            handed_over: Vec::new(),
            next_id: 0,
            coming_and_going: LogLimit::new(),
            conduct: Conduct::default(),
            failures: LogLimit::new(),
            allowed: None,
            strangers: LogLimit::new(),
            user_account: Account::default(),
            other_account: Account::default(),
            waits: 0,
            sources: Vec::new(),
            sources_seen: 0,
            faults: None,
            stats: Stats::default(),
        }
    }

    /// Has these faults, and no others, befall its clients, for those who test them. Without any there is no cost.
    pub fn with_faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.set_faults(faults);
        self
    }

    /// The same at any time.
    pub(crate) fn set_faults(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults = Faults::new(faults, &mut self.device).map(Box::new);
    }

    /// Stores into a region, as the client can.
    pub(crate) fn write_region(
        &mut self,
        region: u32,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Errno> {
        self.device.region_write(region, offset, data)
    }

    /// Lets processes of these users be clients (`SO_PEERCRED`), and no others: root and this process's own user are
    /// none unless they are named. Another is told `EACCES` in answer to its `VERSION`. Without this whoever may connect
    /// may be a client.
    pub fn with_allowed_uids(mut self, uids: impl IntoIterator<Item = u32>) -> Self {
        self.allowed = Some(uids.into_iter().collect());
        self
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What has been counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The client that uses the device now.
    pub fn user(&self) -> Option<User> {
        let client = self.clients.iter().find(|client| client.connection.is_open())?;
        Some(User { number: client.id, pid: client.connection.pid })
    }

    /// For the log.
    fn name(&self) -> &DeviceRef {
        self.device.object()
    }

    /// Begins: watches the listener and what was handed over.
    pub(crate) fn start(&mut self, registry: Registry<'_>) -> io::Result<()> {
        if let Some(listener) = &self.listener {
            registry.add(listener, Token::Listener, EventFlags::IN)?;
        }
        for socket in std::mem::take(&mut self.handed_over) {
            self.greet(socket, registry)?;
        }
        self.sync_sources(registry);
        Ok(())
    }

    /// One of the descriptors is ready. Returns what has happened, and whether a client was attended to.
    #[inline(always)]
    pub(crate) fn ready(
        &mut self,
        token: u32,
        flags: EventFlags,
        registry: Registry<'_>,
        scratch: &mut Scratch,
    ) -> (Option<Event>, bool) {
        let outcome = match Token::unpack(token) {
            Token::Listener => {
                self.accept(registry);
                (None, false)
            }
            Token::Connection(id) => (self.attend(id, registry, scratch), true),
            Token::Source(id) => {
                self.source_ready(id, flags);
                (None, false)
            }
        };
        self.sync_sources(registry);
        outcome
    }

    fn attend(&mut self, id: u32, registry: Registry<'_>, scratch: &mut Scratch) -> Option<Event> {
        let position = self.clients.iter().position(|client| client.id == id)?;
        let (was_open, was_calm) = {
            let client = self.clients.get(position)?;
            (client.connection.is_open(), client.is_calm())
        };
        if !was_open && self.has_departed_user() {
            return None;
        }
        let client = self.clients.get_mut(position)?;
        let (stats, conduct) = (&mut self.stats, &mut self.conduct);
        let watch = Watch { faults: self.faults.as_deref_mut(), stats, conduct };
        let flow = client.connection.attend(&mut self.device, scratch, watch);
        let goes = flow == Flow::Goes { blocked: false };
        if was_calm && goes && !client.connection.has_begun() {
            self.is_quiet = true;
            return None;
        }
        let is_open = client.connection.is_open();
        if is_open && !was_open {
            client.connection.charge(&self.user_account);
            self.stats.clients += 1;
        }
        if let Some(errno) = self.stats.not_opened.take() {
            let name = self.device.object();
            let line = format_args!("{name}: {} cannot open it: {errno}", client.connection);
            self.failures.say(Level::Warn, line);
        }
        let interest = match flow {
            Flow::Goes { blocked: false } => EventFlags::IN,
            Flow::Goes { blocked: true } => EventFlags::OUT,
            // That the client has gone is reported all the same.
            Flow::Rests => EventFlags::empty(),
            Flow::Ends => {
                if is_open && !was_open {
                    log::debug!("{}: {} left at once", self.device.object(), client.connection);
                }
                registry.remove(&client.connection);
                return self.dismiss(position);
            }
        };
        let is_waited_for = interest == EventFlags::OUT
            || interest == EventFlags::IN && client.connection.has_begun();
        client.stall.update(is_open && is_waited_for, client.connection.handled);
        if std::mem::replace(&mut client.interest, interest) != interest
            && registry.modify(&client.connection, Token::Connection(id), interest).is_err()
        {
            return self.dismiss(position);
        }
        if is_open && !was_open {
            let text = format!("{} is using the device", client.connection);
            self.tell(Level::Info, &text);
            return Some(Event::ClientCame);
        }
        None
    }

    /// Whether the device's user has closed its end, and there may still be something to read from it. Whoever comes next
    /// waits until that has been done, turn by turn, and does not find the device busy: what the user said fits into a
    /// socket's buffer, nothing can be added, and a hang-up is reported whatever is waited for.
    fn has_departed_user(&self) -> bool {
        let mut users = self.clients.iter().filter(|client| client.connection.is_open());
        users.any(|user| transport::has_hung_up(&user.connection))
    }

    /// Lets a connection go; closes the device if it was the device's user.
    fn dismiss(&mut self, position: usize) -> Option<Event> {
        let client = self.clients.remove(position);
        let (connection, name) = (&client.connection, self.device.object());
        if !connection.is_open() {
            if connection.refused == 0 {
                self.conduct.say(name, format_args!("{connection} left without a VERSION"));
            }
            return None;
        }
        let refused = match connection.refused {
            0 => String::new(),
            count => format!(" (refused commands: {count})"),
        };
        self.device.close();
        self.tell(Level::Info, &format!("{connection} has left{refused}"));
        Some(Event::ClientLeft)
    }

    /// Says what clients do, which a client can do often.
    fn tell(&mut self, level: Level, text: &str) {
        self.coming_and_going.say(level, format_args!("{}: {text}", self.device.object()));
    }

    fn source_ready(&mut self, id: u32, flags: EventFlags) {
        let Some(&(source, _)) = self.sources.iter().find(|(_, watched)| *watched == id) else {
            return;
        };
        let ended = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        let ready = Interest {
            readable: ended || flags.contains(EventFlags::IN),
            writable: ended || flags.contains(EventFlags::OUT),
        };
        self.device.source_ready(source, ready);
    }

    /// Watches what the device wants watched now, and no more.
    #[inline]
    pub(crate) fn sync_sources(&mut self, registry: Registry<'_>) {
        let generation = self.device.sources().generation();
        if generation != self.sources_seen {
            self.sources_seen = generation;
            self.watch_sources(registry);
        }
    }

    #[cold]
    fn watch_sources(&mut self, registry: Registry<'_>) {
        self.device.take_removed_sources().iter().for_each(|removed| registry.remove(removed));
        self.sources.clear();
        for source in self.device.sources().iter() {
            if source.interest() == Interest::NONE {
                // epoll would go on reporting a hang-up. That it is not there is no error.
                let _ = epoll::delete(registry.epoll, source);
                continue;
            }
            let id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1) & (u32::MAX >> KIND_BITS);
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, source.interest().readable);
            flags.set(EventFlags::OUT, source.interest().writable);
            let token = Token::Source(id);
            // Most are known already, and get a new number.
            let result = match registry.modify(source, token, flags) {
                Err(_) => registry.add(source, token, flags),
                done => done,
            };
            match result {
                Ok(()) => self.sources.push((source.id(), id)),
                Err(error) => {
                    log::debug!("{}: {:?} cannot be watched: {error}", self.name(), source.id())
                }
            }
        }
    }

    /// Ends all watching.
    pub(crate) fn stop(&mut self, registry: Registry<'_>) {
        self.listener.iter().for_each(|listener| registry.remove(listener));
        self.clients.iter().for_each(|client| registry.remove(&client.connection));
        self.device.take_removed_sources().iter().for_each(|source| registry.remove(source));
        self.device.sources().iter().for_each(|source| registry.remove(source));
    }

    /// When [`run_timers`](Self::run_timers) is to be called next. To be asked after every call.
    #[inline]
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        if !std::mem::take(&mut self.is_quiet) {
            self.clients_due = earlier(self.rests, self.clients_deadline());
        }
        earlier(self.device.next_timer(), self.clients_due)
    }

    /// When a client has been silent for too long, keeps others waiting for its rest, or has rested.
    #[cold]
    fn clients_deadline(&self) -> Option<Instant> {
        let greetings = self.clients.iter().filter(|client| !client.connection.is_open());
        let greetings = greetings.map(|client| client.connection.deadline).min();
        let rests = self.resting().map(|(_, until)| until).min();
        let stalls = self.clients.iter().filter_map(|client| client.stall.due()).min();
        earlier(stalls, earlier(greetings, rests))
    }

    /// Connections that have their turn again after a moment, and when. As long as a user that has left is not done with
    /// that is nobody else: who waits for it would be due all the time.
    fn resting(&self) -> impl Iterator<Item = (u32, Instant)> {
        let rests =
            |it: &Client| Some((it.id, it.connection.rests_until()?, it.connection.is_open()));
        let resting = self.clients.iter().filter_map(rests);
        let waits = resting.clone().any(|(_, _, is_open)| !is_open) && self.has_departed_user();
        resting.filter(move |(_, _, is_open)| *is_open || !waits).map(|(id, until, _)| (id, until))
    }

    /// Does what is due at `now`, and returns what has happened. Of several connections whose rest is over one has its
    /// turn: the others leave the deadline where it is.
    pub(crate) fn run_timers(
        &mut self,
        now: Instant,
        registry: Registry<'_>,
        scratch: &mut Scratch,
    ) -> Option<Event> {
        self.device.run_timers(now);
        if self.rests.is_some_and(|until| until <= now) {
            self.rest(registry, None);
        }
        let name = self.device.object();
        self.clients.retain(|Client { connection, .. }| {
            let stays = connection.is_open() || connection.deadline > now;
            if !stays {
                registry.remove(connection);
                let line =
                    format_args!("{connection} has not said VERSION for {GREETING:?}: let go");
                self.conduct.say(name, line);
            }
            stays
        });
        for Client { connection, stall, .. } in &mut self.clients {
            if stall.take_due(now) {
                self.conduct.say(name, format_args!("{connection} {}", connection.awaited()));
            }
        }
        let rested = self.resting().find(|(_, until)| *until <= now).map(|(id, _)| id);
        let event = rested.and_then(|id| self.attend(id, registry, scratch));
        self.sync_sources(registry);
        event
    }

    /// Whether nobody is there and nobody can come.
    pub(crate) fn is_deserted(&self) -> bool {
        self.listener.is_none() && self.clients.is_empty()
    }
}
