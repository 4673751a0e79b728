//! A manager of any number of devices, which come and go while others run.
//!
//! One thread owns all state and has no lock: it does what its messages say, in their order, and what is due. The loops
//! tell it what happens, and it tells them what to do; it waits for none of them. Whoever wants something of it, a
//! control connection say, has a [`Handle`], and may wait.

mod access;
mod allowed;
mod changing;
mod clients;
mod definitions;
mod handle;
mod instance;
mod lanes;
mod leaving;
mod news;
mod own;
mod saving;
mod status;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::iter::once;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use uuid::Uuid;
use vfio_device::{DEVICE_API, Errno};
use vfio_user_server::{Endpoint, Listener};

pub use access::Access;
pub use allowed::Allowed;
pub use definitions::{Definition, Definitions, dump, uuid};
pub use handle::Handle;
use instance::{Instance, Place, Stage, Waiter};
use lanes::Lanes;
use news::News;
pub use own::Own;
pub use tree::Tree;
use tree::TypeText;

use crate::control::{Devices, Failure, Known};
use crate::errors::plain;
use crate::notify::Notify;
use crate::parents::{Created, parent_of};

/// Messages that are done before what they have changed is saved, at most.
const AT_ONCE: usize = 64;

/// Something to do for the manager.
pub type Message = Box<dyn FnOnce(&mut Manager) + Send>;

/// For how long what cannot be written waits.
const SETTLE: Duration = Duration::from_secs(1);

/// What messages go through, until there is a manager.
pub fn channels() -> (Sender<Message>, Receiver<Message>) {
    channel()
}

/// How devices are served.
pub struct Serving {
    /// On how many threads.
    pub loops: usize,
    /// For how long each polls.
    pub poll: Duration,
    pub access: Access,
}

/// All devices, and where they are.
pub struct Manager {
    // Before the tree, which goes when nothing is served any more.
    lanes: Lanes,
    handle: Handle,
    devices: Arc<Devices>,
    instances: BTreeMap<Uuid, Instance>,
    definitions: Definitions,
    /// `available_instances` of each type, as it was said last.
    available: BTreeMap<&'static str, u32>,
    access: Access,
    /// Who is told how many there are, from when clients can come.
    notify: Option<Notify>,
    /// What that was told last.
    status: String,
    tree: Tree,
    /// When what it could not write is tried again.
    settle_at: Option<Instant>,
    /// What is to be said when all that has changed is saved.
    answers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Manager {
    /// # Errors
    /// When the loops cannot be started, or the tree cannot be written.
    pub fn new(
        mut tree: Tree,
        Serving { loops, poll, access }: Serving,
        definitions: Definitions,
        devices: Arc<Devices>,
        handle: Handle,
    ) -> io::Result<Self> {
        let mut available = BTreeMap::new();
        for (_, parent) in handle.parents().iter() {
            for kind in parent.types() {
                let free = parent.available_instances(kind);
                let (pretty_name, description) = (kind.pretty_name, kind.description);
                let (name, device_api) = (kind.name, DEVICE_API);
                tree.add_type(TypeText { name, pretty_name, description, device_api }, free)?;
                available.insert(name, free);
            }
        }
        if access.is_for_others() {
            tree.let_others_pass()?;
        }
        let lanes = Lanes::start(loops, poll, &handle)?;
        Ok(Self {
            lanes,
            handle,
            devices,
            instances: BTreeMap::new(),
            definitions,
            available,
            access,
            notify: None,
            status: String::new(),
            tree,
            settle_at: None,
            answers: Vec::new(),
        })
    }

    /// Does what there is to do until it is told to end. Returns whether all went well.
    pub fn run(&mut self, messages: &Receiver<Message>) -> bool {
        while !self.handle.is_ending() {
            let due = self.instances.values().filter_map(Instance::due).chain(self.settle_at).min();
            let message = match due {
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(message) => {
                    for message in once(message).chain(messages.try_iter().take(AT_ONCE)) {
                        message(self);
                        if self.handle.is_ending() {
                            break;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.save();
            self.do_what_is_due(Instant::now());
            self.settle(Instant::now());
        }
        self.say_stopping();
        !self.handle.has_failed()
    }

    /// Saves what has changed, and says what waited for that.
    fn save(&mut self) {
        self.definitions.save();
        self.answers.drain(..).for_each(|answer| answer());
    }

    /// Answers when what has changed is saved.
    fn answer<T: Send + 'static>(&mut self, waiter: Waiter<T>, answer: T) {
        self.answers.push(Box::new(move || waiter.answer(Ok(answer))));
    }

    /// Those that are to be made when it starts.
    pub fn to_start(&self) -> Vec<(Uuid, Definition)> {
        self.definitions.all.iter().filter(|(_, it)| it.auto).cloned().collect()
    }

    /// A device of this UUID is about to be made.
    fn begin(&mut self, uuid: Uuid, definition: Definition) -> Result<(), Failure> {
        if let Some(other) = self.instances.get(&uuid) {
            let why = match other.stage {
                Stage::Unregistering => format!("{uuid} is being removed; wait for its release"),
                _ => format!("{uuid} is there already, as {}; take another UUID", other.label()),
            };
            return Err(Failure::new(Errno::EXIST, why));
        }
        let state = Stage::Initialized.name();
        self.tree.add(uuid, definition.kind, state).map_err(|error| not_written(&error))?;
        self.instances.insert(uuid, Instance::new(uuid, definition));
        Ok(())
    }

    /// It could not be made, or cannot be served.
    fn abandon(&mut self, uuid: Uuid) {
        note(self.tree.remove(uuid));
        self.say_available();
        // Who has heard of it hears of its end.
        if self.instances.get(&uuid).is_some_and(|it| it.node.is_some()) {
            self.tell(uuid, "released", Map::new());
        }
        self.instances.remove(&uuid);
    }

    /// It is made, and is to be served.
    fn place(&mut self, uuid: Uuid, created: Created, is_new: bool, waiter: Waiter<PathBuf>) {
        let Created { mut device, ports } = created;
        let node = device.object().name().to_owned();
        let socket = self.tree.socket(&node);
        if let Some(instance) = self.instances.get_mut(&uuid) {
            instance.node = Some(node.clone());
        }
        self.tell(uuid, "created", Map::new());
        let registered = device.register().map_err(|errno| {
            Failure::new(errno, format!("cannot register {node}: {}", plain(&errno.into())))
        });
        let listener = registered.and_then(|()| {
            Listener::bind(&socket).map_err(|error| {
                let errno = match &error {
                    vfio_user_server::ListenError::Io { error, .. } => Errno::from_io_error(error),
                    _ => None,
                };
                Failure::new(errno.unwrap_or(Errno::INVAL), error.to_string())
            })
        });
        let listener = match listener {
            Ok(listener) => {
                if let Err(error) = self.access.grant(&socket) {
                    log::warn!("{node}: its socket stays this user's alone: {}", plain(&error));
                }
                listener
            }
            Err(failure) => {
                drop(device);
                self.abandon(uuid);
                return waiter.answer(Err(failure));
            }
        };
        let mut endpoint = Endpoint::new(device, listener);
        if let Some(uids) = self.access.uids.clone() {
            endpoint = endpoint.with_allowed_uids(uids);
        }
        let (lane, handle) = (self.lanes.take(), self.handle.clone());
        let definition = self.instances.get(&uuid).map(|instance| instance.definition.clone());
        let news = self.lanes.news(lane);
        self.lanes.post(lane, move |event_loop| {
            let added = event_loop.add(endpoint);
            let known = added.and_then(|id| {
                let known = Known::new(event_loop, id, Some(socket), ports);
                let known = known.map(|known| known.made_of(definition));
                known.ok_or(io::ErrorKind::NotFound.into())
            });
            // What its clients do is heard after that it is there.
            news.iter().for_each(News::close);
            handle.tell(move |manager| manager.placed(uuid, lane, known, is_new, waiter));
        });
    }

    /// It is served, or cannot be.
    fn placed(
        &mut self,
        uuid: Uuid,
        lane: usize,
        known: io::Result<Known>,
        is_new: bool,
        waiter: Waiter<PathBuf>,
    ) {
        let Some(instance) = self.instances.get_mut(&uuid) else { return };
        let known = match known {
            Ok(known) => known,
            Err(error) => {
                self.lanes.give_back(lane);
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::MFILE);
                let why = format!("it cannot be served: {}", plain(&error));
                self.abandon(uuid);
                return waiter.answer(Err(Failure::new(errno, why)));
            }
        };
        let (id, node) = (known.id, known.node.clone());
        let socket = self.tree.socket(&node);
        instance.place = Some(Place { lane, id, socket: socket.clone() });
        instance.stage = Stage::Registered;
        log::info!("{}: made, as {uuid}", instance.label());
        let definition = is_new.then(|| instance.definition.clone());
        let published = self.tree.publish(uuid, &node, Stage::Registered.name());
        self.devices.add(known);
        self.say_available();
        self.say_status();
        self.tell(uuid, "registered", Map::new());
        if let Err(error) = published {
            waiter.answer(Err(not_written(&error)));
            return self.begin_removal(uuid, Some(Duration::ZERO));
        }
        if let Some(definition) = definition {
            self.definitions.add(uuid, &definition);
        }
        self.answer(waiter, socket);
    }

    fn list(&self) -> Value {
        let of_parent = |name: &str| {
            let devices = self.instances.values();
            let devices: Vec<_> =
                devices.filter(|it| parent_of(it.definition.kind) == name).collect();
            devices.into_iter().map(|it| (it.uuid, it.definition.kind, it.json()))
        };
        let parents = self.handle.parents().iter().map(|(name, _)| name);
        dump(parents.flat_map(of_parent))
    }

    /// Tells of a device.
    fn tell(&self, uuid: Uuid, event: &'static str, more: Map<String, Value>) {
        if let Some(instance) = self.instances.get(&uuid) {
            let mut members = instance.members();
            members.extend(more);
            self.devices.events.tell(event, members);
        }
    }

    /// Writes what could not be written, a second later and until it is.
    fn settle(&mut self, now: Instant) {
        if self.settle_at.is_some_and(|at| at <= now) {
            self.settle_at = None;
            if self.tree.settle() {
                log::info!("the run directory is up to date again");
            }
        }
        if self.tree.owes() {
            self.settle_at.get_or_insert(now + SETTLE);
        }
    }

    /// Writes `available_instances` where it has changed.
    fn say_available(&mut self) {
        for (_, parent) in self.handle.parents().iter() {
            for kind in parent.types() {
                let free = parent.available_instances(kind);
                if self.available.insert(kind.name, free) != Some(free) {
                    note(self.tree.set_available(kind.name, free));
                }
            }
        }
    }
}

/// A device goes on without a file that says how it does.
fn note(written: io::Result<()>) {
    if let Err(error) = written {
        log::warn!("the run directory is not up to date: {}", why(&error));
    }
}

fn not_written(error: &io::Error) -> Failure {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::INVAL);
    Failure::new(errno, format!("the run directory cannot be written: {}", why(error)))
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        // Somebody has tidied up.
        io::ErrorKind::NotFound => {
            "it is gone, or part of it; end the manager and start it anew".into()
        }
        _ => plain(error),
    }
}

/// What is left goes at once: whoever has ended the manager does not wait for guests.
impl Drop for Manager {
    fn drop(&mut self) {
        for instance in self.instances.values() {
            if let Some(Place { lane, id, .. }) = instance.place {
                self.lanes.post(lane, move |event_loop| {
                    if let Some(endpoint) = event_loop.remove(id) {
                        endpoint.shut_down();
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
