//! The control socket: one JSON object a line in, one a line out, as `docs/control.md` has it.
//!
//! Each connection has a thread of its own, which may wait for its client; the loop that serves the devices is asked
//! by a message that copies what is wanted, and waits for nobody.

pub mod client;
mod clients;
mod connection;
mod devices;
mod events;
mod lines;
mod reply;
mod verbs;

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use vfio_user_server::Listener;
use vfio_user_server::closer::{self, Account};

use clients::{Client, Clients};
pub use devices::{Devices, Known};
#[cfg(test)]
pub use events::{Heard, Listening};
pub use reply::Failure;
pub use verbs::comm;

use crate::peers::{Gate, Stranger};

/// Connections at one time.
const MOST: usize = 16;
/// With a manager: each remove that waits is one.
const MOST_OF_MANAGER: usize = 256;
/// How long the listener rests when this process can open no more descriptors.
const REST: Duration = Duration::from_millis(100);

/// A control socket that does not answer yet: to be made before anything that is only to be if it can be made.
pub struct Bound(Vec<Listener>, Gate);

impl Bound {
    /// At `path`, and where one was handed over; for whoever the gate lets in.
    pub fn new(
        path: Option<&Path>,
        inherited: Option<UnixListener>,
        gate: Gate,
    ) -> Result<Option<Self>, Box<dyn Error>> {
        let mut listeners = Vec::new();
        listeners.extend(inherited.map(Listener::inherited).transpose()?);
        listeners.extend(path.map(Listener::bind).transpose()?);
        Ok((!listeners.is_empty()).then_some(Self(listeners, gate)))
    }

    /// Answers from here on.
    pub fn answer(self, devices: Arc<Devices>) -> io::Result<Control> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let stopped = Arc::clone(&stop);
        let is_manager = devices.manager().is_ok();
        let most = if is_manager { MOST_OF_MANAGER } else { MOST };
        let clients = Arc::new(Clients::new(most, is_manager)?);
        let accepting = thread::Builder::new()
            .name("control".into())
            .spawn(move || accept_all(&self.0, self.1, &stopped, &clients, &devices))?;
        Ok(Control { stop, accepting: Some(accepting) })
    }
}

/// A control socket that answers, until this is dropped: then the socket is gone. Its clients are not waited for.
pub struct Control {
    stop: Arc<OwnedFd>,
    accepting: Option<JoinHandle<()>>,
}

impl Drop for Control {
    fn drop(&mut self) {
        #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
        let told = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(accepting) = self.accepting.take().filter(|_| told.is_ok()) {
            // It waits for nothing but to be told.
            let _ = accepting.join();
        }
    }
}

fn accept_all(
    listeners: &[Listener],
    mut gate: Gate,
    stop: &OwnedFd,
    clients: &Arc<Clients>,
    devices: &Arc<Devices>,
) {
    let account = Account::default();
    while !waits(listeners, stop, None) {
        if account.is_full() {
            if waits(&[], stop, Some(REST)) {
                return;
            }
            continue;
        }
        for listener in listeners {
            let accepted = match listener.accept() {
                // There are no descriptors left but these.
                Err(_) if clients.release() => listener.accept(),
                accepted => accepted,
            };
            match accepted {
                Ok(Some(stream)) => welcome(stream, &mut gate, clients, devices, &account),
                Ok(None) => (),
                Err(error) => {
                    log::debug!("control socket: cannot take a client on: {error}");
                    if waits(&[], stop, Some(REST)) {
                        return;
                    }
                }
            }
        }
    }
}

/// Takes a client on, unless it may not come in, or is one too many.
fn welcome(
    stream: UnixStream,
    gate: &mut Gate,
    clients: &Arc<Clients>,
    devices: &Arc<Devices>,
    account: &Account,
) {
    let stream = match gate.admit(&stream) {
        Err(Stranger(who)) => {
            connection::turn_away(&stream, &who);
            stream
        }
        Ok(()) => match clients.enter(stream) {
            Ok(client) => {
                if let Err(error) = start(client, Arc::clone(clients), Arc::clone(devices)) {
                    log::warn!("control socket: cannot take a client on: {error}");
                }
                return;
            }
            Err(stream) => {
                connection::refuse(&stream, clients.most());
                stream
            }
        },
    };
    // What it sent along may keep waiting whoever closes it.
    closer::close_elsewhere(stream.into(), account);
}

fn start(client: Arc<Client>, clients: Arc<Clients>, devices: Arc<Devices>) -> io::Result<()> {
    let place = Place { clients, client: Some(client) };
    let serve = move || {
        let served = place.client.as_ref().map_or(Ok(()), |it| connection::serve(it, &devices));
        if let Err(error) = served {
            log::debug!("control socket: connection lost: {error}");
        }
        // By this thread, which may wait.
        drop(place);
    };
    thread::Builder::new().name("control client".into()).spawn(serve).map(|_| ())
}

/// Answers a client that somebody else has taken on, on this thread, until its connection ends.
///
/// # Errors
/// When that ends by an error.
pub fn answer_one(stream: UnixStream, devices: &Devices) -> io::Result<()> {
    let clients = Clients::new(1, false)?;
    let client = clients.enter(stream).map_err(|_| io::ErrorKind::QuotaExceeded)?;
    connection::serve(&client, devices)
}

/// A client's place, which is free when this is dropped, whatever became of the client.
struct Place {
    clients: Arc<Clients>,
    client: Option<Arc<Client>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.client.take().into_iter().for_each(|client| self.clients.leave(client));
    }
}

/// Waits until one of `sources` can be read, or for as long as `most`. Returns whether `stop` was signalled.
fn waits(sources: &[Listener], stop: &OwnedFd, most: Option<Duration>) -> bool {
    let most = most.and_then(|most| Timespec::try_from(most).ok());
    let mut ends = vec![PollFd::new(stop, PollFlags::IN)];
    ends.extend(sources.iter().map(|source| PollFd::new(source, PollFlags::IN)));
    // An interrupted wait is as good as one that was too short.
    let _ = poll(&mut ends, most.as_ref());
    ends.first().is_some_and(|stop| !stop.revents().is_empty())
}
