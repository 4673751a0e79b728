#![cfg(test)]
//! DMA_MAP over the socket. (The rules of the table are in `dma.rs`.)

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::os::fd::{AsFd, OwnedFd};

use client::{Client, NO_REPLY, Witness, command::DMA_MAP, errno::*};
use server::{Server, card};

/// First byte of the last page of all.
const LAST_PAGE: u64 = 0xffff_ffff_ffff_f000;

/// argsz, flags, offset, address, size.
fn body(argsz: u32, flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    let mut body = client::words(&[argsz, flags]);
    body.extend([offset, address, size].iter().flat_map(|word| word.to_ne_bytes()));
    body
}

fn map(flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    body(32, flags, offset, address, size)
}

/// Memory of 16 pages, under a name by which its descriptors can be counted.
fn memory(name: &str) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, 0x10000).unwrap();
    fd
}

/// How many descriptors and mappings of it this process has, the server's among them.
fn uses(name: &str) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
    links.filter(|link| link.to_str().unwrap().contains(name)).count()
        + mappings.matches(name).count()
}

#[test]
fn a_body_of_another_size_is_refused() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let good = map(3, 0, 0, 0x1000);
    for size in [0, 4, 8, 31] {
        client.call(DMA_MAP, &good[..size]).refused(EINVAL);
        client.still_in_step();
    }
    client.call(DMA_MAP, &[good.clone(), vec![0]].concat()).refused(EINVAL);
    client.call(DMA_MAP, &good).ok();
}

/// Conformance: B14.
#[test]
fn what_cannot_be_mapped_is_refused_and_its_descriptor_closed() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for bad in [
        body(31, 3, 0, 0, 0x1000),
        body(33, 3, 0, 0, 0x1000),
        map(0, 0, 0, 0x1000),
        map(4, 0, 0, 0x1000),
        map(7, 0, 0, 0x1000),
        map(3, 0, 0, 0),
        map(3, 0, 1, 0x1000),
        map(3, 0, 0, 0x1001),
        map(3, 0x800, 0, 0x1000),
        map(3, 0, LAST_PAGE, 0x2000),
        map(3, 0, 0x1000, LAST_PAGE),
        map(3, 0x10000, 0, 0x1000),
        map(3, LAST_PAGE, 0, 0x2000),
    ] {
        let file = memory("refused-map");
        client.call_with_fds(DMA_MAP, &bad, &[file.as_fd()]).refused(EINVAL);
        client.still_in_step();
        assert_eq!(uses("refused-map"), 1, "{bad:?}");
    }
}

/// Conformance: S29.
#[test]
fn an_offset_without_a_descriptor_is_refused() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    client.call(DMA_MAP, &map(3, 0x1000, 0, 0x1000)).refused(EINVAL);
    client.still_in_step();
}

/// Conformance: B14.
#[test]
fn a_descriptor_that_is_no_file_is_refused_and_closed() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let socket = Witness::new();
    client.call_with_fds(DMA_MAP, &map(3, 0, 0, 0x1000), &[socket.fd()]).refused(EINVAL);
    socket.expect_closed();
    let eventfd = client::eventfd(0);
    client.call_with_fds(DMA_MAP, &map(3, 0, 0, 0x1000), &[eventfd.as_fd()]).refused(EINVAL);
    assert_eq!(client::holders(&eventfd), 1);
    client.still_in_step();
}

/// Conformance: B14.
#[test]
fn a_file_that_may_not_be_written_is_refused_for_writing() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let path = server.directory().join("memory");
    std::fs::write(&path, [0; 0x1000]).unwrap();
    let file = std::fs::File::open(path).unwrap();
    client.call_with_fds(DMA_MAP, &map(3, 0, 0, 0x1000), &[file.as_fd()]).refused(EACCES);
    client.still_in_step();
    client.call_with_fds(DMA_MAP, &map(1, 0, 0, 0x1000), &[file.as_fd()]).ok();
}

#[test]
fn more_than_one_descriptor_is_refused_and_all_are_closed() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    for count in [2, 16, 17, 100] {
        let witness = Witness::new();
        let fds = vec![witness.fd(); count];
        client.call_with_fds(DMA_MAP, &map(3, 0, 0, 0x1000), &fds).refused(EINVAL);
        witness.expect_closed();
        client.still_in_step();
    }
}

/// Conformance: A81, A82, A83.
#[test]
fn a_map_over_another_is_refused_with_eexist_and_the_other_stays() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let file = memory("overlapped-map");
    client.call_with_fds(DMA_MAP, &map(3, 0, 0x4000, 0x2000), &[file.as_fd()]).ok();
    for (address, size) in
        [(0x4000, 0x2000), (0x4000, 0x1000), (0x5000, 0x1000), (0x3000, 0x2000), (0, 0x10000)]
    {
        let again = map(3, 0, address, size);
        client.call_with_fds(DMA_MAP, &again, &[file.as_fd()]).refused(EEXIST);
        client.call(DMA_MAP, &again).refused(EEXIST);
        client.still_in_step();
    }
    // The very same, but for offset, file or protection.
    let other = memory("another-map");
    for (again, fd) in [
        (map(3, 0x1000, 0x4000, 0x2000), &file),
        (map(3, 0, 0x4000, 0x2000), &other),
        (map(1, 0, 0x4000, 0x2000), &file),
    ] {
        client.call_with_fds(DMA_MAP, &again, &[fd.as_fd()]).refused(EEXIST);
        client.still_in_step();
    }
}

/// Conformance: A80.
#[test]
fn the_65536th_map_is_refused_with_enospc_and_the_others_stay() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let page = |n: u64| map(3, 0, n << 12, 0x1000);
    let most: Vec<u8> =
        (0..65_535).flat_map(|n| client::message(1, DMA_MAP, NO_REPLY, &page(n))).collect();
    client.send_raw(&most);
    client.call(DMA_MAP, &page(65_535)).refused(ENOSPC);
    client.still_in_step();
    client.call(DMA_MAP, &page(65_534)).refused(EEXIST);
    let last = [&client::words(&[24, 0])[..], &page(65_534)[16..]].concat();
    client.call(client::command::DMA_UNMAP, &last).ok();
    client.call(DMA_MAP, &page(65_535)).ok();
}

/// Conformance: A79.
#[test]
fn a_map_may_be_of_any_size() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let size = (8 << 40) + 0x1000;
    client.call(DMA_MAP, &map(3, 0, 0, size)).ok();
    client.still_in_step();
    client.call(DMA_MAP, &map(3, 0, size - 0x1000, 0x1000)).refused(EEXIST);
    client.call(DMA_MAP, &map(3, 0, size, 1 << 62)).ok();
}

/// Conformance: S31.
#[test]
fn guest_memory_is_mapped_with_a_bare_header_for_an_answer_and_held_by_nobody() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let file = memory("guest-memory");
    let reply =
        client.call_with_fds(DMA_MAP, &map(3, 0x1000, 0x10_0000, 0xf000), &[file.as_fd()]).ok();
    assert_eq!((reply.size, reply.fds.len()), (16, 0));
    assert_eq!(uses("guest-memory"), 1, "no device here does DMA: nothing is kept or mapped");
}

/// Conformance: A84, B35.
#[test]
fn another_device_s_bar_is_mapped_without_a_descriptor() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    assert_eq!(client.call(DMA_MAP, &map(3, 0, 0xfebe_1000, 0xf000)).ok().size, 16);
    assert_eq!(client.call(DMA_MAP, &map(1, 0, 0xfffc_0000, 0x4_0000)).ok().size, 16);
}

/// Conformance: S25.
#[test]
fn larger_pages_agreed_on_do_not_bind_a_map() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    let json = r#"{"capabilities":{"pgsizes":65536}}"#;
    client.call(client::command::VERSION, &client::version(0, 0, json)).ok();
    client.call(DMA_MAP, &map(3, 0, 0x1000, 0x1000)).ok();
}

#[test]
fn a_map_without_reply_is_made_all_the_same() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let file = memory("silent-map");
    client.send(DMA_MAP, NO_REPLY, &map(3, 0, 0x1000, 0x1000), &[file.as_fd()]);
    client.send(DMA_MAP, NO_REPLY, &map(9, 0, 0x1000, 0x1000), &[file.as_fd()]);
    client.call(DMA_MAP, &map(3, 0, 0x1000, 0x1000)).refused(EEXIST);
    assert_eq!(uses("silent-map"), 1);
}

/// Conformance: S33.
#[test]
fn maps_sent_in_one_go_are_answered_in_order() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    let file = memory("batch-of-maps");
    let ids: Vec<_> = (0..16)
        .map(|page| {
            client.send(DMA_MAP, 0, &map(3, page << 12, page << 12, 0x1000), &[file.as_fd()])
        })
        .collect();
    for id in ids {
        assert_eq!(client.receive().unwrap().ok().id, id);
    }
    assert_eq!(uses("batch-of-maps"), 1);
}

#[test]
fn maps_survive_a_reset_and_go_with_their_client() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    client.call(DMA_MAP, &map(3, 0, 0, 0x1000)).ok();
    client.call(client::command::DEVICE_RESET, &[]).ok();
    client.call(DMA_MAP, &map(3, 0, 0, 0x1000)).refused(EEXIST);
    drop(client);
    let mut next = Client::negotiated(&server.path());
    next.call(DMA_MAP, &map(3, 0, 0, 0x1000)).ok();
}
