#![cfg(test)]
//! Where a message begins and ends, and which descriptors are its own, whatever shape the stream comes in.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::os::fd::AsFd;
use std::time::Duration;

use client::{
    Client, NO_REPLY, Witness, access, command, count, errno::*, eventfd, header, holders, message,
    words,
};
use server::Server;
use vfio_device::{Description, IrqFlags};

/// Registers and 64 vectors of MSI-X.
fn card() -> Description {
    server::card().irq(2, IrqFlags::MSI, 64)
}

fn served() -> (Server, Client) {
    let server = Server::of(card);
    let client = Client::negotiated(&server.path());
    (server, client)
}

/// Sets vector `vector` of MSI-X up for one descriptor.
fn install(id: u16, vector: u32) -> Vec<u8> {
    message(id, command::DEVICE_SET_IRQS, 0, &words(&[20, 0x24, 2, vector, 1]))
}

/// Asserts that no reply is under way.
#[track_caller]
fn says_nothing(client: &mut Client) {
    client.socket.set_nonblocking(true).unwrap();
    let read = std::io::Read::read(&mut client.socket, &mut [0]);
    assert!(read.is_err(), "an answer that nobody asked for");
    client.socket.set_nonblocking(false).unwrap();
}

/// Conformance: A19.
#[test]
fn a_size_below_the_header_s_is_refused_and_ends_the_connection() {
    let server = Server::of(card);
    for size in [0, 1, 8, 15] {
        let mut client = Client::negotiated(&server.path());
        client.send_raw(&header(5, command::DEVICE_SET_IRQS, size, 0));
        let reply = client.receive().unwrap();
        assert_eq!((reply.id, reply.command), (5, command::DEVICE_SET_IRQS));
        reply.refused(EINVAL);
        client.is_closed();
    }
    Client::negotiated(&server.path()).still_in_step();
}

/// Conformance: A2, A20, B10.
#[test]
fn a_size_above_the_limit_is_refused_and_ends_the_connection() {
    let server = Server::of(card);
    for size in [(1 << 20) + 33, 1 << 24, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        for number in [command::REGION_WRITE, command::DEVICE_GET_INFO, 999] {
            let mut client = Client::negotiated(&server.path());
            client.send_raw(&header(5, number, size, 0));
            client.receive().unwrap().refused(EINVAL);
            client.is_closed();
        }
        // Before VERSION as well.
        let mut client = Client::connect(&server.path());
        client.send_raw(&header(5, command::VERSION, size, 0));
        client.receive().unwrap().refused(EINVAL);
        client.is_closed();
    }
    Client::negotiated(&server.path()).still_in_step();
}

/// Conformance: S6.
#[test]
fn an_impossible_size_without_reply_ends_the_connection_without_a_word() {
    let server = Server::of(card);
    for size in [0, 15, 0xffff_ffff] {
        let mut client = Client::negotiated(&server.path());
        client.send_raw(&header(5, command::REGION_WRITE, size, NO_REPLY));
        client.is_closed();
    }
}

#[test]
fn what_came_before_an_impossible_size_is_still_answered() {
    let (_server, mut client) = served();
    let good = message(1, command::DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0]));
    client.send_raw(&[&good[..], &good, &header(3, command::REGION_READ, 3, 0), &good].concat());
    assert_eq!(client.receive().unwrap().ok().body.len(), 16);
    assert_eq!(client.receive().unwrap().ok().body.len(), 16);
    client.receive().unwrap().refused(EINVAL);
    client.is_closed();
}

/// Conformance: A21.
#[test]
fn a_reply_or_an_unknown_type_is_refused_and_not_executed() {
    let (_server, mut client) = served();
    for kind in 1..16 {
        let bytes = message(1, command::REGION_WRITE, kind, &access(0, 0, 1, &[1]));
        client.send_raw(&bytes);
        client.receive().unwrap().refused(EINVAL);
        client.still_in_step();
    }
    client.send_raw(&message(1, command::DEVICE_RESET, 1 | NO_REPLY, &[]));
    client.send_raw(&header(1, 11, 16, 0x21));
    client.receive().unwrap().refused(EINVAL);
    assert_eq!(client.read(0, 0, 1), [0]);
}

/// Conformance: B24.
#[test]
fn reserved_flags_and_an_error_number_mean_nothing_in_a_command() {
    let (_server, mut client) = served();
    for flags in [0x20, 0x40, 0x8000, 0xffff_ffe0] {
        let mut bytes = message(1, command::DEVICE_GET_INFO, flags, &words(&[16, 0, 0, 0]));
        bytes[12..16].fill(0xee);
        client.send_raw(&bytes);
        assert_eq!(client.receive().unwrap().ok().body.len(), 16, "flags {flags:#x}");
        client.still_in_step();
    }
}

/// Conformance: A22, B8.
#[test]
fn unknown_commands_are_refused_and_their_bodies_skipped() {
    let (_server, mut client) = served();
    for number in [0, 14, 19, 20, 999, 0xffff] {
        for size in [0, 1, 16, 5000, 1 << 20] {
            client.call(number, &vec![0x5a; size]).refused(ENOTSUP);
            client.still_in_step();
        }
    }
}

/// Conformance: S55.
#[test]
fn commands_that_only_servers_send_are_refused() {
    let (_server, mut client) = served();
    for number in [command::DMA_READ, command::DMA_WRITE] {
        client.call(number, &[0; 24]).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: B22.
#[test]
fn without_reply_no_command_is_answered_be_it_good_or_bad() {
    let (_server, mut client) = served();
    let write = |data: &[u8]| access(0, 0, 1, data);
    let good = [
        (command::DMA_MAP, words(&[32, 3, 0, 0, 0, 0, 0x1000, 0])),
        (command::DMA_UNMAP, words(&[24, 0, 0, 0, 0x1000, 0])),
        (command::DEVICE_GET_INFO, words(&[16, 0, 0, 0])),
        (command::DEVICE_GET_REGION_INFO, words(&[32, 0, 0, 0, 0, 0, 0, 0])),
        (command::DEVICE_GET_REGION_IO_FDS, words(&[16, 0, 0, 0])),
        (command::DEVICE_GET_IRQ_INFO, words(&[16, 0, 0, 0])),
        (command::DEVICE_SET_IRQS, words(&[20, 0x21, 2, 0, 0])),
        (command::REGION_READ, access(0, 0, 4, &[])),
        (command::DEVICE_RESET, vec![]),
        (command::REGION_WRITE, write(&[0x77])),
        (command::REGION_WRITE_MULTI, vec![0; 8]),
    ];
    for (number, body) in &good {
        client.send(*number, NO_REPLY, body, &[]);
    }
    for number in (0..=20).chain([999]) {
        for body in [vec![0xff; 3], vec![0xff; 64]] {
            let witness = Witness::new();
            client.send(number, NO_REPLY, &body, &[witness.fd()]);
            client.still_in_step();
            witness.expect_closed();
        }
    }
    says_nothing(&mut client);
    assert_eq!(client.read(0, 0, 1), [0x77], "the good ones were done, in order");
    // The very bodies above are good: with a reply they are answered.
    for (number, body) in &good {
        client.call(*number, body).ok();
    }
}

/// Conformance: B26.
#[test]
fn every_answer_comes_in_one_piece() {
    let (_server, mut client) = served();
    // QEMU gives up on a header that comes in two.
    for (number, body, size) in [
        (command::DEVICE_GET_INFO, words(&[16, 0, 0, 0]), 32),
        (command::DEVICE_GET_REGION_INFO, words(&[32, 0, 0, 0, 0, 0, 0, 0]), 48),
        (command::DEVICE_GET_IRQ_INFO, words(&[16, 0, 0, 0]), 32),
        (command::REGION_READ, access(0, 0, 4096, &[]), 32 + 4096),
        (command::REGION_WRITE, access(0, 0, 1, &[0]), 32),
        (command::DEVICE_RESET, vec![], 16),
        (command::DEVICE_RESET, vec![0], 16),
    ] {
        client.send(number, 0, &body, &[]);
        let read = std::io::Read::read(&mut client.socket, &mut [0; 8192]).unwrap();
        assert_eq!(read, size, "command {number}");
    }
}

/// Conformance: B23.
#[test]
fn the_same_id_may_be_used_again_and_again() {
    let (_server, mut client) = served();
    let info = message(7, command::DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0]));
    let reset = message(7, command::DEVICE_RESET, 0, &[]);
    client.send_raw(&[info.clone(), reset, info].concat());
    for expected in [command::DEVICE_GET_INFO, command::DEVICE_RESET, command::DEVICE_GET_INFO] {
        let reply = client.receive().unwrap().ok();
        assert_eq!((reply.id, reply.command), (7, expected));
    }
}

/// Conformance: B3.
#[test]
fn many_messages_in_one_send_are_answered_in_order() {
    let (_server, mut client) = served();
    let mut bytes = Vec::new();
    for id in 0..500u16 {
        let data = id.to_le_bytes();
        bytes.extend(message(2 * id, command::REGION_WRITE, 0, &access(0, 8, 2, &data)));
        bytes.extend(message(2 * id + 1, command::REGION_READ, 0, &access(0, 8, 2, &[])));
    }
    let mut sending = client.socket.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut sending, &bytes).unwrap());
        for id in 0..500u16 {
            assert_eq!(client.receive().unwrap().ok().id, 2 * id);
            let reply = client.receive().unwrap().ok();
            assert_eq!((reply.id, &reply.body[16..]), (2 * id + 1, &id.to_le_bytes()[..]));
        }
    });
}

/// Conformance: B1.
#[test]
fn a_message_may_come_byte_by_byte() {
    let (_server, mut client) = served();
    let bytes = [
        message(1, command::REGION_WRITE, 0, &access(0, 0, 4, &[1, 2, 3, 4])),
        message(2, command::REGION_READ, 0, &access(0, 0, 4, &[])),
    ]
    .concat();
    for byte in bytes {
        client.send_raw(&[byte]);
        std::thread::sleep(Duration::from_micros(200));
    }
    client.receive().unwrap().ok();
    assert_eq!(client.receive().unwrap().ok().body[16..], [1, 2, 3, 4]);
}

#[test]
fn messages_may_be_cut_anywhere() {
    let (_server, mut client) = served();
    let bytes: Vec<_> = (0..20u16)
        .flat_map(|id| message(id, command::REGION_READ, 0, &access(0, 0, 4, &[])))
        .collect();
    for piece in [1, 3, 7, 15, 16, 17, 31, 33, 100] {
        for piece in bytes.chunks(piece) {
            client.send_raw(piece);
        }
        for id in 0..20 {
            assert_eq!(client.receive().unwrap().ok().id, id);
        }
    }
}

/// Conformance: S9.
#[test]
fn descriptors_belong_to_the_last_message_of_their_send() {
    let (_server, mut client) = served();
    let irq = eventfd(0);
    let read = message(1, command::REGION_READ, 0, &access(0, 0, 4, &[]));
    client.send_raw_with_fds(&[&read[..], &read, &install(2, 0)].concat(), &[irq.as_fd()]);
    client.send_raw(&read);
    for expected in [1, 1, 2, 1] {
        assert_eq!(client.receive().unwrap().ok().id, expected);
    }
    client.set_irqs([0x21, 2, 0, 1], &[], &[]).ok();
    assert_eq!(count(&irq), 1);
}

#[test]
fn descriptors_wait_for_the_rest_of_their_message() {
    let (_server, mut client) = served();
    for cut in 1..36 {
        let (irq, other) = (eventfd(0), eventfd(0));
        let bytes = install(3, 5);
        let read = message(1, command::REGION_READ, 0, &access(0, 0, 4, &[]));
        // In front of it a whole message in the same send, behind it the next one with descriptors of its own.
        client.send_raw_with_fds(&[&read[..], &bytes[..cut]].concat(), &[irq.as_fd()]);
        assert_eq!(client.receive().unwrap().ok().id, 1);
        client.send_raw(&bytes[cut..]);
        client.send_raw_with_fds(&install(4, 6), &[other.as_fd()]);
        assert_eq!(client.receive().unwrap().ok().id, 3);
        assert_eq!(client.receive().unwrap().ok().id, 4);
        client.set_irqs([0x21, 2, 5, 1], &[], &[]).ok();
        assert_eq!((count(&irq), count(&other)), (1, 0), "cut at {cut}");
    }
}

#[test]
fn descriptors_find_their_message_across_the_end_of_a_read() {
    let (_server, mut client) = served();
    // A read takes up to 8 KiB: the descriptor comes with the first piece, the message's end with the second.
    let info = message(1, command::DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0]));
    for before in 250..256 {
        let irq = eventfd(0);
        let bytes = [info.repeat(before), install(2, 3), info.repeat(3)].concat();
        let all_but_behind = bytes.len() - 3 * info.len();
        client.send_raw_with_fds(&bytes[..all_but_behind], &[irq.as_fd()]);
        client.send_raw(&bytes[all_but_behind..]);
        for at in 0..before + 4 {
            let id = if at == before { 2 } else { 1 };
            assert_eq!(client.receive().unwrap().ok().id, id);
        }
        let set = client.set_irqs([0x21, 2, 3, 1], &[], &[]).ok();
        assert_eq!((set.size, count(&irq)), (16, 1), "{before} messages before it");
    }
}

#[test]
fn each_of_many_sends_keeps_its_own_descriptor() {
    let (_server, mut client) = served();
    let irqs: Vec<_> = (0..64).map(|_| eventfd(0)).collect();
    for (vector, irq) in (0..64u16).zip(&irqs) {
        client.send_raw(&message(99, command::REGION_READ, 0, &access(0, 0, 1, &[])));
        client.send_raw_with_fds(&install(vector, vector.into()), &[irq.as_fd()]);
    }
    for vector in 0..64 {
        assert_eq!(client.receive().unwrap().ok().id, 99);
        assert_eq!(client.receive().unwrap().ok().id, vector);
    }
    for vector in 0..64 {
        client.set_irqs([0x21, 2, vector, 1], &[], &[]).ok();
        assert_eq!(count(&irqs[vector as usize]), 1);
    }
}

#[test]
fn descriptors_of_a_refused_message_do_not_go_to_the_next() {
    let (_server, mut client) = served();
    let stray = eventfd(0);
    client.send_raw_with_fds(&header(1, command::DEVICE_SET_IRQS, 36, 0)[..7], &[stray.as_fd()]);
    client.send_raw(&header(1, command::DEVICE_SET_IRQS, 36, 0)[7..]);
    client.send_raw(&words(&[19, 0x24, 2, 0, 1])); // argsz is wrong
    client.receive().unwrap().refused(EINVAL);
    assert_eq!(holders(&stray), 1);
    client.set_irqs([0x24, 2, 0, 1], &[], &[]).ok();
    client.set_irqs([0x21, 2, 0, 1], &[], &[]).ok();
    assert_eq!(count(&stray), 0);
}

/// Conformance: B11.
#[test]
fn descriptors_on_half_a_header_go_with_the_connection() {
    let (server, mut client) = served();
    let witness = Witness::new();
    client.send_raw_with_fds(&install(1, 0)[..8], &[witness.fd()]);
    drop(client);
    Client::negotiated(&server.path()).still_in_step();
    witness.expect_closed();
}

/// Conformance: B4.
#[test]
fn a_header_and_then_silence_keeps_nobody_awake() {
    let (server, mut client) = served();
    client.send_raw(&header(1, command::REGION_WRITE, 1 << 20, 0));
    server.is_asleep();
}
