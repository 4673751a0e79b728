//! A server for the tests of this crate: a device on a loop in a thread of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use vfio_device::{Context, Description, Made, Vfio, VfioDevice};
use vfio_user_server::{Endpoint, EventLoop, Listener, LoopHandle};

/// A running server; dropping it stops it.
pub struct Server {
    directory: tempfile::TempDir,
    handle: LoopHandle,
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
            sender.send(event_loop.handle()).unwrap();
            event_loop.run(|_, _| ()).unwrap();
            event_loop.remove(id).unwrap().shut_down();
        });
        let handle = receiver.recv().unwrap();
        Self { directory, handle, thread: Some(thread) }
    }

    /// Serves a description whose registers are a [`Ram`].
    pub fn of(description: impl FnOnce() -> Description + Send + 'static) -> Self {
        Self::start(move || (description(), Box::new(Ram::default())))
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("device.sock")
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
