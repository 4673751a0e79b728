//! The floor: blocking receives and sends on a socket, and nothing done in between.
//!
//! A connection begins with three words in host order: how many bytes come before an answer, how many the answer has,
//! and what descriptors are about (a `KIND`). With [`SIGNALS`] an eventfd comes along.

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmsg,
};

/// A request may bring one; 0 is for none at all.
const TAKES: u32 = 1;
/// An answer brings one.
const GIVES: u32 = 2;
/// The eventfd is signalled before an answer.
const SIGNALS: u32 = 3;

/// What is received at once at most.
const ROOM: usize = 128 << 10;

/// `by_epoll`: the socket is waited for before it is received from.
pub fn serve(socket: &Path, by_epoll: bool) -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(socket)?;
    loop {
        let (client, _) = listener.accept()?;
        // That it has gone in the middle is its own affair.
        let _ = echo(&client, by_epoll);
    }
}

fn echo(client: &UnixStream, by_epoll: bool) -> Result<(), Box<dyn Error>> {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&set, client, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    let mut ready = Vec::with_capacity(64);
    let mut words = [0; 12];
    let (_, trigger) = receive(client, &mut words)?;
    #[expect(clippy::host_endian_bytes, reason = "it is a word from the same host")]
    let mut words = words.as_chunks().0.iter().map(|bytes| u32::from_ne_bytes(*bytes));
    let mut word = || words.next().unwrap_or_default();
    let (before, answer, kind) = (word() as usize, vec![0; word() as usize], word());
    let given = memfd_create("given", MemfdFlags::CLOEXEC)?;
    let mut room = vec![0; ROOM];
    loop {
        let mut taken = 0;
        while taken < before {
            if by_epoll {
                ready.clear();
                retry_on_intr(|| epoll::wait(&set, spare_capacity(&mut ready), None))?;
            }
            let received = match kind {
                TAKES => receive(client, &mut room)?.0,
                _ => recv(client, &mut *room, RecvFlags::empty())?.1,
            };
            if received == 0 {
                return Ok(());
            }
            taken += received;
        }
        if let (SIGNALS, Some(trigger)) = (kind, &trigger) {
            #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
            rustix::io::write(trigger, &1u64.to_ne_bytes())?;
        }
        match kind {
            GIVES => give(client, &answer, &given)?,
            _ => send(client, &answer, SendFlags::NOSIGNAL)?,
        };
    }
}

/// Receives bytes, and a descriptor if one comes along.
fn receive(client: &UnixStream, room: &mut [u8]) -> rustix::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(client, &mut [IoSliceMut::new(room)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
}

/// Sends bytes with a descriptor.
fn give(client: &UnixStream, bytes: &[u8], fd: &OwnedFd) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(client, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}
