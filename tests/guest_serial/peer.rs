//! Somebody at the host's end of a port.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

/// For what takes moments, on a machine that is busy; a boot too.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often it looks whether it is to leave.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A client that writes down all that comes.
pub struct Peer {
    record: Arc<Mutex<Vec<u8>>>,
    has_ended: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Peer {
    pub fn unix(path: &Path) -> Self {
        Self::new(UnixStream::connect(path).unwrap().into())
    }

    pub fn tcp(address: &str) -> Self {
        Self::new(TcpStream::connect(address).unwrap().into())
    }

    pub fn pty(path: &Path) -> Self {
        Self::new(open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap())
    }

    fn new(stream: OwnedFd) -> Self {
        let mut stream = File::from(stream);
        let (record, has_ended) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicBool>::default());
        let stop = Arc::<AtomicBool>::default();
        let writer = thread::spawn({
            let (record, has_ended, stop) = (record.clone(), has_ended.clone(), stop.clone());
            move || {
                let mut buffer = [0; 4096];
                while !stop.load(Ordering::Acquire) {
                    let mut watched = [PollFd::new(&stream, PollFlags::IN)];
                    if poll(&mut watched, Some(&TICK)).unwrap() == 0 {
                        continue;
                    }
                    match stream.read(&mut buffer) {
                        Ok(count @ 1..) => record.lock().unwrap().extend(&buffer[..count]),
                        _ => {
                            has_ended.store(true, Ordering::Release);
                            return;
                        }
                    }
                }
            }
        });
        Self { record, has_ended, stop, writer: Some(writer) }
    }

    /// All that has come, as text.
    pub fn record(&self) -> String {
        String::from_utf8_lossy(&self.record.lock().unwrap()).into_owned()
    }

    /// Waits until `text` has come behind `place`; the place behind it.
    #[track_caller]
    pub fn wait_for(&self, text: &str, place: usize) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let record = self.record();
            if let Some(at) = record[place..].find(text) {
                return place + at + text.len();
            }
            assert!(!self.has_ended(), "the connection has ended without {text:?}:\n{record}");
            assert!(Instant::now() < deadline, "{text:?} does not come:\n{record}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the other side has closed the connection.
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Bytes that have come.
    pub fn length(&self) -> u64 {
        self.record.lock().unwrap().len() as u64
    }
}

impl Drop for Peer {
    /// The connection is closed when this returns.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
