//! A client of a device.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{HEADER, NO_REPLY, VERSION, load, message, store};
use crate::report::Result;

/// An answer takes no longer, whatever the machine has to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where mtty's scratch register is, in BAR 0.
const SCRATCH: u64 = 7;

/// A device's user.
pub struct Client {
    socket: UnixStream,
}

impl Client {
    /// Connects, and says VERSION as briefly as it can be said.
    pub fn connect(path: &Path) -> Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self { socket };
        client.call(&message(VERSION, 0, &[0; 4]))?;
        Ok(client)
    }

    /// Reads the scratch register of an mtty.
    pub fn read(&mut self) -> Result {
        self.call(&read())
    }

    /// Asks for it, and does not wait.
    pub fn ask(&mut self) -> Result {
        Ok(self.socket.write_all(&read())?)
    }

    /// For who says what no client should.
    pub fn into_socket(self) -> UnixStream {
        self.socket
    }

    fn call(&mut self, message: &[u8]) -> Result {
        self.socket.write_all(message)?;
        self.take()
    }

    /// Takes an answer.
    pub fn take(&mut self) -> Result {
        let mut header = [0; HEADER];
        self.socket.read_exact(&mut header)?;
        let word = |bytes: &[u8], at: usize| -> Option<u32> {
            Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        let (size, error) = (word(&header, 4), word(&header, 12));
        let size = size.map_or(0, |size| size as usize);
        if error != Some(0) || !(HEADER..64 << 10).contains(&size) {
            return Err(format!("a device answered errno {error:?} in {size} bytes").into());
        }
        Ok(self.socket.read_exact(&mut vec![0; size - HEADER])?)
    }
}

/// A read of the scratch register of an mtty: 32 bytes, and 33 of answer.
pub fn read() -> Vec<u8> {
    load(0, SCRATCH, 1)
}

/// A store to it without an answer.
pub fn posted_store() -> Vec<u8> {
    store(NO_REPLY, 0, SCRATCH, &[1])
}

/// What is refused without an answer.
pub fn garbage() -> Vec<u8> {
    message(99, NO_REPLY, &[])
}
