#![allow(dead_code, reason = "each test file uses a part of it")]
//! A device that writes down what it hears, and can be kept busy.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vfio_device::{Context, Errno, VfioDevice};

/// What the device has heard, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    pub fn add(&self, word: &'static str) {
        self.0.lock().unwrap().push(word);
    }

    pub fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, word: &str) -> usize {
        self.all().iter().filter(|it| **it == word).count()
    }

    /// Waits until the device has heard exactly this.
    #[track_caller]
    pub fn becomes(&self, words: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.all() != words {
            assert!(Instant::now() < deadline, "{:?} is not {words:?}", self.all());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A store to its registers takes until `busy` says so, at most 10 s.
pub struct Heard {
    pub log: Log,
    pub busy: Option<Receiver<()>>,
}

impl VfioDevice for Heard {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}

    /// A store of any byte to offset 0x10 puts the device's own bytes into its configuration space.
    fn region_write(&mut self, _: u32, offset: u64, data: &[u8], cx: &mut Context) {
        self.log.add("write");
        if offset == 0x10 {
            cx.config.set(0xc0, data);
        }
        if let Some(busy) = &self.busy {
            let _ = busy.recv_timeout(Duration::from_secs(10));
            self.log.add("written");
        }
    }

    fn reset(&mut self, _: &mut Context) {
        self.log.add("reset");
    }

    fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
        self.log.add("open");
        Ok(())
    }

    fn close(&mut self, _: &mut Context) {
        self.log.add("close");
    }
}
