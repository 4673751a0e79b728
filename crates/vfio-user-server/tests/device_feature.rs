#![cfg(test)]
//! DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE: no device here migrates or tracks, and a client is told so.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{
    Client, NO_REPLY, Witness,
    command::{DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE},
    errno::{EINVAL, ENOTSUP},
    words,
};
use server::{Server, card};

const GET: u32 = 1 << 16;
const SET: u32 = 1 << 17;
const PROBE: u32 = 1 << 18;

/// Conformance: A142.
#[test]
fn every_feature_is_refused_as_not_offered() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    // 1 migration, 2 its state, 6 to 8 dirty logging; others the protocol does not have.
    for feature in (0..=12).chain([0xffff]) {
        for operation in [GET, SET, PROBE, PROBE | GET, PROBE | SET, PROBE | GET | SET, 0] {
            for size in [0, 8, 32] {
                let mut body = words(&[8 + size, operation | feature]);
                body.resize(8 + size as usize, 0);
                client.call(DEVICE_FEATURE, &body).refused(ENOTSUP);
            }
        }
        client.still_in_step();
    }
}

/// Conformance: S58.
#[test]
fn migration_data_are_refused_as_not_offered() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for command in [MIG_DATA_READ, MIG_DATA_WRITE] {
        for size in [4, 1 << 20, u32::MAX] {
            client.call(command, &words(&[12, size, 0])).refused(ENOTSUP);
            client.still_in_step();
        }
    }
}

/// Conformance: S58.
#[test]
fn a_body_that_is_not_whole_is_refused_too() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for command in [DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE] {
        for size in [0, 1, 7] {
            client.call(command, &vec![0; size]).refused(ENOTSUP);
            client.still_in_step();
        }
    }
}

#[test]
fn a_descriptor_along_with_them_is_refused_and_closed() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for command in [DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE] {
        let witness = Witness::new();
        client.call_with_fds(command, &words(&[8, 0]), &[witness.fd()]).refused(EINVAL);
        witness.expect_closed();
        client.still_in_step();
    }
}

#[test]
fn without_reply_nothing_is_said() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for command in [DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE] {
        client.send(command, NO_REPLY, &words(&[8, GET | 1]), &[]);
        client.still_in_step();
    }
}
