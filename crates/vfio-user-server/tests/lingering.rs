#![cfg(test)]
//! Descriptors whose last close takes its time: a TCP socket that lingers over what it could not send. Wherever a client
//! puts one, nobody waits for it.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use client::command::{DEVICE_GET_INFO, DEVICE_SET_IRQS, DMA_MAP, REGION_READ, VERSION};
use client::{Client, access, words};
use rustix::net::sockopt::set_socket_linger;
use server::Server;
use vfio_device::{BarKind, Description, Region};

/// Longer than a client here waits for a reply.
const LINGERS: Duration = Duration::from_secs(60);

/// A socket with more to send than it gets rid of, and the end that does not read.
fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    loop {
        match socket.write(&[0; 65536]) {
            Ok(_) => (),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    set_socket_linger(&socket, Some(LINGERS)).unwrap();
    (socket.into(), other)
}

fn description() -> Description {
    Description::pci(0x1234, 0x5678).bar(0, BarKind::Memory32, Region::trapped(16)).intx()
}

/// Sends one with a message, and keeps no copy.
fn send_lingering(client: &mut Client, command: u16, body: &[u8]) -> TcpStream {
    let (socket, other) = lingering();
    let fds: [BorrowedFd<'_>; 1] = [socket.as_fd()];
    client.send(command, 0, body, &fds);
    other
}

#[test]
fn one_that_comes_with_a_message_delays_neither_its_answer_nor_anybody_else() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let map = words(&[32, 3, 0, 0, 0, 0, 0, 0x1000]);
    let irqs = words(&[20, 0x24, 0, 0, 1]);
    let mut others = Vec::new();
    for (command, body) in
        [(DEVICE_GET_INFO, words(&[16, 0, 0, 0])), (DMA_MAP, map), (DEVICE_SET_IRQS, irqs)]
    {
        others.push(send_lingering(&mut client, command, &body));
        let reply = client.receive().expect("an answer while it lingers");
        assert_eq!(reply.error, 22, "command {command}");
        client.still_in_step();
    }
}

#[test]
fn one_that_a_stranger_sends_delays_nobody() {
    let server = Server::of(description);
    let mut user = Client::negotiated(&server.path());
    let mut stranger = Client::connect(&server.path());
    let _other = send_lingering(&mut stranger, VERSION, &client::version(0, 0, "{}"));
    stranger.receive().expect("an answer while it lingers").refused(22);
    user.still_in_step();
}

#[test]
fn ones_that_were_never_read_delay_nobody_when_their_client_has_left() {
    let server = Server::of(description);
    let client = Client::negotiated(&server.path());
    // It takes no answers: once they fill the socket, nothing more is read from it.
    client.socket.set_nonblocking(true).unwrap();
    let body = access(7, 0, 256, &[]);
    let message = client::message(1, REGION_READ, 0, &body);
    let mut sent = 0;
    let mut others = Vec::new();
    while sent < 4096 {
        match (&client.socket).write(&message) {
            Ok(count) if count == message.len() => sent += 1,
            _ => break,
        }
    }
    client.socket.set_nonblocking(false).unwrap();
    client.socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let (socket, other) = lingering();
    others.push(other);
    let bytes = client::message(2, DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0]));
    // With the socket full this may not get in: what matters is that it is not read.
    let fds = [socket.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
    let parts = [std::io::IoSlice::new(&bytes)];
    let _ = rustix::net::sendmsg(
        &client.socket,
        &parts,
        &mut control,
        rustix::net::SendFlags::NOSIGNAL,
    );
    drop(socket);
    drop(client);
    Client::negotiated(&server.path()).still_in_step();
}
