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
        client.call(&message(VERSION, &[0; 4]))?;
        Ok(client)
    }

    fn call(&mut self, message: &[u8]) -> Result {
        self.socket.write_all(message)?;
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

fn message(command: u16, body: &[u8]) -> Vec<u8> {
    let size = (HEADER + body.len()) as u32;
    let mut bytes = [1u16.to_ne_bytes(), command.to_ne_bytes()].concat();
    for word in [size, 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(body);
    bytes
}
