#![cfg(test)]
//! Descriptors whose last close takes its time: a TCP socket that lingers over what it could not send. Wherever a client
//! puts one, nobody waits for it.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

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

/// How often this process has this file open.
fn open_files(path: &str) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|it| fs::read_link(it.path()));
    links.flatten().filter(|link| link.as_os_str() == path).count()
}

/// Until it is open no more often.
fn soon_open(path: &str, times: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while open_files(path) != times {
        assert!(Instant::now() < deadline, "{path} is open {} times", open_files(path));
        thread::sleep(Duration::from_millis(5));
    }
}

fn description() -> Description {
    Description::pci(0x1234, 0x5678).bar(0, BarKind::Memory32, Region::trapped(16)).intx()
}

/// Sends one with a message, and keeps no copy: the server's is the last one, or about to be.
fn send_lingering(client: &mut Client, command: u16, body: &[u8]) -> TcpStream {
    let (socket, other) = lingering();
    let bytes = client::message(7, command, 0, body);
    let (begin, rest) = bytes.split_at(8);
    client.send_raw_with_fds(begin, &[socket.as_fd()]);
    // Of a client that is nobody's user the server keeps none while the message is not whole: this may be the last then.
    let closing = thread::spawn(move || drop(socket));
    let deadline = Instant::now() + Duration::from_millis(300);
    while !closing.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    client.send_raw(rest);
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
    // EMFILE: what comes with a part of a message is not kept for a stranger.
    stranger.receive().expect("an answer while it lingers").refused(24);
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

/// Where one kept eight threads waiting, nothing that anybody sent was closed any more, until this process had no number
/// left for another descriptor.
#[test]
fn many_of_one_device_s_client_keep_nobody_else_s_open() {
    let (attacked, neighbour) = (Server::of(description), Server::of(description));
    let mut client = Client::negotiated(&attacked.path());
    let info = words(&[16, 0, 0, 0]);
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(send_lingering(&mut client, DEVICE_GET_INFO, &info));
        client.receive().expect("an answer while it lingers").refused(22);
    }
    // Behind these it sends more than anybody could hold, and takes the answers.
    let random = File::open("/dev/random").unwrap();
    let flood = vec![random.as_fd(); 253];
    client.socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    client.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for _ in 0..3 {
        client.send(DEVICE_GET_INFO, 0, &info, &flood);
    }
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        // Its own, and those of one read beyond what makes it rest.
        assert!(open_files("/dev/random") <= 1 + 64 + 253, "{}", open_files("/dev/random"));
        thread::sleep(Duration::from_millis(5));
    }

    // The neighbour's clients come and go as ever, and what they send is closed.
    let zero = File::open("/dev/zero").unwrap();
    for _ in 0..100 {
        let mut other = Client::negotiated(&neighbour.path());
        other.call_with_fds(DEVICE_GET_INFO, &info, &[zero.as_fd(); 3]).refused(22);
        other.still_in_step();
    }
    soon_open("/dev/zero", 1);

    // And so is all of it when nothing lingers any more: then its client is answered again, as are others after it.
    drop(others);
    client.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for _ in 0..3 {
        client.receive().expect("an answer").refused(22);
    }
    client.still_in_step();
    drop(client);
    soon_open("/dev/random", 1);
    Client::negotiated(&attacked.path()).still_in_step();
}

#[test]
fn who_comes_to_a_device_whose_clients_left_many_waits_until_they_are_closed() {
    let attacked = Server::of(description);
    let info = words(&[16, 0, 0, 0]);
    let mut client = Client::negotiated(&attacked.path());
    let other = send_lingering(&mut client, DEVICE_GET_INFO, &info);
    client.receive().expect("an answer while it lingers").refused(22);
    let full = File::open("/dev/full").unwrap();
    client.send(DEVICE_GET_INFO, 0, &info, &[full.as_fd(); 100]);
    client.receive().expect("an answer").refused(22);
    drop(client);
    let mut next = Client::connect(&attacked.path());
    next.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let hello = client::message(1, VERSION, 0, &client::version(0, 0, "{}"));
    next.send_raw(&hello);
    let early = std::io::Read::read(&mut &next.socket, &mut [0; 16]);
    assert_eq!(early.unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(other);
    next.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    next.receive().expect("an answer").ok();
    next.still_in_step();
    soon_open("/dev/full", 1);
}
