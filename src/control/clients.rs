//! Who is connected to a control socket, and what is kept back so that somebody can be.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{DupFlags, dup3};

use super::connection;

/// Descriptors that are kept back for clients who come when there are no others: for one, and what it may ask for.
const SPARE: usize = 4;

/// All clients.
pub struct Clients {
    most: usize,
    /// One who asks nothing goes when another comes for whom there is no place.
    makes_room: bool,
    here: Mutex<Vec<Arc<Client>>>,
    spare: Mutex<Vec<OwnedFd>>,
    /// What a spare descriptor is of.
    nothing: OwnedFd,
}

/// A connection.
pub struct Client {
    pub stream: UnixStream,
    doing: Mutex<Doing>,
}

enum Doing {
    /// Nothing that was asked for after then.
    Nothing(Instant),
    /// What was asked for then.
    Something(Instant),
    /// It makes room for another one.
    Leaving,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clients {
    pub fn new(most: usize, makes_room: bool) -> io::Result<Self> {
        let (here, spare) = (Mutex::default(), Mutex::default());
        let nothing = eventfd(0, EventfdFlags::CLOEXEC)?;
        let clients = Self { most, makes_room, here, spare, nothing };
        clients.fill();
        Ok(clients)
    }

    /// Takes one in, who is given back if there is no place.
    pub fn enter(&self, stream: UnixStream) -> Result<Arc<Client>, UnixStream> {
        let mut here = lock(&self.here);
        if here.len() >= self.most {
            let longest = here.iter().filter_map(|it| Some((it.idle_since()?, Arc::clone(it))));
            let longest = longest.min_by_key(|(since, _)| *since).filter(|_| self.makes_room);
            match longest {
                Some((_, client)) if client.send_away() => {
                    here.retain(|it| !Arc::ptr_eq(it, &client));
                }
                _ => return Err(stream),
            }
        }
        let client = Arc::new(Client { stream, doing: Mutex::new(Doing::Nothing(Instant::now())) });
        here.push(Arc::clone(&client));
        Ok(client)
    }

    /// One has left. Its descriptor is kept back at once if too few are, before anybody else can have it.
    pub fn leave(&self, client: Arc<Client>) {
        lock(&self.here).retain(|it| !Arc::ptr_eq(it, &client));
        if let Some(client) = Arc::into_inner(client) {
            let mut spare = lock(&self.spare);
            let mut socket = OwnedFd::from(client.stream);
            if spare.len() < SPARE && dup3(&self.nothing, &mut socket, DupFlags::CLOEXEC).is_ok() {
                spare.push(socket);
            }
        }
        self.fill();
    }

    /// Lets go of what is kept back, as there is nothing else. Returns whether that was anything.
    pub fn release(&self) -> bool {
        !std::mem::take(&mut *lock(&self.spare)).is_empty()
    }

    /// Keeps back what can be had.
    fn fill(&self) {
        let mut spare = lock(&self.spare);
        while spare.len() < SPARE
            && let Ok(nothing) = self.nothing.try_clone()
        {
            spare.push(nothing);
        }
    }

    pub fn most(&self) -> usize {
        self.most
    }
}

impl Client {
    /// It has asked for something. Returns whether that is to be done: not if it is to make room.
    pub fn begins(&self) -> bool {
        let mut doing = lock(&self.doing);
        let stays = !matches!(*doing, Doing::Leaving);
        if stays {
            *doing = Doing::Something(Instant::now());
        }
        stays
    }

    /// It has its answer.
    pub fn rests(&self) {
        let mut doing = lock(&self.doing);
        if let Doing::Something(since) = *doing {
            *doing = Doing::Nothing(since);
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        if let Doing::Nothing(since) = *lock(&self.doing) { Some(since) } else { None }
    }

    /// Ends it, unless it has asked for something by now.
    fn send_away(&self) -> bool {
        let mut doing = lock(&self.doing);
        let is_idle = matches!(*doing, Doing::Nothing(_));
        if is_idle {
            *doing = Doing::Leaving;
            connection::make_room(&self.stream);
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        is_idle
    }
}
