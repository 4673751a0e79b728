//! One device of a manager.

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use uuid::Uuid;
use vfio_device::Unregister;
use vfio_user_server::{EndpointId, User};

use super::definitions::Definition;
use crate::control::{Failure, comm};
use crate::errors::printable;
use crate::serial::Ringer;

/// From one request to go to the next, as in the kernel.
pub const ROUND: Duration = Duration::from_secs(10);

/// Who waits for something to be done.
pub struct Waiter<T> {
    reply: SyncSender<Result<T, Failure>>,
    /// Dropped with this, answered or not.
    bell: Option<Ringer>,
}

impl<T> Waiter<T> {
    pub fn new(reply: SyncSender<Result<T, Failure>>, bell: Option<Ringer>) -> Self {
        Self { reply, bell }
    }

    /// Whether somebody may still wait.
    pub fn is_heard(&self) -> bool {
        self.bell.as_ref().is_none_or(Ringer::is_heard)
    }

    pub fn answer(self, result: Result<T, Failure>) {
        // Who has left needs no answer.
        let _ = self.reply.try_send(result);
    }
}

/// How far a device has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its driver makes it.
    Initialized,
    /// It can be opened.
    Registered,
    /// It cannot be opened any more.
    Unregistering,
}

impl Stage {
    /// As `docs/life-cycle.md` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialized => "initialized",
            Self::Registered => "registered",
            Self::Unregistering => "unregistering",
        }
    }
}

/// Where a device is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of its loop.
    pub lane: usize,
    pub id: EndpointId,
    pub socket: PathBuf,
}

/// Who uses a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pid: Option<u32>,
    comm: Option<String>,
}

impl Holder {
    pub fn new(user: User) -> Self {
        Self { pid: user.pid, comm: user.pid.and_then(comm).as_deref().map(printable) }
    }

    /// `PID COMM`, as far as that can be seen from here.
    pub fn text(&self) -> String {
        let pid = self.pid.map_or("?".into(), |pid| pid.to_string());
        format!("{pid} {}", self.comm.as_deref().unwrap_or("?"))
    }

    pub fn json(&self) -> Value {
        json!({ "pid": self.pid, "comm": self.comm })
    }
}

/// Who uses a device, and whether that is known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Use {
    #[default]
    None,
    /// Somebody of whom nothing is known yet.
    Begun,
    By(Option<Holder>),
}

impl Use {
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::By(holder) => holder.as_ref(),
            Self::None | Self::Begun => None,
        }
    }
}

/// What the run directory says of a device's use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub is_open: bool,
    pub client: Option<String>,
}

impl Shown {
    pub fn of(user: &Use) -> Self {
        Self { is_open: *user != Use::None, client: user.holder().map(Holder::text) }
    }
}

pub struct Instance {
    pub uuid: Uuid,
    pub definition: Definition,
    pub stage: Stage,
    /// `None` until its driver has made it.
    pub node: Option<String>,
    /// `None` until it is registered.
    pub place: Option<Place>,
    pub user: Use,
    pub shown: Shown,
    /// It has been hidden and has a user.
    pub waited_for: bool,
    /// It is being taken off its loop.
    pub off: bool,
    pub next_round: Option<Instant>,
    /// When its user is to be sent away.
    pub force_at: Option<Instant>,
    /// Who waits for its release.
    pub waiters: Vec<Waiter<()>>,
}

impl Instance {
    pub fn new(uuid: Uuid, definition: Definition) -> Self {
        Self {
            uuid,
            definition,
            stage: Stage::Initialized,
            node: None,
            place: None,
            user: Use::None,
            shown: Shown::default(),
            waited_for: false,
            off: false,
            next_round: None,
            force_at: None,
            waiters: Vec::new(),
        }
    }

    pub fn node(&self) -> &str {
        self.node.as_deref().unwrap_or("-")
    }

    pub fn is_at(&self, lane: usize, id: EndpointId) -> bool {
        self.place.as_ref().is_some_and(|place| place.lane == lane && place.id == id)
    }

    /// For the log.
    pub fn label(&self) -> String {
        format!("{} ({})", self.node(), self.definition.kind)
    }

    /// What an event says of it.
    pub fn members(&self) -> Map<String, Value> {
        let pairs: [(&str, Value); 3] = [
            ("uuid", self.uuid.to_string().into()),
            ("node", self.node.clone().into()),
            ("type", self.definition.kind.into()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// When something is to be done for it.
    pub fn due(&self) -> Option<Instant> {
        let force_at = self.force_at.filter(|_| self.waited_for);
        [self.next_round, force_at].into_iter().flatten().min()
    }

    /// In the form of `mdevctl list --dumpjson`, and with what there is more.
    pub fn json(&self) -> Value {
        let mut object = self.definition.json();
        let more = json!({
            "node": self.node,
            "socket": self.place.as_ref().map(|place| place.socket.to_string_lossy()),
            "state": self.stage.name(),
        });
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object
    }
}

/// What hiding a device has come to.
pub struct Hidden {
    pub unregister: Option<Unregister>,
    pub user: Option<User>,
}
