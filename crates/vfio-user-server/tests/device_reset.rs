#![cfg(test)]
//! DEVICE_RESET.

#[path = "common/client.rs"]
mod client;
#[path = "common/heard.rs"]
mod heard;
#[path = "common/server.rs"]
mod server;

use std::os::fd::AsFd;

use client::{
    Client, NO_REPLY, Witness, access, command, command::DEVICE_RESET, errno, errno::EINVAL, words,
};
use server::{Server, card};

/// Conformance: B9, S56.
#[test]
fn a_body_is_refused_and_nothing_is_reset() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    client.write(0, 0, &[1]);
    for size in [1, 16, 64] {
        client.call(DEVICE_RESET, &vec![0; size]).refused(EINVAL);
        client.still_in_step();
    }
    assert_eq!(client.read(0, 0, 1), [1]);
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed_and_nothing_is_reset() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    client.write(0, 0, &[1]);
    let witness = Witness::new();
    client.call_with_fds(DEVICE_RESET, &[], &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
    assert_eq!(client.read(0, 0, 1), [1]);
}

/// Conformance: B36.
#[test]
fn registers_and_configuration_space_are_as_at_the_start() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let config = client.read(7, 0, 256);
    client.write(0, 0, &[1, 2, 3, 4]);
    client.write(7, 4, &[6, 4]);
    client.write(7, 0x10, &[0, 0, 0xc0, 0xfe]);
    client.write(7, 0x3c, &[11]);
    assert_ne!(client.read(7, 0, 256), config);
    let reply = client.call(DEVICE_RESET, &[]).ok();
    assert_eq!((reply.size, reply.fds.len()), (16, 0));
    assert_eq!(client.read(0, 0, 4), [0; 4]);
    assert_eq!(client.read(7, 0, 256), config);
}

/// Conformance: A172.
#[test]
fn the_device_hears_of_it_once_and_maps_stay() {
    let log = heard::Log::default();
    let device = heard::Heard { log: log.clone(), busy: None };
    let server = Server::start(move || (card(), Box::new(device)));
    let mut client = Client::negotiated(&server.path());
    let map = words(&[32, 3, 0, 0, 0, 0, 0x1000, 0]);
    client.call(command::DMA_MAP, &map).ok();
    client.call(DEVICE_RESET, &[0]).refused(EINVAL);
    assert_eq!(log.all(), ["open"]);
    client.call(DEVICE_RESET, &[]).ok();
    assert_eq!(log.all(), ["open", "reset"]);
    client.call(command::DMA_MAP, &map).refused(errno::EEXIST);
}

/// Conformance: B43.
#[test]
fn it_works_without_the_flag_too() {
    let server = Server::of(|| card().without_reset_flag());
    let mut client = Client::negotiated(&server.path());
    client.write(0, 0, &[1]);
    client.call(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read(0, 0, 1), [0]);
}

/// Conformance: B36.
#[test]
fn the_line_is_low_and_what_the_client_set_up_stays() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let irq = client::eventfd(0);
    client.set_irqs([0x24, 0, 0, 1], &[], &[irq.as_fd()]).ok();
    let map = words(&[32, 3, 0, 0, 0, 0, 0x1000, 0]);
    client.call(command::DMA_MAP, &map).ok();
    client.write(0, 0xff0, &[1, 0, 0, 0]);
    assert_eq!(client::count(&irq), 1);
    assert_eq!(client.read(7, 6, 1)[0] & 8, 8, "Interrupt Status");
    client.call(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read(7, 6, 1)[0] & 8, 0, "the line is low");
    client.call(command::DMA_MAP, &map).refused(errno::EEXIST);
    // Masked by itself before the reset, and so until it is unmasked; then it fires, through the same descriptor.
    client.write(0, 0xff0, &[1, 0, 0, 0]);
    client.set_irqs([0x11, 0, 0, 1], &[], &[]).ok();
    assert_eq!(client::count(&irq), 1);
}

#[test]
fn a_reset_in_the_middle_of_pipelined_writes_comes_in_its_turn() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    client.send(command::REGION_WRITE, NO_REPLY, &access(0, 0, 2, &[1, 1]), &[]);
    client.send(DEVICE_RESET, NO_REPLY, &[], &[]);
    client.send(command::REGION_WRITE, NO_REPLY, &access(0, 1, 1, &[2]), &[]);
    assert_eq!(client.read(0, 0, 2), [0, 2]);
}
