//! A client of a device. It shares nothing with the server: numbers and layouts are the protocol's.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::report::Result;

/// An answer takes no longer, whatever the machine has to do.
const PATIENCE: Duration = Duration::from_secs(30);
const HEADER: usize = 16;
const VERSION: u16 = 1;
const REGION_READ: u16 = 9;
const REGION_WRITE: u16 = 10;
/// Header flag: no reply, not even an error.
const NO_REPLY: u32 = 0x10;
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
    message(REGION_READ, 0, &access(&[]))
}

/// A store to it without an answer.
pub fn posted_store() -> Vec<u8> {
    message(REGION_WRITE, NO_REPLY, &access(&[1]))
}

/// What is refused without an answer.
pub fn garbage() -> Vec<u8> {
    message(99, NO_REPLY, &[])
}

fn access(data: &[u8]) -> Vec<u8> {
    let mut body = SCRATCH.to_ne_bytes().to_vec();
    for word in [0u32, 1] {
        body.extend(word.to_ne_bytes());
    }
    body.extend(data);
    body
}

fn message(command: u16, flags: u32, body: &[u8]) -> Vec<u8> {
    let size = (HEADER + body.len()) as u32;
    let mut bytes = [1u16.to_ne_bytes(), command.to_ne_bytes()].concat();
    for word in [size, flags, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(body);
    bytes
}
