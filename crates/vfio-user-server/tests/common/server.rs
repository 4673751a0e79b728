//! A server for the tests of this crate: a device on a loop in a thread of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use vfio_device::{BarKind, Context, Description, Made, Region, Vfio, VfioDevice};
use vfio_user_server::{Endpoint, EventLoop, Fault, Listener, LoopHandle};

/// A running server; dropping it stops it.
pub struct Server {
    directory: tempfile::TempDir,
    handle: LoopHandle,
    /// The thread, below `/proc`.
    task: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the device that `init` makes.
    pub fn start(init: impl FnOnce() -> Made + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device.sock");
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut device = Vfio::new().alloc(|_| Ok(init())).unwrap();
            device.register().unwrap();
            let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
            let listener = Listener::bind(&path).unwrap();
            let id = event_loop.add(Endpoint::new(device, listener)).unwrap();
            let task = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap());
            sender.send((event_loop.handle(), task)).unwrap();
            event_loop.run(|_, _| ()).unwrap();
            event_loop.remove(id).unwrap().shut_down();
        });
        let (handle, task) = receiver.recv().unwrap();
        Self { directory, handle, task, thread: Some(thread) }
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
        self.directory.path().join("device.sock")
    }

    /// Asserts that the loop sleeps while nobody wants anything of it.
    #[track_caller]
    pub fn is_asleep(&self) {
        let used = || {
            let all = std::fs::read_to_string(self.task.join("schedstat")).unwrap();
            Duration::from_nanos(all.split(' ').next().unwrap().parse().unwrap())
        };
        let before = used();
        std::thread::sleep(Duration::from_millis(100));
        let spent = used() - before;
        assert!(spent < Duration::from_millis(10), "the loop worked for {spent:?} of 100 ms");
    }

    /// Keeps the loop busy for a while, so that what comes meanwhile lies there all at once.
    pub fn pause(&self) {
        self.handle.post(|_| std::thread::sleep(Duration::from_millis(30)));
        std::thread::sleep(Duration::from_millis(5));
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
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
