use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use vfio_device::{
    BarKind, Context, Description, Init, Made, MdevDriver, MdevType, Parent, Region, Vfio,
    VfioDevice,
};

use super::*;
use crate::parents::{Parents, Pools};

const UUID: Uuid = Uuid::from_u128(1);

/// A manager that runs, and its run directory.
struct Running {
    handle: Handle,
    devices: Arc<Devices>,
    thread: Option<JoinHandle<bool>>,
    directory: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tree = Tree::open(directory.path(), None).unwrap();
        let (sender, messages) = channels();
        let parents = Arc::new(Parents::with(Pools::default()));
        let handle = Handle::new(sender, parents, Allowed::default());
        let devices = Arc::new(Devices::managed(handle.clone()));
        let of_manager = (Arc::clone(&devices), handle.clone());
        let run = move || {
            let (devices, handle) = of_manager;
            let serving =
                Serving { loops: 1, poll: Duration::ZERO, access: Access::new(None, None) };
            let mut manager =
                Manager::new(tree, serving, Definitions::default(), devices, handle).unwrap();
            manager.run(&messages)
        };
        Self { handle, devices, thread: Some(thread::spawn(run)), directory }
    }

    /// Has the manager do something, and waits for that.
    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Manager) -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        self.handle.tell(move |manager| drop(sender.send(what(manager))));
        receiver.recv().unwrap()
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

fn serial() -> Definition {
    Definition::parse("mtty-1").unwrap()
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
    let (reply, answer) = std::sync::mpsc::sync_channel(1);
    let created = Created { device, ports: Vec::new() };
    let waiter = Waiter::new(reply, None);
    running.handle.tell(move |manager| manager.place(UUID, created, false, waiter));
    let socket = answer.recv().unwrap().unwrap();
    assert_eq!(parent.available_instances(&KIND), 0);
    let known = running.devices.named(Some("vfio0")).unwrap();
    let listening = running.devices.events.listen().unwrap();
    let reset = running.devices.tell(&known, |event_loop, id| {
        event_loop.reset(id);
        event_loop.get(id).map(|_| ())
    });
    assert_eq!(reset.unwrap_err().errno, Errno::NODEV);
    let (_client, server) = UnixStream::pair().unwrap();
    for event in ["faulted", "released"] {
        let heard = format!("{:?}", listening.next(&server));
        assert!(heard.contains(event), "{heard}");
    }
    assert_eq!(parent.available_instances(&KIND), 1);
    assert!(!running.exists() && !socket.exists());
    assert_eq!(running.remove().unwrap_err().errno, Errno::NODEV);
    running.handle.create(UUID, serial(), false).unwrap();
}
