//! Conversations in text: one message a line, to be read by people and sent by tests.
//!
//! `>` is from the client: id, command, flags, descriptors (`-`, or kinds with commas between), then the body as numbers,
//! SIZE:VALUE, as bytes, `x:HEX`, or as text that ends with NUL and with the line, `json:TEXT`. `<` is from the server: id,
//! command, `ok` and the size of the body or `errno` and its number, and how many descriptors came along. `#` is a remark.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::EventfdFlags;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::client::{Reply, eventfd, message};

const NAMES: [&str; 19] = [
    "?0",
    "VERSION",
    "DMA_MAP",
    "DMA_UNMAP",
    "DEVICE_GET_INFO",
    "DEVICE_GET_REGION_INFO",
    "DEVICE_GET_REGION_IO_FDS",
    "DEVICE_GET_IRQ_INFO",
    "DEVICE_SET_IRQS",
    "REGION_READ",
    "REGION_WRITE",
    "DMA_READ",
    "DMA_WRITE",
    "DEVICE_RESET",
    "?14",
    "REGION_WRITE_MULTI",
    "DEVICE_FEATURE",
    "MIG_DATA_READ",
    "MIG_DATA_WRITE",
];

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Eventfd,
    /// A memfd of 1 TiB without a byte in it.
    File,
    Socket,
    Other,
    /// One that blocks, and that no more can be added to.
    FullEventfd,
    /// A memfd of two pages that cannot be written or resized.
    Sealed,
    /// A memfd of one byte.
    Short,
    /// The end of a pipe that is read.
    Pipe,
    Epoll,
    Directory,
}

pub const KINDS: [Kind; 10] = [
    Kind::Eventfd,
    Kind::File,
    Kind::Socket,
    Kind::Other,
    Kind::FullEventfd,
    Kind::Sealed,
    Kind::Short,
    Kind::Pipe,
    Kind::Epoll,
    Kind::Directory,
];

impl Kind {
    fn name(self) -> &'static str {
        let names =
            ["eventfd", "file", "socket", "other", "full-eventfd", "sealed", "short", "pipe"];
        [&names[..], &["epoll", "directory"]].concat()[self as usize]
    }

    fn of(fd: &OwnedFd) -> Self {
        use std::os::fd::AsRawFd;
        let target = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let target = target.to_string_lossy();
        match &*target {
            _ if target.starts_with("anon_inode:[eventfd") => Self::Eventfd,
            _ if target.starts_with("socket:") => Self::Socket,
            _ if target.starts_with('/') => Self::File,
            _ => Self::Other,
        }
    }
}

/// One descriptor of each kind, to be sent as often as one likes.
pub struct Samples([OwnedFd; KINDS.len()]);

impl Samples {
    pub fn new() -> Self {
        let memfd = |size, flags| {
            let file = memfd_create("guest", MemfdFlags::CLOEXEC | flags).unwrap();
            ftruncate(&file, size).unwrap();
            file
        };
        let sealed = memfd(0x2000, MemfdFlags::ALLOW_SEALING);
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&sealed, seals).unwrap();
        let full = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let open = |path| OwnedFd::from(std::fs::File::open(path).unwrap());
        Self([
            eventfd(0),
            memfd(1 << 40, MemfdFlags::empty()),
            UnixStream::pair().unwrap().0.into(),
            open("/dev/null"),
            full,
            sealed,
            memfd(1, MemfdFlags::empty()),
            std::io::pipe().unwrap().0.into(),
            rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap(),
            open("/proc/self"),
        ])
    }

    pub fn of(&self, kinds: &[Kind]) -> Vec<BorrowedFd<'_>> {
        kinds.iter().map(|kind| self.0[*kind as usize].as_fd()).collect()
    }
}

/// A message of a client's.
#[derive(Clone, Debug)]
pub struct Said {
    /// All of it, header included.
    pub bytes: Vec<u8>,
    pub fds: Vec<Kind>,
    /// errno of the reply that was recorded, 0 for a success, `None` for no reply.
    pub answer: Option<u32>,
}

impl Said {
    pub fn id(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[0], self.bytes[1]])
    }

    pub fn command(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[2], self.bytes[3]])
    }
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn body(text: &str) -> Vec<u8> {
    let (words, json) = text.split_once("json:").map_or((text, None), |(a, b)| (a, Some(b)));
    let mut bytes = Vec::new();
    for word in words.split_whitespace() {
        let (size, value) = word.split_once(':').expect("SIZE:VALUE");
        if size == "x" {
            let digit = |at| u8::from_str_radix(&value[at..at + 2], 16).unwrap();
            bytes.extend((0..value.len()).step_by(2).map(digit));
        } else {
            bytes.extend(&number(value).to_ne_bytes()[..size.parse().unwrap()]);
        }
    }
    if let Some(json) = json {
        bytes.extend(json.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// What the client says in a conversation that is written down.
pub fn parse(text: &str) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.splitn(6, ' ');
        let direction = words.next().unwrap();
        let id = u16::try_from(number(words.next().unwrap())).unwrap();
        let name = words.next().unwrap();
        let command = NAMES.iter().position(|it| *it == name).map_or_else(
            || u16::try_from(number(name)).unwrap(),
            |position| u16::try_from(position).unwrap(),
        );
        let third = words.next().unwrap();
        let fourth = words.next().unwrap();
        if direction == "<" {
            let said = all.iter_mut().rev().find(|said| said.id() == id && said.answer.is_none());
            let errno = if third == "ok" { 0 } else { u32::try_from(number(fourth)).unwrap() };
            said.expect("an answer to nothing").answer = Some(errno);
            continue;
        }
        let kind = |name: &str| KINDS.into_iter().find(|kind| kind.name() == name).unwrap();
        let fds = fourth.split(',').filter(|name| *name != "-").map(kind).collect();
        let flags = u32::try_from(number(third)).unwrap();
        let body = body(words.next().unwrap_or_default());
        all.push(Said { bytes: message(id, command, flags, &body), fds, answer: None });
    }
    all
}

fn name(command: u16) -> String {
    NAMES.get(usize::from(command)).map_or_else(|| command.to_string(), |name| (*name).to_owned())
}

/// The line of a client's message (which a test's client has taken as if it were a reply).
pub fn said(message: &Reply) -> String {
    let kinds: Vec<_> = message.fds.iter().map(|fd| Kind::of(fd).name()).collect();
    let kinds = if kinds.is_empty() { "-".to_owned() } else { kinds.join(",") };
    let Reply { id, command, flags, body, .. } = message;
    let mut line = format!("> {id:#x} {} {flags:#x} {kinds}", name(*command));
    let (longs, rest) =
        body.split_at(if matches!(command, 9 | 10) { 8.min(body.len()) } else { 0 });
    for long in longs.chunks_exact(8) {
        write!(line, " 8:{:#x}", u64::from_ne_bytes(long.try_into().unwrap())).unwrap();
    }
    if *command == 1 && body.len() > 4 {
        write!(line, " 2:0 2:0 json:{}", str::from_utf8(&body[4..body.len() - 1]).unwrap())
            .unwrap();
        return line;
    }
    let words = if matches!(command, 9 | 10) { 8.min(rest.len()) } else { rest.len() & !3 };
    let (words, rest) = rest.split_at(words);
    for word in words.chunks_exact(4) {
        write!(line, " 4:{:#x}", u32::from_ne_bytes(word.try_into().unwrap())).unwrap();
    }
    if !rest.is_empty() {
        line.push_str(" x:");
        rest.iter().for_each(|byte| write!(line, "{byte:02x}").unwrap());
    }
    line
}

/// The line of a server's reply.
pub fn replied(reply: &Reply) -> String {
    let Reply { id, command, error, size, fds, .. } = reply;
    let what = if *error == 0 { format!("ok {}", size - 16) } else { format!("errno {error}") };
    let fds = if fds.is_empty() { String::new() } else { format!(" {} fds", fds.len()) };
    format!("< {id:#x} {} {what}{fds}", name(*command))
}
