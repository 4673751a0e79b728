//! The far end of a serial port's line: a socket on the host, to which the port's back end connects.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::report::Result;

/// What has arrived from the guest.
pub struct Arrival {
    /// Nanoseconds a byte, from the first one that was seen to the last.
    pub pace: f64,
    /// How often this end was woken for it.
    pub wakes: usize,
}

/// Waits for its port to connect, and then for what it is told to do.
pub struct FarEnd {
    path: PathBuf,
    connections: Receiver<UnixStream>,
    stream: Option<UnixStream>,
}

impl FarEnd {
    pub fn listen(path: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let (sender, connections) = channel();
        thread::spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                let _ = sender.send(stream);
            }
        });
        Ok(Self { path, connections, stream: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn stream(&mut self) -> Result<UnixStream> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connections.recv()?,
        };
        Ok(self.stream.insert(stream).try_clone()?)
    }

    /// Sends to the guest, when that asks for it by a byte, in the background.
    pub fn send(&mut self, bytes: usize) -> Result<JoinHandle<std::io::Result<()>>> {
        let mut stream = self.stream()?;
        Ok(thread::spawn(move || {
            stream.read_exact(&mut [0])?;
            stream.write_all(&data(bytes))
        }))
    }

    /// Receives from the guest, in the background.
    pub fn receive(&mut self, bytes: usize) -> Result<JoinHandle<std::io::Result<Arrival>>> {
        let mut stream = self.stream()?;
        Ok(thread::spawn(move || {
            let mut received = vec![0; bytes];
            let first = stream.read(&mut received)?;
            let start = Instant::now();
            let (mut at, mut wakes) = (first, 1);
            while at < bytes {
                match stream.read(received.get_mut(at..).unwrap_or_default())? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    count => at += count,
                }
                wakes += 1;
            }
            let pace = start.elapsed().as_nanos() as f64 / (bytes - first) as f64;
            if received != data(bytes) {
                return Err(std::io::Error::other("what came in is not what was sent"));
            }
            Ok(Arrival { pace, wakes })
        }))
    }
}

/// What goes over the line; the program in the guest has the same.
fn data(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
