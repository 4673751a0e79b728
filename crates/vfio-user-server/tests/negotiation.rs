#![cfg(test)]
//! VERSION over the socket: who is served, and who is turned away. (What a proposal may hold is in `version.rs`.)

#![expect(clippy::host_endian_bytes, reason = "the wire and eventfds are in host order")]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::os::fd::AsFd;

use client::{
    Client, NO_REPLY, QEMU_CAPABILITIES, Witness, access, command, errno, message, version, words,
};
use server::{Server, card};

/// A message of each command that would succeed after VERSION, or at least be well-formed.
fn well_formed(number: u16) -> Vec<u8> {
    match number {
        command::DMA_MAP => words(&[32, 3, 0, 0, 0, 0, 0x1000, 0]),
        command::DMA_UNMAP => words(&[24, 2, 0, 0, 0, 0]),
        command::DEVICE_GET_INFO | command::DEVICE_GET_IRQ_INFO => words(&[16, 0, 0, 0]),
        command::DEVICE_GET_REGION_INFO => words(&[32, 0, 0, 0, 0, 0, 0, 0]),
        command::DEVICE_SET_IRQS => words(&[20, 0x21, 0, 0, 0]),
        command::REGION_READ => access(0, 0, 4, &[]),
        command::REGION_WRITE => access(0, 0, 4, &[1; 4]),
        999 => vec![0; 5],
        _ => Vec::new(),
    }
}

/// Conformance: A3, B15.
#[test]
fn every_command_before_version_is_refused_and_not_executed() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    for number in (0..=20).chain([999, 0xffff]).filter(|number| *number != command::VERSION) {
        client.call(number, &well_formed(number)).refused(errno::EINVAL);
        client.send(number, NO_REPLY, &well_formed(number), &[]);
    }
    client.negotiate();
    assert_eq!(client.read(0, 0, 4), [0; 4], "the write was not executed");
    // DMA_MAP was not executed: its address is free.
    client.call(command::DMA_MAP, &well_formed(command::DMA_MAP)).ok();
}

/// Conformance: B11.
#[test]
fn a_descriptor_that_comes_before_version_is_closed() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    for number in [command::DMA_MAP, command::DEVICE_SET_IRQS, command::VERSION] {
        let witness = Witness::new();
        let body = version(0, 0, QEMU_CAPABILITIES);
        client.call_with_fds(number, &body, &[witness.fd()]).refused(errno::EINVAL);
        witness.expect_closed();
    }
    client.negotiate();
}

/// Conformance: A1, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14.
#[test]
fn a_version_that_cannot_be_understood_is_refused_and_ends_the_connection() {
    let server = Server::of(card);
    let without_nul = |text: &str| {
        let mut body = version(0, 0, text);
        body.pop();
        body
    };
    let capable = |text: &str| version(0, 0, &format!(r#"{{"capabilities":{{{text}}}}}"#));
    for body in [
        vec![],
        vec![0],
        vec![0; 3],
        version(999, 0, "{}"),
        version(1, 0, QEMU_CAPABILITIES),
        without_nul("{}"),
        version(0, 0, "{"),
        version(0, 0, "\""),
        version(0, 0, r#"{"capabilities":"23"}"#),
        capable(r#""max_msg_fds":"foo""#),
        capable(r#""max_msg_fds":-1"#),
        capable(r#""max_msg_fds":1025"#),
        capable(r#""migration":"23""#),
        capable(r#""migration":{"pgsize":"foo"}"#),
        capable(r#""migration":{"pgsize":4095}"#),
        version(0, 0, &"[".repeat(10_000)),
        version(0, 0, &format!(r#"{{"x":"{}"}}"#, "y".repeat(1 << 20))),
    ] {
        let mut client = Client::connect(&server.path());
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let id = client.send(command::VERSION, 0, &body, &[]);
        let reply = client.receive().unwrap_or_else(|| panic!("no reply to {shown:?}"));
        assert_eq!(reply.id, id);
        reply.refused(errno::EINVAL);
        client.is_closed();
    }
    Client::negotiated(&server.path()).still_in_step();
}

#[test]
fn a_bad_version_without_reply_ends_the_connection_without_a_word() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    client.send(command::VERSION, NO_REPLY, &version(1, 0, "{}"), &[]);
    client.is_closed();
}

/// Conformance: B15.
#[test]
fn a_second_version_is_refused_and_changes_nothing() {
    let server = Server::of(card);
    let mut client = Client::negotiated(&server.path());
    client.write(0, 0, &[7]);
    for body in [version(0, 0, "{}"), version(0, 0, QEMU_CAPABILITIES), version(1, 0, ""), vec![]] {
        client.call(command::VERSION, &body).refused(errno::EINVAL);
        client.still_in_step();
    }
    // What was agreed first still holds: write_multiple, which `{}` does not propose.
    client.call(command::REGION_WRITE_MULTI, &[0; 8]).ok();
    assert_eq!(client.read(0, 0, 1), [7]);
}

/// Conformance: S10.
#[test]
fn a_second_client_hears_that_the_device_is_busy_and_the_first_notices_nothing() {
    let server = Server::of(card);
    let mut first = Client::negotiated(&server.path());
    first.write(0, 0, &[1, 2, 3, 4]);
    let irq = client::eventfd(0);
    first.set_irqs([0x24, 0, 0, 1], &[], &[irq.as_fd()]).ok();
    for _ in 0..3 {
        let mut second = Client::connect(&server.path());
        second.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(errno::EBUSY);
        second.is_closed();
        first.still_in_step();
    }
    assert_eq!(first.read(0, 0, 4), [1, 2, 3, 4]);
    first.write(0, 0xff0, &[1, 0, 0, 0]);
    assert_eq!(client::count(&irq), 1, "its interrupt is still set up");
}

#[test]
fn the_next_client_is_served_as_soon_as_the_first_has_left() {
    let server = Server::of(card);
    let mut first = Client::negotiated(&server.path());
    let mut waiting = Client::connect(&server.path());
    first.write(0, 0, &[9]);
    drop(first);
    waiting.negotiate();
    assert_eq!(waiting.read(0, 0, 1), [9], "the device keeps its state");
}

#[test]
fn a_client_that_left_much_unread_behind_does_not_make_the_device_busy() {
    let server = Server::of(card);
    for round in 1..=20u8 {
        let mut first = Client::negotiated(&server.path());
        let posted = message(1, command::REGION_WRITE, NO_REPLY, &access(0, 0, 1, &[round]));
        first.send_raw(&posted.repeat(4000));
        drop(first);
        let mut next = Client::negotiated(&server.path());
        assert_eq!(next.read(0, 0, 1), [round], "what it said last was done");
    }
}

/// Conformance: B5.
#[test]
fn silent_connections_keep_nobody_from_being_served() {
    let server = Server::of(card);
    let silent: Vec<_> = (0..40).map(|_| Client::connect(&server.path())).collect();
    let mut half = Client::connect(&server.path());
    half.send_raw(&message(1, command::VERSION, 0, &version(0, 0, "{}"))[..21]);
    Client::negotiated(&server.path()).still_in_step();
    drop(silent);
    Client::negotiated(&server.path()).still_in_step();
}

#[test]
fn a_hundred_clients_one_after_the_other_are_served() {
    let server = Server::of(card);
    for _ in 0..100 {
        Client::negotiated(&server.path()).still_in_step();
    }
}

/// Conformance: B25.
#[test]
fn qemu_gets_an_answer_that_it_takes() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    let proposal = message(0, command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES));
    client.send_raw(&proposal);
    // In one piece: QEMU gives up on a header that comes in two.
    let mut bytes = [0; 4096];
    let size = std::io::Read::read(&mut client.socket, &mut bytes).unwrap();
    assert!(size <= 214, "QEMU has set 214 bytes aside, not {size}");
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(word(4) as usize, size, "message size");
    assert_eq!((word(0), word(8), word(12)), (1 << 16, 1, 0), "id and command, flags, errno");
    assert_eq!(word(16), 0, "version 0.0");
    let text = std::str::from_utf8(&bytes[20..size]).unwrap().strip_suffix('\0').unwrap();
    for (key, value) in [
        ("max_msg_fds", "16"),
        ("max_data_xfer_size", "1048576"),
        ("max_dma_maps", "65535"),
        ("pgsizes", "4096"),
        ("write_multiple", "true"),
    ] {
        assert!(text.contains(&format!(r#""{key}":{value}"#)), "{key} in {text}");
    }
    assert_eq!(text.matches(':').count(), 1 + 5, "and no other key: {text}");
}

/// Conformance: B25, S26.
#[test]
fn no_descriptor_comes_with_the_answer() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    let json = r#"{"capabilities":{"max_msg_fds":16,"twin_socket":{"supported":true}}}"#;
    let reply = client.call(command::VERSION, &version(0, 0, json)).ok();
    assert!(reply.fds.is_empty());
    assert!(!String::from_utf8(reply.body).unwrap().contains("twin"));
}

/// Conformance: B43.
#[test]
fn cloud_hypervisor_s_0_1_is_answered_with_0_0() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    let json = r#"{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}"#;
    let reply = client.call(command::VERSION, &version(0, 1, json)).ok();
    assert_eq!(reply.u32(0), 0);
    client.still_in_step();
    client.call(command::DEVICE_RESET, &[]).ok();
}

/// Conformance: A15, A16, A17, A18.
#[test]
fn a_proposal_may_leave_everything_out() {
    let server = Server::of(card);
    let limits = r#"{"capabilities":{"max_msg_fds":1024,"max_data_xfer_size":1048576}}"#;
    for body in [
        vec![0; 4],
        version(0, 0, "{}"),
        version(0, 7, r#"{"capabilities":{}}"#),
        version(0, 0, limits),
    ] {
        // The one before has left: each is served.
        let mut client = Client::connect(&server.path());
        let reply = client.call(command::VERSION, &body).ok();
        assert_eq!((reply.u32(0), reply.body.last()), (0, Some(&0)));
        let text = String::from_utf8(reply.body[4..].to_vec()).unwrap();
        for limit in [r#""max_msg_fds":16"#, r#""max_data_xfer_size":1048576"#] {
            assert!(text.contains(limit), "{limit} in {text}");
        }
        client.still_in_step();
    }
}

#[test]
fn a_version_without_reply_opens_the_device_without_a_word() {
    let server = Server::of(card);
    let mut client = Client::connect(&server.path());
    client.send(command::VERSION, NO_REPLY, &version(0, 0, "{}"), &[]);
    client.still_in_step();
}
