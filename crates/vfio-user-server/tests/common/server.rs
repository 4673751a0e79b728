//! A server for the tests of this crate: a device on a loop in a thread of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use vfio_device::{
    BarKind, Context, Description, Device, DeviceRef, Made, Region, Vfio, VfioDevice,
};
use vfio_user_server::{Endpoint, EndpointId, Event, EventLoop, Fault, Listener, LoopHandle};

/// Makes one of a server's devices.
pub type Init = Box<dyn FnOnce() -> Device + Send>;

/// What makes the device that `init` describes.
pub fn made(init: impl FnOnce() -> Made + Send + 'static) -> Init {
    Box::new(|| Vfio::new().alloc(|_| Ok(init())).unwrap())
}

/// A running server; dropping it stops it.
pub struct Server {
    directory: tempfile::TempDir,
    pub handle: LoopHandle,
    /// The thread, below `/proc`.
    task: PathBuf,
    /// What became of each device, in the order in which it did.
    events: Receiver<(EndpointId, Event)>,
    /// The devices, in the order given.
    pub ids: Vec<EndpointId>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the device that `init` makes.
    pub fn start(init: impl FnOnce() -> Made + Send + 'static) -> Self {
        Self::start_all(vec![made(init)])
    }

    /// Serves several, each on a socket of its own, all on one loop.
    pub fn start_all(inits: Vec<Init>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..inits.len()).map(|number| socket(&directory, number)).collect();
        let (sender, receiver) = channel();
        // Bounded ones do not allocate on one thread and free on another, which would upset who counts.
        let (event_sender, events) = sync_channel(10_000);
        let thread = std::thread::spawn(move || {
            let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
            let ids: Vec<_> = inits
                .into_iter()
                .zip(&paths)
                .map(|(init, path)| {
                    let mut device = init();
                    device.register().unwrap();
                    let listener = Listener::bind(path).unwrap();
                    event_loop.add(Endpoint::new(device, listener)).unwrap()
                })
                .collect();
            let task = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap());
            sender.send((event_loop.handle(), task, ids.clone())).unwrap();
            event_loop.run(|id, event| _ = event_sender.try_send((id, event))).unwrap();
            ids.iter().filter_map(|id| event_loop.remove(*id)).for_each(Endpoint::shut_down);
        });
        let (handle, task, ids) = receiver.recv().unwrap();
        Self { directory, handle, task, events, ids, thread: Some(thread) }
    }

    /// Serves one more device on the same loop, with these faults; where its socket is.
    pub fn add(
        &self,
        name: &str,
        description: impl FnOnce() -> Description + Send + 'static,
        faults: &[&str],
    ) -> PathBuf {
        let faults: Vec<Fault> = faults.iter().map(|text| text.parse().unwrap()).collect();
        let path = self.directory.path().join(name);
        let listener = Listener::bind(&path).unwrap();
        self.handle.post(|event_loop| {
            let ram = Box::new(Ram::default());
            let mut device = Vfio::new().alloc(|_| Ok((description(), ram))).unwrap();
            device.register().unwrap();
            event_loop.add(Endpoint::new(device, listener).with_faults(faults)).unwrap();
        });
        path
    }

    /// Serves a description whose registers are a [`Ram`].
    pub fn of(description: impl FnOnce() -> Description + Send + 'static) -> Self {
        Self::start(move || (description(), Box::new(Ram::default())))
    }

    pub fn path(&self) -> PathBuf {
        self.path_of(0)
    }

    /// The socket of the device with this number.
    pub fn path_of(&self, number: usize) -> PathBuf {
        socket(&self.directory, number)
    }

    /// What happens next, and to which device. Waits 5 s at most.
    #[track_caller]
    pub fn event(&self) -> (usize, Event) {
        let (id, event) = self.events.recv_timeout(Duration::from_secs(5)).expect("an event");
        (self.ids.iter().position(|it| *it == id).unwrap(), event)
    }

    /// Whether, since the last time that it was asked, no device has panicked, and nothing has happened to this one.
    pub fn is_quiet(&self, number: usize) -> bool {
        self.events.try_iter().all(|(id, event)| id != self.ids[number] && event != Event::Faulted)
    }

    /// Has the loop's thread answer a question about the loop.
    pub fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut EventLoop) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = sync_channel(1);
        self.handle.post(move |event_loop| _ = sender.send(what(event_loop)));
        receiver.recv_timeout(Duration::from_secs(10)).expect("the loop does not answer")
    }

    /// The object of the device with this number, if it is still served.
    pub fn object(&self, number: usize) -> Option<DeviceRef> {
        let id = self.ids[number];
        self.ask(move |event_loop| event_loop.get(id).map(|endpoint| endpoint.device().get()))
    }

    /// Asserts that the loop sleeps while nobody wants anything of it.
    #[track_caller]
    pub fn is_asleep(&self) {
        let used = || {
            let all = std::fs::read_to_string(self.task.join("schedstat")).unwrap();
            Duration::from_nanos(all.split(' ').next().unwrap().parse().unwrap())
        };
        // What has been sent may take a moment, under a sanitizer a long one.
        let mut spent = Duration::MAX;
        for _ in 0..3 {
            let before = used();
            std::thread::sleep(Duration::from_millis(100));
            spent = used() - before;
            if spent < Duration::from_millis(10) {
                return;
            }
        }
        panic!("the loop worked for {spent:?} of 100 ms, after others like it");
    }

    /// Does `what` while the loop stands still, so that it finds all that comes of it at once.
    pub fn held_up(&self, what: impl FnOnce()) {
        let (stands, still) = channel();
        let (go_on, gone_on) = channel::<()>();
        self.handle.post(move |_| {
            stands.send(()).unwrap();
            // Ends when the other end is dropped, too.
            let _ = gone_on.recv();
        });
        still.recv_timeout(Duration::from_secs(10)).expect("the loop does not answer");
        what();
        drop(go_on);
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn socket(directory: &tempfile::TempDir, number: usize) -> PathBuf {
    let name = if number == 0 { "device.sock".into() } else { format!("device{number}.sock") };
    directory.path().join(name)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.stop();
        let result = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            result.expect("the server's thread panicked");
        }
    }
}

/// A PCI device with 4 KiB of registers in BAR 0 and INTx.
pub fn card() -> Description {
    Description::pci(1, 2).bar(0, BarKind::Memory32, Region::trapped(0x1000)).intx()
}

/// A device whose trapped bytes are plain storage, the first 64 KiB of each region. A store of n to offset 0xff0 of
/// region 0 states level n & 1 on vector n >> 8 of irq index n >> 4 & 0xf.
#[derive(Default)]
pub struct Ram {
    bytes: std::collections::BTreeMap<(u32, u64), u8>,
}

impl VfioDevice for Ram {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], _cx: &mut Context) {
        for (at, byte) in (offset..).zip(data) {
            *byte = self.bytes.get(&(region, at)).copied().unwrap_or(0);
        }
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        if (region, offset, data.len()) == (0, 0xff0, 4) {
            let word = u32::from_le_bytes(data.try_into().unwrap());
            cx.irqs.set_level(word >> 4 & 0xf, word >> 8, word & 1 == 1);
        }
        for (at, &byte) in (offset..).zip(data).filter(|(at, _)| *at < 1 << 16) {
            self.bytes.insert((region, at), byte);
        }
    }

    fn reset(&mut self, _cx: &mut Context) {
        self.bytes.clear();
    }
}
