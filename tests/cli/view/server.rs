//! A server of control sockets that means no good, or has pictures that no device here has.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use tempfile::TempDir;

/// It answers each connection's lines, one after the other, by what it was made with.
pub struct Server {
    directory: TempDir,
}

/// What is sent: bytes, and descriptors with the first of them.
pub type Reply = (Vec<u8>, Vec<OwnedFd>);

impl Server {
    /// `reply` gets the number of the request, from 0, over all connections; `None` ends the connection.
    pub fn new(mut reply: impl FnMut(usize) -> Option<Reply> + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("control")).unwrap();
        // It waits for clients that no longer come, until the tests end.
        std::thread::spawn(move || {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept() {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(_)) = lines.next() {
                    let Some((bytes, fds)) = reply(number) else { break };
                    number += 1;
                    send(&stream, &bytes, &fds);
                }
            }
        });
        Self { directory }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("control")
    }
}

fn send(stream: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(&fds)));
    // The client may have heard enough.
    if let Ok(sent) = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
        let _ = (&*stream).write_all(&bytes[sent..]);
    }
}

/// Memory of these bytes, with these seals.
pub fn memory(bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("picture", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, bytes.len() as u64).unwrap();
    let file = File::from(fd);
    file.write_all_at(bytes, 0).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file.into()
}

/// A plane of 32-bit pixels, as `[width, height, stride, offset, generation]`.
pub fn plane([width, height, stride, offset, generation]: [u64; 5]) -> Value {
    json!({
        "format": "XR24", "fourcc": 0x3432_5258, "width": width, "height": height,
        "stride": stride, "offset": offset, "size": stride.wrapping_mul(height), "generation": generation,
    })
}

/// A line that says where the picture is.
pub fn shows(plane: &Value) -> Vec<u8> {
    format!("{}\n", json!({ "ok": { "device": "vfio0", "plane": plane } })).into_bytes()
}
