//! The devices that a control socket is about, and how their loop is asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use vfio_device::{Errno, State, Uuid};
use vfio_user_server::{Endpoint, EndpointId, Event, EventLoop, LoopHandle};

use super::events::Events;
use super::reply::Failure;
use crate::manage::{Allowed, Definition, Handle};
use crate::order::order;
use crate::serial::Port;

/// How long the loop may take to answer. It answers between two accesses of a guest.
const PATIENCE: Duration = Duration::from_secs(5);

/// A device on a loop, by what does not change. A reference to it would keep it from being released.
#[derive(Debug)]
pub struct Known {
    pub event_loop: LoopHandle,
    pub id: EndpointId,
    pub node: String,
    pub kind: Option<&'static str>,
    pub uuid: Option<Uuid>,
    pub socket: Option<PathBuf>,
    /// How to reach its serial ports, if it has any.
    pub ports: Vec<Port>,
    /// What it is made of, as it was changed last.
    definition: Mutex<Option<Definition>>,
    /// Held by who is about to change it.
    changing: Mutex<()>,
}

impl Known {
    /// The device that the loop has by this number, served at `socket`, if that has a path.
    pub fn new(
        event_loop: &EventLoop,
        id: EndpointId,
        socket: Option<PathBuf>,
        ports: Vec<Port>,
    ) -> Option<Self> {
        let object = event_loop.get(id)?.device().object();
        let mdev = object.mdev();
        let (kind, uuid) = (mdev.map(|mdev| mdev.kind().name), mdev.map(|mdev| mdev.uuid()));
        let (event_loop, node) = (event_loop.handle(), object.name().into());
        let (definition, changing) = (Mutex::default(), Mutex::default());
        Some(Self { event_loop, id, node, kind, uuid, socket, ports, definition, changing })
    }

    /// The same, made of this.
    pub fn made_of(self, definition: Option<Definition>) -> Self {
        Self { definition: Mutex::new(definition), ..self }
    }

    /// What it is made of.
    pub fn definition(&self) -> Option<Definition> {
        lock(&self.definition).clone()
    }

    /// For who is to change it: one after the other, and each for as long as it takes to open things.
    pub fn change(&self) -> Changing<'_> {
        Changing { known: self, _alone: lock(&self.changing) }
    }

    fn has_name(&self, name: &str) -> bool {
        self.node == name || self.uuid.is_some() && Uuid::try_parse(name).ok() == self.uuid
    }
}

/// A device that is being changed, and by nobody else.
pub struct Changing<'a> {
    known: &'a Known,
    _alone: MutexGuard<'a, ()>,
}

impl Changing<'_> {
    /// It is made of this from now on.
    pub fn done(self, definition: Definition) {
        *lock(&self.known.definition) = Some(definition);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All devices of a control socket, in the order in which they came.
pub struct Devices {
    table: RwLock<Vec<Arc<Known>>>,
    /// What happens to them.
    pub events: Events,
    /// Who makes and removes them; `None` where they are there from beginning to end.
    manager: Option<Handle>,
    /// Without one: what they can be given, if that is not all.
    allowed: Option<Allowed>,
    patience: Duration,
}

impl Devices {
    pub fn new(known: impl IntoIterator<Item = Known>) -> Self {
        let table = RwLock::new(known.into_iter().map(Arc::new).collect());
        Self { table, events: Events::default(), manager: None, allowed: None, patience: PATIENCE }
    }

    /// The same, which can be given this and no more.
    pub fn within(self, allowed: Option<Allowed>) -> Self {
        Self { allowed, ..self }
    }

    /// What devices can be given that are there for good.
    pub fn allowed(&self) -> Option<&Allowed> {
        self.allowed.as_ref()
    }

    /// Those of a manager: none yet.
    pub fn managed(manager: Handle) -> Self {
        Self { manager: Some(manager), ..Self::new(None) }
    }

    /// Who makes and removes devices.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where nobody does.
    pub fn manager(&self) -> Result<&Handle, Failure> {
        let why = "the devices of this server are there for its life; for others to come and go use \
                   `mdev-user manage`";
        self.manager.as_ref().ok_or_else(|| Failure::new(Errno::OPNOTSUPP, why))
    }

    /// Tells of what a client does to a device.
    pub fn tell_of(&self, id: EndpointId, event: Event) {
        let all = self.all();
        let Some(known) = all.iter().find(|known| known.id == id) else { return };
        let members = [
            ("uuid", known.uuid.map(|uuid| uuid.to_string())),
            ("node", Some(known.node.clone())),
            ("type", known.kind.map(str::to_owned)),
        ];
        let members = members.map(|(name, value)| (name.to_owned(), value.into()));
        let name = match event {
            Event::ClientCame => "opened",
            Event::ClientLeft => "closed",
            Event::Faulted => "faulted",
            _ => return,
        };
        self.events.tell(name, members.into_iter().collect());
    }

    /// Takes one in.
    pub fn add(&self, known: Known) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(known));
    }

    /// Forgets one. Who has looked it up before finds it gone when it asks.
    pub fn forget(&self, uuid: Uuid) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|known| known.uuid != Some(uuid));
    }

    pub fn all(&self) -> Vec<Arc<Known>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one that a request is about. Where there is one alone it need not be named. `way` is how a command line names
    /// it.
    pub fn named(&self, name: Option<&str>, way: &str) -> Result<Arc<Known>, Failure> {
        let all = self.all();
        match (name, all.as_slice()) {
            (None, [only]) => Ok(Arc::clone(only)),
            (None, []) => Err(Failure::new(Errno::NODEV, "there is no device")),
            (None, all) => {
                let names = names(all);
                Err(Failure::invalid(format!("name a 'device' ({way}), one of {names}")))
            }
            (Some(name), all) => {
                let found = all.iter().find(|known| known.has_name(name));
                found.cloned().ok_or_else(|| match all {
                    [] => {
                        let why = format!("there is no device '{name}', nor any other");
                        Failure::new(Errno::NODEV, why)
                    }
                    all => {
                        let why =
                            format!("there is no device '{name}', the devices are {}", names(all));
                        Failure::new(Errno::NODEV, why)
                    }
                })
            }
        }
    }

    /// Has `what` look at a device, between two accesses of a guest: it is to copy, and nothing else.
    pub fn ask<T: Send + 'static>(
        &self,
        device: &Known,
        what: impl FnOnce(&Endpoint) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.tell(device, move |event_loop, id| event_loop.get(id).map(what))
    }

    /// Has `what` change a device on its loop, as [`tell`](Self::tell).
    ///
    /// # Errors
    /// `EAGAIN` for one that is being removed as well: nobody comes to see what it has become.
    pub fn alter<T: Send + 'static>(
        &self,
        device: &Known,
        what: impl FnOnce(&mut EventLoop, EndpointId) -> Option<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let altered = self.tell(device, move |event_loop, id| {
            let state = event_loop.get(id)?.device().object().state();
            let goes = state == State::Unregistering;
            if goes { Some(None) } else { what(event_loop, id).map(Some) }
        })?;
        altered.ok_or_else(|| {
            let why = format!("{} is being removed; wait for its release", device.node);
            Failure::new(Errno::AGAIN, why)
        })
    }

    /// Has `what` do something to a device on its loop, or, when it has not come to that in time, nothing at all. `None` says
    /// that there is no such device any more.
    pub fn tell<T: Send + 'static>(
        &self,
        device: &Known,
        what: impl FnOnce(&mut EventLoop, EndpointId) -> Option<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let id = device.id;
        // What a device is asked here can panic, and its neighbours have no part in that.
        let (order, awaited) = order(move |event_loop: &mut EventLoop| {
            catch_unwind(AssertUnwindSafe(|| what(event_loop, id))).map_err(|_| ())
        });
        device.event_loop.post(order);
        let (node, patience) = (&device.node, self.patience);
        match awaited.within(patience) {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => {
                Err(Failure::new(Errno::NODEV, format!("{node} is not served any more")))
            }
            Ok(Err(())) => Err(Failure::new(Errno::NODEV, format!("{node} failed at this"))),
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("the server did not come to it within {patience:?}");
                Err(Failure::new(Errno::AGAIN, why))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::new(Errno::AGAIN, "the server is ending"))
            }
        }
    }
}

/// Of so many at most: of a thousand nobody reads the names.
const NAMED: usize = 8;

fn names(all: &[Arc<Known>]) -> String {
    let mut names: Vec<_> = all.iter().take(NAMED).map(|known| known.node.as_str()).collect();
    if all.len() > NAMED {
        names.push("...");
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::thread;

    use vfio_device::{BAR0, BarKind, Context, Description, Plane, Region, Vfio, VfioDevice};

    use super::*;

    /// A device that panics when somebody wants to see its picture.
    struct Shy;

    impl VfioDevice for Shy {
        fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
        fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
        fn reset(&mut self, _: &mut Context) {}
        fn display(&self) -> Option<Plane> {
            panic!("a device's own fault")
        }
    }

    /// A loop with one such device, which has a client at the other end of the socket.
    fn shy() -> (EventLoop, Devices, UnixStream) {
        let what = Description::pci(1, 1).bar(0, BarKind::Memory32, Region::trapped(16));
        let mut device = Vfio::new().alloc(|_| Ok((what, Box::new(Shy)))).unwrap();
        device.register().unwrap();
        let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let id = event_loop.add(Endpoint::connected(device, theirs)).unwrap();
        let devices = Devices::new(Known::new(&event_loop, id, None, Vec::new()));
        (event_loop, devices, ours)
    }

    fn failure<T>(result: Result<T, Failure>) -> (Errno, String) {
        let Failure { errno, message } = result.map(|_| ()).unwrap_err();
        (errno, message)
    }

    #[test]
    fn a_loop_that_does_not_come_to_it_is_not_waited_for() {
        let (event_loop, mut devices, _client) = shy();
        devices.patience = Duration::from_millis(200);
        let result = devices.ask(&devices.named(None, "--device").unwrap(), |_| ());
        assert_eq!(
            failure(result),
            (Errno::AGAIN, "the server did not come to it within 200ms".into())
        );
        drop(event_loop);
    }

    #[test]
    fn a_loop_that_has_ended_is_said_to_end() {
        let (event_loop, devices, _client) = shy();
        drop(event_loop);
        let result = devices.ask(&devices.named(None, "--device").unwrap(), |_| ());
        assert_eq!(failure(result), (Errno::AGAIN, "the server is ending".into()));
    }

    #[test]
    fn a_device_that_panics_when_it_is_asked_harms_neither_loop_nor_asker() {
        let (sender, receiver) = channel();
        let serving = thread::spawn(move || {
            let (mut event_loop, devices, _client) = shy();
            sender.send((devices, event_loop.handle())).unwrap();
            event_loop.run(|_, _| ()).unwrap();
        });
        let (devices, event_loop) = receiver.recv().unwrap();
        let device = devices.named(Some("vfio0"), "--device").unwrap();
        let first = devices.ask(&device, |endpoint| endpoint.device().display().is_some());
        assert_eq!(failure(first), (Errno::NODEV, "vfio0 failed at this".into()));
        let size = devices.ask(&device, |it| it.device().region(BAR0).map(Region::size));
        assert_eq!(size, Ok(Some(16)));
        // It goes.
        let id = device.id;
        event_loop.post(move |event_loop| drop(event_loop.remove(id)));
        let last = devices.ask(&device, |_| ());
        assert_eq!(failure(last), (Errno::NODEV, "vfio0 is not served any more".into()));
        event_loop.stop();
        serving.join().unwrap();
    }
}
