//! How other threads reach a wire.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use rustix::event::{EventfdFlags, eventfd};

use super::exchange::Change;
use super::wire::Wire;
use crate::order::order;

/// How long a wire may take to answer. It answers between two accesses of a guest.
const PATIENCE: Duration = Duration::from_secs(5);

/// Orders that wait, at most. A connection to a control socket has one at a time.
const MOST_ORDERS: usize = 64;

/// Something to do for a wire.
type Order = Box<dyn FnOnce(&mut Wire) + Send>;

/// A port of a card that is on some loop.
#[derive(Clone)]
pub struct Port {
    orders: SyncSender<Order>,
    change: Arc<Mutex<Change>>,
    wake: Arc<OwnedFd>,
    place: Option<String>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("wake", &self.wake).finish_non_exhaustive()
    }
}

/// Why a wire has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// It is no more.
    Gone,
    /// Its loop is busy with something else.
    Late(Duration),
}

impl Port {
    /// Where a peer finds it, if that was found when it was opened: the name of a terminal, a number of a TCP port.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    pub(super) fn at(self, place: Option<String>) -> Self {
        Self { place, ..self }
    }

    /// Has the wire become another before it does anything else that it is asked to. That cannot fail: it does not come to
    /// pass only if the wire is no more. Several ports of a card that are told so in one message to its loop change at
    /// once, as far as any access or other order can tell.
    pub fn change(&self, change: Change) {
        self.change.lock().unwrap_or_else(PoisonError::into_inner).merge(change);
        self.wake();
    }

    fn wake(&self) {
        #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }

    /// Has the wire do something, between two accesses of a guest.
    pub fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Wire) -> T + Send + 'static,
    ) -> Result<T, Unheard> {
        let (order, awaited) = order(what);
        self.orders.try_send(Box::new(order)).map_err(|error| match error {
            TrySendError::Disconnected(_) => Unheard::Gone,
            // It has not come to those that wait either.
            TrySendError::Full(_) => Unheard::Late(PATIENCE),
        })?;
        self.wake();
        awaited.within(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Disconnected => Unheard::Gone,
            RecvTimeoutError::Timeout => Unheard::Late(PATIENCE),
        })
    }
}

/// The wire's end of it.
pub(super) struct Orders {
    orders: Receiver<Order>,
    change: Arc<Mutex<Change>>,
    wake: Arc<OwnedFd>,
}

impl Orders {
    /// The descriptor that can be read when there is something to do.
    pub(super) fn wake(&self) -> io::Result<OwnedFd> {
        self.wake.try_clone()
    }

    /// Forgets that there was something. Before what there is is looked at.
    pub(super) fn calm(&self) {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
    }

    /// What the wire is to become.
    pub(super) fn change(&self) -> Change {
        std::mem::take(&mut *self.change.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn next(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }
}

pub(super) fn pair() -> io::Result<(Port, Orders)> {
    let (sender, orders) = sync_channel(MOST_ORDERS);
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let change = Arc::default();
    let port =
        Port { orders: sender, change: Arc::clone(&change), wake: Arc::clone(&wake), place: None };
    Ok((port, Orders { orders, change, wake }))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::serial::exchange::Hung;

    #[test]
    fn what_nobody_waits_for_any_more_is_not_done() {
        let (port, orders) = pair().unwrap();
        let asking = thread::spawn(move || port.ask(|_| panic!("it is done too late")));
        assert_eq!(asking.join().unwrap(), Err::<(), _>(Unheard::Late(PATIENCE)));
        let (_port, unused) = pair().unwrap();
        let null = Hung::open("null".into(), &"null".parse().unwrap()).unwrap();
        let mut wire = Wire::new(null, Arc::default(), unused);
        orders.next().unwrap()(&mut wire);
    }
}
