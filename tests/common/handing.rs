//! What a client of its own says to a control socket, with descriptors.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;

/// 128 bytes that have the form of an EDID: header and checksum.
pub fn edid(serial: u8) -> [u8; 128] {
    let mut edid = [0; 128];
    edid[1..7].fill(0xff);
    edid[12] = serial;
    edid[127] = 6u8.wrapping_sub(serial); // 6 * 0xff + 6 = 0x600
    edid
}

/// The option's value that says the same bytes.
pub fn hex(edid: &[u8]) -> String {
    let digits: String = edid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hex:{digits}")
}

pub fn connect(control: &Path) -> UnixStream {
    let stream = UnixStream::connect(control).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends bytes, and descriptors with the first of them.
#[track_caller]
pub fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()));
}

/// The answer to the next line.
#[track_caller]
pub fn answer(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Asks with descriptors, on a connection of its own.
#[track_caller]
pub fn ask(control: &Path, request: &Value, fds: &[BorrowedFd<'_>]) -> Value {
    let stream = connect(control);
    send(&stream, format!("{request}\n").as_bytes(), fds);
    answer(&stream)
}

/// Asserts that an answer is a refusal, and returns it as `ERRNO: message`.
#[track_caller]
pub fn refusal(answer: &Value) -> String {
    let text =
        |member: &str| answer["error"][member].as_str().unwrap_or_else(|| panic!("{answer}"));
    format!("{}: {}", text("errno"), text("message"))
}
