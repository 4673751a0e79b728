#![cfg(test)]
//! How much of a bad neighbour's is served between a quiet client's request and its answer, when both are on one loop.
//!
//! It is counted on the loop's thread: the neighbour's device itself puts the request into the quiet client's socket, in
//! the middle of whatever the neighbour has it do, and counts its accesses until the other device is asked.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Client, NO_REPLY, QEMU_CAPABILITIES, access, command, message, version};
use server::{Server, made};
use vfio_device::{BarKind, Context, Description, Made, Region, VfioDevice};

/// Turns of a connection, or of the messages of other threads, that come in between: one of the round in which the
/// request has just been missed, one of the next.
const TURNS: usize = 2;
/// Messages of 16 bytes, which is the least, that are served in one turn of a connection: 8 KiB.
const MESSAGES: usize = 512;
/// Stores of one byte, with a header each, in 8 KiB.
const STORES: usize = (8 << 10) / 33;
/// Stores that are one message, in 8 KiB.
const COALESCED: usize = ((8 << 10) - 24) / 24;
/// In the largest message, which is one turn; before the next large one there is a turn without any.
const MOST_COALESCED: usize = 43_691;
/// Messages of other threads that are taken in one turn.
const POSTED: usize = 16;

/// What is measured, as often as this at most: so many answers fit into a socket.
const MOST: usize = 100;

/// A client that says one thing at a time.
#[derive(Default)]
struct Quiet {
    socket: Option<UnixStream>,
    /// What its neighbours have had served since it last asked; `None` while it waits for nothing.
    since: Option<usize>,
    /// What is to be served before it asks again: another number each time.
    before: usize,
    waits: Vec<usize>,
}

impl Quiet {
    /// Something was served that is not for it.
    fn other(&mut self) {
        if let Some(since) = &mut self.since {
            *since += 1;
        } else if self.before > 0 {
            self.before -= 1;
        } else if let Some(mut socket) = self.socket.as_ref().filter(|_| self.waits.len() < MOST) {
            socket.write_all(&message(7, command::REGION_READ, 0, &access(0, 0, 4, &[]))).unwrap();
            self.since = Some(0);
        }
    }

    fn own(&mut self) {
        if let Some(since) = self.since.take() {
            self.waits.push(since);
            self.before = self.waits.len() * 97 % MESSAGES;
        }
    }
}

type Shared = Arc<Mutex<Quiet>>;

/// The quiet client's device, or one of its neighbours'.
struct Counting {
    is_quiet: bool,
    shared: Shared,
}

impl Counting {
    fn count(&self) {
        let mut quiet = self.shared.lock().unwrap();
        if self.is_quiet { quiet.own() } else { quiet.other() }
    }
}

impl VfioDevice for Counting {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {
        self.count();
    }
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {
        self.count();
    }
    fn reset(&mut self, _: &mut Context) {
        self.count();
    }
}

fn counting(is_quiet: bool, shared: &Shared) -> Made {
    let description = Description::pci(1, 2).bar(0, BarKind::Memory32, Region::trapped(1 << 20));
    (description, Box::new(Counting { is_quiet, shared: Arc::clone(shared) }))
}

/// A quiet client and the sockets of so many neighbours, numbered from 1.
struct Street {
    server: Server,
    quiet: Client,
    shared: Shared,
}

impl Street {
    fn new(neighbours: usize) -> Self {
        let shared = Shared::default();
        let devices = (0..=neighbours).map(|number| {
            let shared = Arc::clone(&shared);
            made(move || counting(number == 0, &shared))
        });
        let server = Server::start_all(devices.collect());
        let quiet = Client::negotiated(&server.path_of(0));
        Self { server, quiet, shared }
    }

    fn neighbour(&self, number: usize) -> Client {
        Client::negotiated(&self.server.path_of(number))
    }

    /// Begins to measure.
    fn begin(&self) {
        let socket = self.quiet.socket.try_clone().unwrap();
        self.shared.lock().unwrap().socket = Some(socket);
    }

    /// Each of at least so many requests was answered before more than this had been served to others. What had, each time.
    #[track_caller]
    fn waited(mut self, least: usize, bound: usize) -> Vec<usize> {
        // What was asked last is answered now, if nothing was left to come in between.
        self.server.ask(|_| ());
        self.server.ask(|_| ());
        let waits = std::mem::take(&mut self.shared.lock().unwrap().waits);
        assert!(waits.len() >= least, "only {} requests", waits.len());
        for _ in &waits {
            assert_eq!(self.quiet.receive().unwrap().ok().id, 7);
        }
        let longest = waits.iter().copied().max().unwrap();
        assert!(
            (1..=bound).contains(&longest),
            "{longest} came in between, not {bound}: {waits:?}"
        );
        waits
    }
}

fn posted_store() -> Vec<u8> {
    message(1, command::REGION_WRITE, NO_REPLY, &access(0, 0, 1, &[1]))
}

/// Stores as one message, with no answer.
fn coalesced(count: usize) -> Vec<u8> {
    let store = [access(0, 0, 1, &[]), vec![1; 8]].concat();
    let body = [&(count as u64).to_le_bytes()[..], &store.repeat(count)].concat();
    message(1, command::REGION_WRITE_MULTI, NO_REPLY, &body)
}

/// Sends copies of this until the socket takes no more, while nobody reads from it; how many.
fn fill(client: &mut Client, bytes: &[u8]) -> usize {
    // The kernel takes as much in one piece, or nothing of it.
    assert!(bytes.len() < 32 << 10);
    client.socket.set_nonblocking(true).unwrap();
    let mut copies = 0;
    while let Ok(sent) = client.socket.write(bytes) {
        assert_eq!(sent, bytes.len());
        copies += 1;
    }
    client.socket.set_nonblocking(false).unwrap();
    copies
}

#[test]
fn beside_posted_stores_that_fill_the_socket() {
    let street = Street::new(1);
    let mut neighbour = street.neighbour(1);
    street.begin();
    neighbour.send_raw(&posted_store().repeat(30_000));
    neighbour.still_in_step();
    street.waited(20, TURNS * STORES);
}

#[test]
fn beside_many_devices_whose_clients_all_post_stores() {
    const NEIGHBOURS: usize = 70; // more than one wait of the loop reports
    let street = Street::new(NEIGHBOURS);
    let mut neighbours: Vec<_> = (1..=NEIGHBOURS).map(|number| street.neighbour(number)).collect();
    street.begin();
    street.server.held_up(|| {
        let stores = posted_store().repeat(4 * STORES);
        neighbours.iter_mut().for_each(|neighbour| neighbour.send_raw(&stores));
    });
    neighbours.iter_mut().for_each(Client::still_in_step);
    street.waited(1, NEIGHBOURS * TURNS * STORES);
}

#[test]
fn beside_stores_that_are_sent_as_large_messages() {
    let street = Street::new(1);
    let mut neighbour = street.neighbour(1);
    street.begin();
    for _ in 0..3 {
        neighbour.send_raw(&[coalesced(MOST_COALESCED), coalesced(COALESCED).repeat(3)].concat());
    }
    neighbour.still_in_step();
    // One more does not fit.
    let size = u32::try_from(coalesced(MOST_COALESCED + 1).len()).unwrap();
    neighbour.send_raw(&client::header(9, command::REGION_WRITE_MULTI, size, 0));
    neighbour.receive().unwrap().refused(client::errno::EINVAL);
    street.waited(3, MOST_COALESCED + COALESCED);
}

#[test]
fn beside_pipelined_reads_whose_answers_nobody_takes() {
    let street = Street::new(1);
    let mut neighbour = street.neighbour(1);
    street.begin();
    let read = message(1, command::REGION_READ, 0, &access(0, 0, 1, &[]));
    let mut reads = 0;
    street.server.held_up(|| reads = fill(&mut neighbour, &read.repeat(100)) * 100);
    street.server.ask(|_| ());
    for _ in 0..reads {
        neighbour.receive().unwrap().ok();
    }
    neighbour.still_in_step();
    street.waited(2, TURNS * (8 << 10) / read.len());
}

#[test]
fn beside_what_has_waited_until_a_large_answer_was_taken() {
    let street = Street::new(1);
    let mut neighbour = street.neighbour(1);
    // More than a socket holds: what comes behind it waits, some of it in the server already.
    let read = message(1, command::REGION_READ, 0, &access(0, 0, 1 << 20, &[]));
    neighbour.send_raw(&[read, posted_store().repeat(4 * STORES)].concat());
    street.server.ask(|_| ());
    street.server.ask(|_| ());
    street.begin();
    assert_eq!(neighbour.receive().unwrap().ok().size, 32 + (1 << 20));
    neighbour.still_in_step();
    // The first request is made at the first of those that waited: they are a turn of their own, and what can be read now
    // stands behind the request.
    let first = street.waited(1, TURNS * STORES)[0];
    assert!((1..=STORES).contains(&first), "{first} in one turn");
}

#[test]
fn beside_garbage_that_is_refused() {
    /// Of so many messages one reaches the device, and is counted.
    const OF: usize = 16;
    let street = Street::new(1);
    let mut neighbour = street.neighbour(1);
    street.begin();
    // No such command; not a command; one that is not offered; each without an answer.
    let kinds =
        [(99, NO_REPLY), (command::REGION_READ, NO_REPLY | 1), (command::DMA_READ, NO_REPLY)];
    let garbage = kinds.map(|(number, flags)| message(1, number, flags, &[])).concat();
    let reset = message(1, command::DEVICE_RESET, NO_REPLY, &[]);
    let bytes = [garbage.repeat(OF / 3), reset].concat();
    assert_eq!(bytes.len(), OF * 16);
    neighbour.send_raw(&bytes.repeat(20_000));
    neighbour.still_in_step();
    street.waited(20, TURNS * MESSAGES / OF);
}

#[test]
fn beside_one_that_leaves_with_a_full_socket_while_others_come() {
    let street = Street::new(1);
    let path = street.server.path_of(1);
    let mut neighbour = street.neighbour(1);
    // As many connections as a device has at one time.
    let mut next: Vec<_> = (0..15).map(|_| Client::connect(&path)).collect();
    street.begin();
    let mut stores = 0;
    street.server.held_up(|| {
        stores = fill(&mut neighbour, &posted_store().repeat(900)) * 900;
        drop(neighbour);
        for client in &mut next {
            client.send(command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES), &[]);
        }
    });
    assert!(stores > 4 * TURNS * STORES, "{stores} stores");
    let opened = next.iter_mut().filter_map(|it| it.receive()).filter(|it| it.error == 0).count();
    assert_eq!(opened, 1, "the device is free for one of them, and no more");
    street.waited(2, TURNS * STORES);
}

#[test]
fn beside_those_who_come_post_stores_and_leave_again_and_again() {
    let street = Street::new(1);
    let path = street.server.path_of(1);
    street.begin();
    let greeting = message(1, command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES));
    let bytes = [greeting, posted_store().repeat(2000)].concat();
    for _ in 0..20 {
        let mut client = Client::connect(&path);
        client.send_raw(&bytes);
        client.receive().unwrap().ok();
    }
    street.neighbour(1).still_in_step();
    street.waited(20, TURNS * STORES);
}

/// As 256 connections to the control socket, each of which asks again when it has its answer.
#[test]
fn beside_messages_of_other_threads() {
    const OTHERS: usize = 256;
    const EACH: usize = 200;
    type End = std::sync::mpsc::Sender<()>;
    fn ask(handle: &vfio_user_server::LoopHandle, shared: &Shared, left: usize, end: End) {
        let (again, shared) = (handle.clone(), Arc::clone(shared));
        handle.post(move |_| {
            shared.lock().unwrap().other();
            if left > 1 {
                ask(&again, &shared, left - 1, end);
            } else {
                drop(end);
            }
        });
    }
    let street = Street::new(0);
    street.begin();
    let (end, ends) = channel();
    for _ in 0..OTHERS {
        ask(&street.server.handle, &street.shared, EACH, end.clone());
    }
    drop(end);
    // All ends have gone when all is done.
    assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
    street.waited(20, TURNS * POSTED);
}
