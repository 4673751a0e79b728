#![cfg(test)]
//! DMA_UNMAP over the socket. (The rules of the table are in `dma.rs`.)

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{
    Client, NO_REPLY, Witness,
    command::{DMA_MAP, DMA_UNMAP},
    errno::{EEXIST, EINVAL, ENOENT},
};
use server::{Server, card};

const GET_DIRTY_BITMAP: u32 = 1;
const ALL: u32 = 2;

fn body(argsz: u32, flags: u32, address: u64, size: u64) -> Vec<u8> {
    let mut body = client::words(&[argsz, flags]);
    body.extend([address, size].iter().flat_map(|word| word.to_ne_bytes()));
    body
}

/// Maps one page.
fn map(client: &mut Client, address: u64) -> client::Reply {
    let mut body = client::words(&[32, 3]);
    body.extend([0, address, 0x1000].iter().flat_map(|word: &u64| word.to_ne_bytes()));
    client.call(DMA_MAP, &body)
}

fn with_a_map(server: &Server) -> Client {
    let mut client = Client::negotiated(&server.path());
    map(&mut client, 0x1000).ok();
    client
}

/// Conformance: A86, B18.
#[test]
fn a_body_of_another_size_is_refused() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    let good = body(24, 0, 0x1000, 0x1000);
    for size in [0, 8, 23] {
        client.call(DMA_UNMAP, &good[..size]).refused(EINVAL);
        client.still_in_step();
    }
    // The 16 bytes of a dirty bitmap belong there with its flag and only with it.
    client.call(DMA_UNMAP, &[good.clone(), vec![0; 16]].concat()).refused(EINVAL);
    client.call(DMA_UNMAP, &body(40, GET_DIRTY_BITMAP, 0x1000, 0x1000)).refused(EINVAL);
    client.call(DMA_UNMAP, &good).ok();
}

/// Conformance: A87, A88.
#[test]
fn an_argsz_without_room_or_beyond_reason_is_refused() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    for argsz in [0, 8, 23, (1 << 20) + 1, (1 << 20) + 8, u32::MAX] {
        client.call(DMA_UNMAP, &body(argsz, 0, 0x1000, 0x1000)).refused(EINVAL);
        client.still_in_step();
    }
    map(&mut client, 0x1000).refused(EEXIST);
}

/// Conformance: A89, A90.
#[test]
fn a_dirty_bitmap_is_refused_and_the_map_stays() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    for bitmap_size in [8, 0, u64::MAX, u64::MAX - 24 + 8] {
        let mut request = body(48, GET_DIRTY_BITMAP, 0x1000, 0x1000);
        request.extend([0x1000, bitmap_size].iter().flat_map(|word| word.to_ne_bytes()));
        client.call(DMA_UNMAP, &request).refused(EINVAL);
        client.still_in_step();
    }
    map(&mut client, 0x1000).refused(EEXIST);
}

/// Conformance: A91, A96.
#[test]
fn other_flags_are_refused_and_the_map_stays() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    for flags in [4, 6, 0x8000_0000] {
        client.call(DMA_UNMAP, &body(24, flags, 0x1000, 0x1000)).refused(EINVAL);
        client.still_in_step();
    }
    let mut both = body(40, ALL | GET_DIRTY_BITMAP, 0, 0);
    both.extend([0; 16]);
    client.call(DMA_UNMAP, &both).refused(EINVAL);
    map(&mut client, 0x1000).refused(EEXIST);
}

/// Conformance: A95.
#[test]
fn all_with_an_address_or_a_size_is_refused_and_the_map_stays() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    for (address, size) in [(0x1000, 0), (0, 0x1000), (0x1000, 0x1000)] {
        client.call(DMA_UNMAP, &body(24, ALL, address, size)).refused(EINVAL);
        client.still_in_step();
    }
    map(&mut client, 0x1000).refused(EEXIST);
}

/// Conformance: A93.
#[test]
fn what_is_not_mapped_exactly_so_is_refused_with_enoent() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    for (address, size) in [
        (0x2000, 0x1000),
        (0x1000, 0x2000),
        (0x1000, 0x800),
        (0x1800, 0x800),
        (0x1000, 0),
        (0, 0),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        client.call(DMA_UNMAP, &body(24, 0, address, size)).refused(ENOENT);
        client.still_in_step();
    }
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    let witness = Witness::new();
    let request = body(24, 0, 0x1000, 0x1000);
    client.call_with_fds(DMA_UNMAP, &request, &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
}

/// Conformance: A92.
#[test]
fn a_map_is_taken_back_and_the_answer_repeats_the_request() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    let request = body(24, 0, 0x1000, 0x1000);
    assert_eq!(client.call(DMA_UNMAP, &request).ok().body, request);
    client.call(DMA_UNMAP, &request).refused(ENOENT);
    map(&mut client, 0x1000).ok();
}

/// Conformance: A94, B34.
#[test]
fn qemu_s_all_takes_everything_back_twenty_times_over() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for _ in 0..20 {
        for page in 0..64 {
            map(&mut client, page << 12).ok();
        }
        let all = body(24, ALL, 0, 0);
        assert_eq!(client.call(DMA_UNMAP, &all).ok().body, all);
    }
    client.call(DMA_UNMAP, &body(24, ALL, 0, 0)).ok();
}

#[test]
fn an_unmap_without_reply_is_done_all_the_same() {
    let server = Server::of(card);
    let mut client = with_a_map(&server);
    client.send(DMA_UNMAP, NO_REPLY, &body(24, 0, 0x1000, 0x1000), &[]);
    client.send(DMA_UNMAP, NO_REPLY, &body(24, 0, 0x1000, 0x1000), &[]);
    map(&mut client, 0x1000).ok();
}
