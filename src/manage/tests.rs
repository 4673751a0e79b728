use std::fs;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use vfio_device::{
    BarKind, Context, Description, Device, Init, Made, MdevDriver, MdevType, Parent, Region, Vfio,
    VfioDevice,
};

use super::*;
use crate::control::{Heard, Listening};
use crate::parents::{Parents, Pools};

mod changing;
mod clients;
mod failures;

const UUID: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
const THIRD: Uuid = Uuid::from_u128(3);

/// A manager that runs, and its run directory.
struct Running {
    handle: Handle,
    devices: Arc<Devices>,
    thread: Option<JoinHandle<bool>>,
    directory: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        Self::start_with(1, Definitions::default())
    }

    fn start_with(loops: usize, definitions: Definitions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(directory.path(), None).unwrap();
        let (sender, messages) = channels();
        let parents = Arc::new(Parents::with(Pools::default()));
        let handle = Handle::new(sender, parents, Allowed::default());
        let devices = Arc::new(Devices::managed(handle.clone()));
        let of_manager = (Arc::clone(&devices), handle.clone());
        let run = move || {
            let (devices, handle) = of_manager;
            let serving = Serving { loops, poll: Duration::ZERO, access: Access::new(None, None) };
            let mut manager = Manager::new(tree, serving, definitions, devices, handle).unwrap();
            manager.run(&messages)
        };
        let running = Self { handle, devices, thread: Some(thread::spawn(run)), directory };
        // From here on all is there.
        running.ask(|_| ());
        running
    }

    /// Has the manager do something, and waits for that.
    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Manager) -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        self.handle.tell(move |manager| drop(sender.send(what(manager))));
        receiver.recv().unwrap()
    }

    /// Serves a device of the test's own.
    fn place(&self, device: Device) -> Result<PathBuf, Failure> {
        let created = Created { device, ports: Vec::new() };
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let waiter = Waiter::new(reply, None);
        self.handle.tell(move |manager| manager.place(UUID, created, false, waiter));
        answer.recv().unwrap()
    }

    fn create(&self, uuid: Uuid) -> Result<PathBuf, Failure> {
        self.handle.create(uuid, serial(), true)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join(name)).ok()
    }

    /// `available_instances` of mtty-1.
    fn available(&self) -> String {
        self.read("mdev_supported_types/mtty-1/available_instances").unwrap()
    }

    fn remove(&self) -> Result<(), Failure> {
        let (client, _other) = UnixStream::pair().unwrap();
        self.handle.remove(UUID, None, client)
    }

    fn exists(&self) -> bool {
        self.directory.path().join("devices").join(UUID.to_string()).exists()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.end();
        let ended_well = self.thread.take().unwrap().join();
        assert!(thread::panicking() || ended_well.unwrap());
    }
}

/// Events that are there when everything that was to be done is done.
fn told(listening: &Listening) -> Vec<Value> {
    let (client, server) = UnixStream::pair().unwrap();
    // It hears what waits first.
    drop(client);
    let mut lines = Vec::new();
    while let Heard::Events(text) = listening.next(&server) {
        lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    lines
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|it| it["event"].as_str().unwrap()).collect()
}

#[track_caller]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn serial() -> Definition {
    Definition::parse("mtty-1").unwrap()
}

#[test]
fn a_device_that_is_being_made_is_not_counted_yet() {
    let running = Running::start();
    let count = || running.ask(|manager| manager.count());
    running.ask(|manager| manager.begin(UUID, serial())).unwrap();
    assert_eq!(count(), "0 devices, 0 in use");
    running.create(OTHER).unwrap();
    assert_eq!(count(), "1 device, 0 in use");
    running.ask(|manager| manager.abandon(UUID));
    assert_eq!(count(), "1 device, 0 in use");
}

#[test]
fn a_device_that_is_being_made_can_be_neither_removed_nor_made_again() {
    let running = Running::start();
    running.ask(|manager| manager.begin(UUID, serial())).unwrap();
    assert!(running.exists());
    assert_eq!(running.remove().unwrap_err().errno, Errno::AGAIN);
    assert_eq!(running.handle.create(UUID, serial(), true).unwrap_err().errno, Errno::EXIST);
    running.ask(|manager| manager.abandon(UUID));
    assert!(!running.exists());
    assert_eq!(running.remove().unwrap_err().errno, Errno::NODEV);
    running.handle.create(UUID, serial(), true).unwrap();
    running.remove().unwrap();
}

/// Panics at any access.
struct Broken;

impl VfioDevice for Broken {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {
        panic!("a device's own fault")
    }
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {
        panic!("a device's own fault")
    }
    fn reset(&mut self, _: &mut Context) {
        panic!("a device's own fault")
    }
}

const KIND: MdevType = MdevType { name: "mtty-1", pretty_name: "broken", description: None };

impl MdevDriver for Broken {
    fn types(&self) -> &[MdevType] {
        &[KIND]
    }
    fn max_instances(&self) -> Option<u32> {
        Some(1)
    }
    fn init(&self, _: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let what = Description::pci(1, 1).bar(0, BarKind::Memory32, Region::trapped(16));
        Ok((what, Box::new(Self)))
    }
}

#[test]
fn a_device_that_panics_is_released_and_its_uuid_can_be_used_again() {
    let running = Running::start();
    let parent = Parent::register(&Vfio::new(), Broken);
    let device = parent.create(&KIND, UUID).unwrap();
    running.ask(|manager| manager.begin(UUID, serial())).unwrap();
    let socket = running.place(device).unwrap();
    assert_eq!(parent.available_instances(&KIND), 0);
    let known = running.devices.named(Some("vfio0"), "--device").unwrap();
    let listening = running.devices.events.listen().unwrap();
    let reset = running.devices.tell(&known, |event_loop, id| {
        event_loop.reset(id);
        event_loop.get(id).map(|_| ())
    });
    assert_eq!(reset.unwrap_err().errno, Errno::NODEV);
    let (_client, server) = UnixStream::pair().unwrap();
    let mut heard = String::new();
    while !heard.contains("released") {
        heard += &format!("{:?}", listening.next(&server));
    }
    let order = ["faulted", "released"].map(|event| heard.find(event));
    assert!(order.is_sorted() && order.iter().all(Option::is_some), "{heard}");
    assert_eq!(parent.available_instances(&KIND), 1);
    assert!(!running.exists() && !socket.exists());
    assert_eq!(running.remove().unwrap_err().errno, Errno::NODEV);
    running.handle.create(UUID, serial(), false).unwrap();
}

#[test]
fn the_end_is_heard_before_what_waits() {
    let running = Running::start();
    let (begun, has_begun) = channel();
    let (go_on, gone_on) = channel::<()>();
    let (done, was_done) = channel();
    running.handle.tell(move |_| {
        begun.send(()).unwrap();
        let _ = gone_on.recv();
    });
    has_begun.recv().unwrap();
    running.handle.tell(move |_| done.send(()).unwrap());
    running.handle.end();
    drop(go_on);
    assert!(was_done.recv().is_err(), "it did something else before");
}

#[test]
fn devices_are_spread_over_loops_and_make_room_there_when_they_go() {
    let running = Running::start_with(2, Definitions::default());
    running.create(UUID).unwrap();
    running.create(OTHER).unwrap();
    let lane = |uuid| {
        running.ask(move |manager| manager.instances[&uuid].place.as_ref().map(|it| it.lane))
    };
    assert_eq!((lane(UUID), lane(OTHER)), (Some(0), Some(1)));
    running.remove().unwrap();
    running.create(UUID).unwrap();
    // Not the one that has one already.
    assert_eq!((lane(UUID), lane(OTHER)), (Some(0), Some(1)));
    running.remove().unwrap();
    // One that cannot be served makes room, too.
    running.ask(|manager| {
        manager.begin(UUID, serial()).unwrap();
        let (reply, _answer) = std::sync::mpsc::sync_channel(1);
        assert_eq!(manager.lanes.take(), 0);
        let failed = Err(io::ErrorKind::OutOfMemory.into());
        manager.placed(UUID, 0, failed, false, Waiter::new(reply, None));
    });
    running.create(UUID).unwrap();
    running.create(THIRD).unwrap();
    assert_eq!((lane(UUID), lane(OTHER), lane(THIRD)), (Some(0), Some(1), Some(0)));
}

#[test]
fn what_many_messages_have_changed_is_saved_once_and_before_it_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("devices.json");
    let running = Running::start_with(1, Definitions::read(Some(&path), true).unwrap());
    let (begun, has_begun) = channel();
    let (go_on, gone_on) = channel::<()>();
    let (found, is_found) = channel();
    running.handle.tell(move |_| {
        begun.send(()).unwrap();
        let _ = gone_on.recv();
    });
    has_begun.recv().unwrap();
    running.handle.tell(|manager| manager.definitions.add(UUID, &serial()));
    let looked_at = path.clone();
    running.handle.tell(move |_| found.send(looked_at.exists()).unwrap());
    running.handle.tell(|manager| manager.definitions.add(OTHER, &serial()));
    drop(go_on);
    assert!(!is_found.recv().unwrap(), "it is saved in between");
    soon("it is saved", || path.exists());
    let saved = fs::read_to_string(&path).unwrap();
    assert!(saved.contains(&UUID.to_string()) && saved.contains(&OTHER.to_string()), "{saved}");
    fs::remove_file(&path).unwrap();
    running.create(THIRD).unwrap();
    assert!(path.exists(), "it is not saved when it is answered");
}
