#![cfg(test)]
//! A client may leave at any moment: what it set up goes, the device keeps its state, the next one is served.

#[path = "common/client.rs"]
mod client;
#[path = "common/heard.rs"]
mod heard;
#[path = "common/server.rs"]
mod server;

use std::os::fd::AsFd;

use client::{
    Client, NO_REPLY, QEMU_CAPABILITIES, Witness, access, command, errno, eventfd, holders,
    message, version, words,
};
use heard::{Heard, Log};
use server::{Server, card};

/// A conversation from the first byte, and where the one message lies that carries a descriptor.
fn conversation() -> (Vec<u8>, std::ops::Range<usize>) {
    let before = [
        message(1, command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES)),
        message(2, command::DMA_MAP, 0, &words(&[32, 3, 0, 0, 0, 0, 0x1000, 0])),
        message(3, command::DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0])),
        message(4, command::REGION_WRITE, NO_REPLY, &access(0, 0, 4, &[1; 4])),
    ]
    .concat();
    let set = message(5, command::DEVICE_SET_IRQS, 0, &words(&[20, 0x24, 0, 0, 1]));
    let after = [
        message(6, command::REGION_READ, 0, &access(0, 0, 256, &[])),
        message(7, command::REGION_WRITE, 0, &access(0, 16, 64, &[2; 64])),
    ]
    .concat();
    let at = before.len()..before.len() + set.len();
    ([before, set, after].concat(), at)
}

/// Conformance: B7, B41.
#[test]
fn a_client_may_leave_at_every_byte_of_a_conversation() {
    let server = Server::of(card);
    Client::negotiated(&server.path()).write(0, 0x100, &[0x5a; 4]);
    let (bytes, with_fd) = conversation();
    let irq = eventfd(0);
    for end in 0..=bytes.len() {
        let mut client = Client::connect(&server.path());
        client.send_raw(&bytes[..end.min(with_fd.start)]);
        if end > with_fd.start {
            let set = &bytes[with_fd.start..end.min(with_fd.end)];
            client.send_raw_with_fds(set, &[irq.as_fd()]);
            client.send_raw(&bytes[with_fd.end.min(end)..end]);
        }
        // With the answers unread, which resets the connection, and with all of them read.
        if end % 2 == 0 {
            client.socket.shutdown(std::net::Shutdown::Write).unwrap();
            while client.receive().is_some() {}
        }
        drop(client);

        let mut next = Client::negotiated(&server.path());
        assert_eq!(next.read(0, 0x100, 4), [0x5a; 4], "the device keeps its state, byte {end}");
        // What the one before had mapped and set up is gone.
        next.call(command::DMA_MAP, &words(&[32, 3, 0, 0, 0, 0, 0x1000, 0])).ok();
        next.set_irqs([0x21, 0, 0, 1], &[], &[]).refused(errno::EINVAL);
        assert_eq!(holders(&irq), 1, "byte {end}");
    }
}

/// Conformance: S13.
#[test]
fn posted_writes_are_done_even_if_the_client_leaves_at_once() {
    let server = Server::of(card);
    for round in 1..=50u8 {
        let mut client = Client::negotiated(&server.path());
        for step in 0..20 {
            let body = access(0, step, 1, &[round]);
            client.send(command::REGION_WRITE, NO_REPLY, &body, &[]);
        }
        drop(client);
        assert_eq!(Client::negotiated(&server.path()).read(0, 0, 20), [round; 20]);
    }
}

#[test]
fn descriptors_of_a_client_that_broke_off_are_closed_and_go_to_nobody() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let witness = Witness::new();
    // By the time the first is answered nobody is there any more, and the second, with the descriptor, is not reached.
    let read = message(1, command::REGION_READ, 0, &access(0, 0, 4, &[]));
    let set = message(2, command::DEVICE_SET_IRQS, 0, &words(&[20, 0x24, 0, 0, 1]));
    server.held_up(|| {
        client.send_raw_with_fds(&[read, set].concat(), &[witness.fd()]);
        drop(client);
    });
    let mut next = Client::connect(&server.path());
    next.negotiate();
    witness.expect_closed();
}

#[test]
fn a_client_that_only_stops_sending_still_gets_its_answers() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.receive().unwrap().ok().body.len(), 20);
    client.is_closed();
    Client::negotiated(&server.path()).still_in_step();
}

#[test]
fn nobody_is_missed_while_nobody_is_there() {
    let server = Server::of(card);
    drop(Client::connect(&server.path()));
    drop(Client::negotiated(&server.path()));
    server.is_asleep();
}

/// Conformance: A25.
#[test]
fn the_device_hears_once_that_its_client_has_left_and_is_not_reset() {
    let log = Log::default();
    let device = Heard { log: log.clone(), busy: None };
    let server = Server::start(move || (card(), Box::new(device)));
    let mut client = Client::negotiated(&server.path());
    let irq = eventfd(0);
    client.set_irqs([0x24, 0, 0, 1], &[], &[irq.as_fd()]).ok();
    let map = words(&[32, 3, 0, 0, 0, 0, 0x1000, 0]);
    client.call(command::DMA_MAP, &map).ok();
    drop(client);
    log.becomes(&["open", "close"]);
    let mut next = Client::negotiated(&server.path());
    log.becomes(&["open", "close", "open"]);
    assert_eq!(holders(&irq), 1);
    next.call(command::DMA_MAP, &map).ok();
}

/// Conformance: A26.
#[test]
fn a_client_may_leave_while_the_device_is_at_work_for_it() {
    let log = Log::default();
    let (done, busy) = std::sync::mpsc::channel();
    let device = Heard { log: log.clone(), busy: Some(busy) };
    let server = Server::start(move || (card(), Box::new(device)));
    let mut client = Client::negotiated(&server.path());
    let irq = eventfd(0);
    client.set_irqs([0x24, 0, 0, 1], &[], &[irq.as_fd()]).ok();
    client.send(command::REGION_WRITE, 0, &access(0, 0, 1, &[1]), &[]);
    log.becomes(&["open", "write"]);
    drop(client);
    let mut next = Client::connect(&server.path());
    let id = next.send(command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES), &[]);
    assert_eq!(log.all(), ["open", "write"], "nothing is torn down under its hands");
    done.send(()).unwrap();
    log.becomes(&["open", "write", "written", "close", "open"]);
    assert_eq!(next.receive().unwrap().ok().id, id);
    next.still_in_step();
    assert_eq!(holders(&irq), 1);
}
