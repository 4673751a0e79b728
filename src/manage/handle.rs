//! How other threads speak to a manager.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, sync_channel};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;
use vfio_device::Errno;

use super::allowed::Allowed;
use super::definitions::Definition;
use super::instance::Waiter;
use super::{Manager, Message};
use crate::commands::types;
use crate::control::Failure;
use crate::device_spec::DeviceSpec;
use crate::parents::Parents;
use crate::serial::{Bell, has_left};

/// How soon somebody who waits without a bell is seen to have left.
const SHORT_ROUND: Duration = Duration::from_millis(100);

/// For whoever wants something of a manager, in whatever thread.
#[derive(Clone)]
pub struct Handle {
    messages: Sender<Message>,
    parents: Arc<Parents>,
    allowed: Arc<Allowed>,
    end: Arc<End>,
}

/// How far the end is, which is said past the queue: whatever waits there does not hold it up.
#[derive(Default)]
struct End {
    begun: AtomicBool,
    failed: AtomicBool,
}

/// A UUID that is held for a device that is being made.
struct Claim<'a> {
    handle: &'a Handle,
    uuid: Uuid,
    kept: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let uuid = self.uuid;
        if !self.kept {
            // Waited for: who is refused finds nothing of it.
            let _ = self.handle.ask(move |manager| manager.abandon(uuid));
        }
    }
}

fn ending() -> Failure {
    Failure::new(Errno::AGAIN, "the manager is ending")
}

impl Handle {
    pub fn new(messages: Sender<Message>, parents: Arc<Parents>, allowed: Allowed) -> Self {
        Self { messages, parents, allowed: Arc::new(allowed), end: Arc::default() }
    }

    pub fn parents(&self) -> &Parents {
        &self.parents
    }

    /// Has the manager do something soon. Without effect if it has ended.
    pub fn tell(&self, what: impl FnOnce(&mut Manager) + Send + 'static) {
        let _ = self.messages.send(Box::new(what));
    }

    /// Has the manager end at once, after what it is doing.
    pub fn end(&self) {
        self.end.begun.store(true, Ordering::Release);
        // It may be waiting.
        self.tell(|_| ());
    }

    /// The same, as it cannot go on.
    pub fn fail(&self) {
        self.end.failed.store(true, Ordering::Release);
        self.end();
    }

    pub fn is_ending(&self) -> bool {
        self.end.begun.load(Ordering::Acquire)
    }

    pub fn has_failed(&self) -> bool {
        self.end.failed.load(Ordering::Acquire)
    }

    fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Manager) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = sync_channel(1);
        self.tell(move |manager| {
            let _ = reply.try_send(what(manager));
        });
        answer.recv().map_err(|_| ending())
    }

    /// Makes a device, and returns its socket, where clients can come. What it is made of is opened here: nobody but the
    /// caller waits for that. At run time the definition is written back, if that is wanted.
    pub fn create(
        &self,
        uuid: Uuid,
        definition: Definition,
        at_run_time: bool,
    ) -> Result<PathBuf, Failure> {
        self.allowed.check(&definition.spec)?;
        let spec = definition.spec.clone();
        self.ask(move |manager| manager.begin(uuid, definition))??;
        let mut claim = Claim { handle: self, uuid, kept: false };
        let created = self.parents.make(&spec, uuid)?;
        let (reply, answer) = sync_channel(1);
        let waiter = Waiter::new(reply, None);
        claim.kept = true;
        self.tell(move |manager| manager.place(uuid, created, at_run_time, waiter));
        answer.recv().map_err(|_| ending())?
    }

    /// Whether a device may have all that these options name.
    ///
    /// # Errors
    /// As with `create`.
    pub fn check(&self, spec: &DeviceSpec) -> Result<(), Failure> {
        self.allowed.check(spec)
    }

    /// A device has been changed, and is to be known and saved so.
    ///
    /// # Errors
    /// `EAGAIN` if it is being removed.
    pub fn changed(&self, uuid: Uuid, definition: Definition) -> Result<(), Failure> {
        let (reply, answer) = sync_channel(1);
        let waiter = Waiter::new(reply, None);
        self.tell(move |manager| manager.changed(uuid, definition, waiter));
        answer.recv().map_err(|_| ending())?
    }

    /// Takes a device away, and returns when it is released; or when `client`, who wants that, has left. With
    /// `force_after` its user is sent away after so long.
    pub fn remove(
        &self,
        uuid: Uuid,
        force_after: Option<Duration>,
        client: impl AsFd,
    ) -> Result<(), Failure> {
        // Who is to free descriptors may find none: without a bell the wait has short rounds.
        let bell = Bell::new().ok();
        let (reply, answer) = sync_channel(1);
        let waiter = Waiter::new(reply, bell.as_ref().map(Bell::ringer));
        self.tell(move |manager| manager.remove(uuid, force_after, waiter));
        let Some(bell) = bell else {
            while !has_left(&client) {
                match answer.recv_timeout(SHORT_ROUND) {
                    Err(RecvTimeoutError::Timeout) => (),
                    answer => return answer.map_err(|_| ending())?,
                }
            }
            return Err(ending());
        };
        bell.wait(client.as_fd(), Duration::MAX);
        // Of a client that has left nobody reads it.
        answer.try_recv().map_err(|_| ending())?
    }

    /// In the form of `mdevctl list --dumpjson`.
    pub fn list(&self) -> Result<Value, Failure> {
        self.ask(|manager| manager.list())
    }

    /// In the form of `mdevctl types --dumpjson`.
    pub fn types(&self) -> Value {
        types::dump(&self.parents)
    }
}
