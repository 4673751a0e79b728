//! A client that says exactly what a test tells it to, byte for byte.
//!
//! It shares nothing with the server: numbers and layouts are written out again here, from the protocol's description.

#![expect(clippy::host_endian_bytes, reason = "the wire is in host order")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Message numbers.
pub mod command {
    pub const VERSION: u16 = 1;
    pub const DMA_MAP: u16 = 2;
    pub const DMA_UNMAP: u16 = 3;
    pub const DEVICE_GET_INFO: u16 = 4;
    pub const DEVICE_GET_REGION_INFO: u16 = 5;
    pub const DEVICE_GET_REGION_IO_FDS: u16 = 6;
    pub const DEVICE_GET_IRQ_INFO: u16 = 7;
    pub const DEVICE_SET_IRQS: u16 = 8;
    pub const REGION_READ: u16 = 9;
    pub const REGION_WRITE: u16 = 10;
    pub const DMA_READ: u16 = 11;
    pub const DMA_WRITE: u16 = 12;
    pub const DEVICE_RESET: u16 = 13;
    pub const REGION_WRITE_MULTI: u16 = 15;
    pub const DEVICE_FEATURE: u16 = 16;
    pub const MIG_DATA_READ: u16 = 17;
    pub const MIG_DATA_WRITE: u16 = 18;
}

/// errno values, as the wire carries them.
pub mod errno {
    pub const ENOENT: u32 = 2;
    pub const EIO: u32 = 5;
    pub const EACCES: u32 = 13;
    pub const EBUSY: u32 = 16;
    pub const EEXIST: u32 = 17;
    pub const ENODEV: u32 = 19;
    pub const EINVAL: u32 = 22;
    pub const EMFILE: u32 = 24;
    pub const ENOSPC: u32 = 28;
    pub const ENOTSUP: u32 = 95;
}

/// Header flag: no reply, not even an error.
pub const NO_REPLY: u32 = 0x10;

/// What QEMU 11.1 says first.
pub const QEMU_CAPABILITIES: &str = concat!(
    r#"{"capabilities":{"migration":{"max_bitmap_size":268435456,"pgsize":4096},"max_msg_fds":16,"#,
    r#""max_data_xfer_size":1048576,"max_dma_maps":65535,"pgsizes":4096,"write_multiple":true}}"#,
);

/// A reply as it came.
#[derive(Debug)]
pub struct Reply {
    pub id: u16,
    pub command: u16,
    pub size: u32,
    pub flags: u32,
    pub error: u32,
    pub body: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Reply {
    pub fn u32(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.body[offset..offset + 4].try_into().unwrap())
    }

    pub fn u64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.body[offset..offset + 8].try_into().unwrap())
    }

    /// Asserts that it is a refusal with this errno: a bare header, type reply, Error bit.
    #[track_caller]
    pub fn refused(&self, errno: u32) {
        assert_eq!(
            (self.flags, self.error, self.size),
            (0x21, errno, 16),
            "flags, errno, size of {self:?}"
        );
    }

    /// Asserts that it is a success, and returns it.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!((self.flags, self.error), (1, 0), "flags, errno of {self:?}");
        self
    }
}

/// 16 bytes of header.
pub fn header(id: u16, command: u16, size: u32, flags: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(id.to_ne_bytes());
    bytes.extend(command.to_ne_bytes());
    bytes.extend(size.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes
}

/// A whole message.
pub fn message(id: u16, command: u16, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(id, command, 16 + u32::try_from(body.len()).unwrap(), flags);
    bytes.extend(body);
    bytes
}

/// Concatenates numbers of 4 bytes.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The body of a region access.
pub fn access(region: u32, offset: u64, count: u32, data: &[u8]) -> Vec<u8> {
    let mut body = offset.to_ne_bytes().to_vec();
    body.extend(words(&[region, count]));
    body.extend(data);
    body
}

/// The body of a VERSION.
pub fn version(major: u16, minor: u16, json: &str) -> Vec<u8> {
    let mut body = [major.to_ne_bytes(), minor.to_ne_bytes()].concat();
    body.extend(json.as_bytes());
    body.push(0);
    body
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    pub socket: UnixStream,
    next_id: u16,
}

impl Client {
    /// Connects and says nothing.
    pub fn connect(path: &Path) -> Self {
        Self::new(UnixStream::connect(path).unwrap())
    }

    /// Takes an end of a socket pair. No wait for a reply is longer than 10 s.
    pub fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { socket, next_id: 1 }
    }

    /// Connects and negotiates as QEMU does.
    pub fn negotiated(path: &Path) -> Self {
        let mut client = Self::connect(path);
        client.negotiate();
        client
    }

    /// Negotiates as QEMU does.
    #[track_caller]
    pub fn negotiate(&mut self) -> Reply {
        self.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).ok()
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends bytes with descriptors, in one sendmsg.
    pub fn send_raw_with_fds(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        let sent = rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        );
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// Sends one command; returns its id.
    pub fn send(&mut self, command: u16, flags: u32, body: &[u8], fds: &[BorrowedFd<'_>]) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let bytes = message(id, command, flags, body);
        if fds.is_empty() {
            self.send_raw(&bytes)
        } else {
            self.send_raw_with_fds(&bytes, fds)
        }
        id
    }

    /// Receives one reply; `None` if the server has closed the connection.
    pub fn receive(&mut self) -> Option<Reply> {
        let mut head = [0; 16];
        let fds = self.receive_exactly(&mut head)?;
        let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let mut reply = Reply {
            id: half(0),
            command: half(2),
            size: word(4),
            flags: word(8),
            error: word(12),
            body: vec![0; word(4) as usize - 16],
            fds,
        };
        if !reply.body.is_empty() {
            let mut body = std::mem::take(&mut reply.body);
            reply.fds.extend(self.receive_exactly(&mut body)?);
            reply.body = body;
        }
        Some(reply)
    }

    fn receive_exactly(&mut self, buffer: &mut [u8]) -> Option<Vec<OwnedFd>> {
        let mut fds = Vec::new();
        let mut done = 0;
        while done < buffer.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer[done..])];
            match rustix::net::recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(received) if received.bytes == 0 => return None,
                Ok(received) => done += received.bytes,
                Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return None,
                Err(error) => panic!("no reply: {error}"),
            }
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = part {
                    fds.extend(rights);
                }
            }
        }
        Some(fds)
    }

    /// Sends one command and receives its reply.
    #[track_caller]
    pub fn call(&mut self, command: u16, body: &[u8]) -> Reply {
        self.call_with_fds(command, body, &[])
    }

    /// The same with descriptors.
    #[track_caller]
    pub fn call_with_fds(&mut self, command: u16, body: &[u8], fds: &[BorrowedFd<'_>]) -> Reply {
        let id = self.send(command, 0, body, fds);
        let reply = self.receive().expect("the server closed the connection instead of replying");
        assert_eq!((reply.id, reply.command), (id, command), "id and command of {reply:?}");
        reply
    }

    /// Asserts that the conversation is still in step: a GET_INFO is answered as it should be.
    #[track_caller]
    pub fn still_in_step(&mut self) {
        let reply = self.call(command::DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
        assert_eq!((reply.body.len(), reply.u32(0)), (16, 16), "GET_INFO after a refusal");
    }

    /// Asserts that the server has closed this connection (after the replies that were read), and soon: silent ones
    /// it closes after 5 s in any case.
    #[track_caller]
    pub fn is_closed(&mut self) {
        self.is_closed_within(Duration::from_secs(2));
    }

    /// The same, sooner or later.
    #[track_caller]
    pub fn is_closed_within(&mut self, time: Duration) {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "bytes before the end: {rest:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    pub fn read(&mut self, region: u32, offset: u64, count: u32) -> Vec<u8> {
        let reply = self.call(command::REGION_READ, &access(region, offset, count, &[])).ok();
        assert_eq!(reply.body[..16], access(region, offset, count, &[]), "echo of a REGION_READ");
        reply.body[16..].to_vec()
    }

    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        let count = u32::try_from(data.len()).unwrap();
        let reply = self.call(command::REGION_WRITE, &access(region, offset, count, data)).ok();
        assert_eq!(reply.body, access(region, offset, count, &[]), "echo of a REGION_WRITE");
    }

    /// GET_REGION_INFO of a region, with room for `argsz` bytes.
    #[track_caller]
    pub fn region_info(&mut self, index: u32, argsz: u32) -> Reply {
        self.call(command::DEVICE_GET_REGION_INFO, &words(&[argsz, 0, index, 0, 0, 0, 0, 0]))
    }

    /// SET_IRQS: flags, index, start, count, then bytes (DATA_BOOL) and descriptors (DATA_EVENTFD).
    pub fn set_irqs(&mut self, set: [u32; 4], data: &[u8], fds: &[BorrowedFd<'_>]) -> Reply {
        let mut body = words(&[20 + u32::try_from(data.len()).unwrap()]);
        body.extend(words(&set));
        body.extend(data);
        self.call_with_fds(command::DEVICE_SET_IRQS, &body, fds)
    }
}

/// A fresh non-blocking eventfd with this count.
pub fn eventfd(count: u32) -> OwnedFd {
    rustix::event::eventfd(
        count,
        rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
    )
    .unwrap()
}

/// Takes what an eventfd has counted; 0 if nothing.
pub fn count(eventfd: impl AsFd) -> u64 {
    let mut bytes = [0; 8];
    match rustix::io::read(eventfd, &mut bytes) {
        Ok(8) => u64::from_ne_bytes(bytes),
        Err(rustix::io::Errno::AGAIN) => 0,
        other => panic!("eventfd: {other:?}"),
    }
}

/// How many descriptors of this process are this eventfd: those of a test's server among them.
pub fn holders(eventfd: impl AsFd) -> usize {
    use std::os::fd::AsRawFd;
    let id_of = |number: &str| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        info.lines().find(|line| line.starts_with("eventfd-id:")).map(str::to_owned)
    };
    let id = id_of(&eventfd.as_fd().as_raw_fd().to_string()).expect("not an eventfd");
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|it| id_of(it.as_ref().unwrap().file_name().to_str().unwrap()) == Some(id.clone()))
        .count()
}

/// A descriptor to give away that shows when everybody has closed it.
#[derive(Debug)]
pub struct Witness {
    ours: UnixStream,
    given: Option<UnixStream>,
}

impl Witness {
    pub fn new() -> Self {
        let (ours, given) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        Self { ours, given: Some(given) }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.given.as_ref().unwrap().as_fd()
    }

    /// Asserts that nobody but the test holds it, or soon will: it may be on its way through a socket, or to whoever closes
    /// it. That is less than the 5 s after which the server lets go of who has not said VERSION.
    #[track_caller]
    pub fn expect_closed(mut self) {
        self.given = None;
        self.ours.set_nonblocking(false).unwrap();
        self.ours.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        let read = (&self.ours).read(&mut [0]);
        assert!(matches!(read, Ok(0)), "a descriptor is kept: {read:?}");
    }
}
