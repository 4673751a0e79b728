#![cfg(test)]
//! DEVICE_GET_REGION_IO_FDS: no region here has such descriptors, and that is the answer.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{Client, Witness, command::DEVICE_GET_REGION_IO_FDS, errno::EINVAL, words};
use server::{Server, card};

#[test]
fn a_body_of_another_size_is_refused() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for body in [words(&[]), words(&[16, 0]), words(&[16, 0, 0]), words(&[16, 0, 0, 0, 0])] {
        client.call(DEVICE_GET_REGION_IO_FDS, &body).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A106, A107, S35.
#[test]
fn flags_or_a_count_are_refused() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for (flags, count) in [(1, 0), (0, 1), (0x8000_0000, 0), (0, u32::MAX)] {
        client.call(DEVICE_GET_REGION_IO_FDS, &words(&[512, flags, 0, count])).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A108, A109.
#[test]
fn an_argsz_without_room_or_beyond_reason_is_refused() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for argsz in [0, 15, (1 << 20) + 1, u32::MAX] {
        client.call(DEVICE_GET_REGION_IO_FDS, &words(&[argsz, 0, 0, 0])).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A111, A112.
#[test]
fn an_absent_region_is_refused() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for index in [1, 8, 9, 512, u32::MAX] {
        client.call(DEVICE_GET_REGION_IO_FDS, &words(&[512, 0, index, 0])).refused(EINVAL);
        client.still_in_step();
    }
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let witness = Witness::new();
    let body = words(&[512, 0, 0, 0]);
    client.call_with_fds(DEVICE_GET_REGION_IO_FDS, &body, &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
}

/// Conformance: A110.
#[test]
fn a_region_has_none() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for index in [0, 7] {
        for argsz in [16, 512, 1 << 20] {
            let reply = client.call(DEVICE_GET_REGION_IO_FDS, &words(&[argsz, 0, index, 0])).ok();
            assert_eq!(reply.body, words(&[16, 0, index, 0]));
            assert!(reply.fds.is_empty());
        }
    }
}
