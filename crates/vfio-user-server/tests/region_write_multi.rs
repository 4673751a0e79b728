#![cfg(test)]
//! REGION_WRITE_MULTI.

#![expect(clippy::host_endian_bytes, reason = "the wire and eventfds are in host order")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{
    Client, NO_REPLY, Witness, command::REGION_WRITE_MULTI, command::VERSION, errno::EINVAL,
    errno::ENOTSUP,
};
use server::{Server, card};

/// One write: offset, region, count, 8 bytes.
fn entry(region: u32, offset: u64, count: u32, data: [u8; 8]) -> Vec<u8> {
    [&offset.to_ne_bytes()[..], &client::words(&[region, count]), &data].concat()
}

fn multi(wr_cnt: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    [wr_cnt.to_ne_bytes().to_vec(), entries.concat()].concat()
}

fn served() -> (Server, Client) {
    let server = Server::of(card);
    let client = Client::negotiated(&server.path());
    (server, client)
}

/// Conformance: B38.
#[test]
fn without_write_multiple_agreed_it_is_refused_as_not_offered() {
    let server = Server::of(card);
    for json in [
        "{}",
        r#"{"capabilities":{"max_msg_fds":16}}"#,
        r#"{"capabilities":{"write_multiple":false}}"#,
    ] {
        let mut client = Client::connect(&server.path());
        client.call(VERSION, &client::version(0, 0, json)).ok();
        let body = multi(1, &[entry(0, 0, 1, [1; 8])]);
        client.call(REGION_WRITE_MULTI, &body).refused(ENOTSUP);
        client.still_in_step();
        assert_eq!(client.read(0, 0, 1), [0]);
    }
}

/// Conformance: B37.
#[test]
fn a_number_of_writes_that_the_body_does_not_hold_is_refused_and_none_is_done() {
    let (_server, mut client) = served();
    let one = [entry(0, 0, 4, [1; 8])];
    for wr_cnt in [0, 2, 3, u64::MAX, u64::MAX / 24 + 1, 0xaaaa_aaaa_aaaa_aaab, 1 << 61] {
        client.call(REGION_WRITE_MULTI, &multi(wr_cnt, &one)).refused(EINVAL);
        client.still_in_step();
    }
    let body = multi(1, &one);
    for size in [0, 7, 8, 31] {
        client.call(REGION_WRITE_MULTI, &body[..size]).refused(EINVAL);
        client.still_in_step();
    }
    client.call(REGION_WRITE_MULTI, &[body, vec![0]].concat()).refused(EINVAL);
    assert_eq!(client.read(0, 0, 4), [0; 4]);
}

/// Conformance: B37.
#[test]
fn a_write_of_other_than_1_to_8_bytes_is_refused_and_none_is_done() {
    let (_server, mut client) = served();
    for count in [0, 9, 16, u32::MAX] {
        let entries = [entry(0, 0, 4, [1; 8]), entry(0, 4, count, [1; 8])];
        client.call(REGION_WRITE_MULTI, &multi(2, &entries)).refused(EINVAL);
        client.still_in_step();
        assert_eq!(client.read(0, 0, 8), [0; 8]);
    }
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let (_server, mut client) = served();
    let witness = Witness::new();
    let body = multi(1, &[entry(0, 0, 4, [1; 8])]);
    client.call_with_fds(REGION_WRITE_MULTI, &body, &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
    assert_eq!(client.read(0, 0, 4), [0; 4]);
}

/// Conformance: B37.
#[test]
fn a_write_that_the_device_has_no_room_for_ends_the_row_and_the_answer_says_where() {
    let (_server, mut client) = served();
    let bad_ones = [
        entry(99, 0, 1, [9; 8]),
        entry(1, 0, 1, [9; 8]),
        entry(0, 0x1000, 1, [9; 8]),
        entry(0, 0xfff, 2, [9; 8]),
        entry(0, u64::MAX, 8, [9; 8]),
    ];
    for bad in bad_ones {
        client.write(0, 0, &[0; 4]);
        let good = |offset| entry(0, offset, 1, [1; 8]);
        let entries = [good(0), good(1), bad, good(2)];
        let reply = client.call(REGION_WRITE_MULTI, &multi(4, &entries)).ok();
        assert_eq!(reply.body, 2u64.to_ne_bytes(), "number done");
        assert_eq!(client.read(0, 0, 4), [1, 1, 0, 0]);
    }
}

/// Conformance: B37.
#[test]
fn no_writes_are_none() {
    let (_server, mut client) = served();
    assert_eq!(client.call(REGION_WRITE_MULTI, &multi(0, &[])).ok().body, [0; 8]);
}

/// Conformance: S57.
#[test]
fn each_write_is_of_its_own_size() {
    let (_server, mut client) = served();
    let data = [1, 2, 3, 4, 5, 6, 7, 8];
    let entries: Vec<_> =
        (1..=8).map(|count| entry(0, 16 * u64::from(count), count, data)).collect();
    let reply = client.call(REGION_WRITE_MULTI, &multi(8, &entries)).ok();
    assert_eq!(reply.body, 8u64.to_ne_bytes());
    for count in 1..=8 {
        let mut expected = [0; 8];
        expected[..count].copy_from_slice(&data[..count]);
        assert_eq!(client.read(0, 16 * count as u64, 8), expected);
    }
}

/// Conformance: B37.
#[test]
fn qemu_s_200_writes_are_done_in_order() {
    let (_server, mut client) = served();
    // All to the same place: the last one counts. And each to its own.
    for flags in [0, NO_REPLY] {
        client.write(0, 0, &[0; 0x400]);
        let entries: Vec<_> = (0..100u8)
            .flat_map(|step| {
                let data = [step + 1; 8];
                [entry(0, 0, 4, data), entry(0, 8 + u64::from(step), 1, data)]
            })
            .collect();
        let body = multi(200, &entries);
        assert_eq!(body.len(), 4824 - 16);
        let id = client.send(REGION_WRITE_MULTI, flags, &body, &[]);
        if flags == 0 {
            let reply = client.receive().unwrap().ok();
            assert_eq!((reply.id, reply.body), (id, 200u64.to_ne_bytes().to_vec()));
        }
        assert_eq!(client.read(0, 0, 4), [100; 4]);
        assert_eq!(client.read(0, 8, 100), (1..=100).collect::<Vec<u8>>());
    }
}

#[test]
fn the_largest_message_is_done_too() {
    let (_server, mut client) = served();
    let number = (1 << 20) / 24;
    let entries = vec![entry(0, 0, 1, [7; 8]); number];
    let reply = client.call(REGION_WRITE_MULTI, &multi(number as u64, &entries)).ok();
    assert_eq!(reply.body, (number as u64).to_ne_bytes());
}
