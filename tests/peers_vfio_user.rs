#![cfg(test)]
//! What breaks the server of rust-vmm's `vfio_user` crate 0.1.7, tried on the program. R1 to R18 are the ways found
//! there; each test says its own, and R15 and R16 are in `peers_vfio_user_waiting.rs`. In all of them the next client is
//! served and no descriptor is left.

#[path = "common/bodies.rs"]
mod bodies;
#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;
#[path = "common/watched.rs"]
mod watched;

use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use bodies::*;
use client::command::*;
use client::errno::{EINVAL, ENOTSUP};
use client::{
    NO_REPLY, QEMU_CAPABILITIES, access, count, eventfd, header, message, version, words,
};
use watched::{Watched, within_5_s};

/// R1: a panic there.
#[test]
fn version_data_may_be_absent_but_not_be_without_its_nul_or_with_another() {
    let watched = Watched::serve();
    let reply = watched.proposed(&words(&[0])).1.ok();
    assert_eq!((reply.u32(0), reply.body.last()), (0, Some(&0)), "0.0, and data that end in NUL");
    for text in [&b"{}"[..], b"", b"{}\0\0", b"\0{}\0", b"{\0}\0"] {
        let body = [&[0; 4], text].concat();
        let (mut client, reply) = watched.proposed(&body);
        if text.is_empty() {
            reply.ok();
            continue;
        }
        reply.refused(EINVAL);
        client.is_closed();
    }
    watched.serves_the_next();
}

/// R2: a panic there, or a giant allocation.
#[test]
fn a_version_shorter_than_its_own_fields_is_refused() {
    let watched = Watched::serve();
    for size in (0..20).chain([0x8000_0000, u32::MAX]) {
        let mut client = watched.connect();
        let body = vec![0; size.clamp(16, 20) as usize - 16];
        client.send_raw(&[header(1, VERSION, size, 0), body].concat());
        client.receive().unwrap().refused(EINVAL);
        client.is_closed();
    }
    watched.serves_the_next();
}

/// R3: refused with errno 0 there.
#[test]
fn capabilities_may_be_left_out() {
    let watched = Watched::serve();
    for json in ["{}", r#"{"capabilities":{}}"#, r#"{"capabilities":{"migration":{}}}"#] {
        watched.proposed(&version(0, 1, json)).1.ok();
    }
    watched.serves_the_next();
}

/// R4: allocated there before any check.
/// Conformance: B10.
#[test]
fn announced_gigabytes_cost_no_memory() {
    let watched = Watched::serve();
    watched.serves_the_next();
    let before = watched.resident();
    for size in [1 << 20, 1 << 30, u32::MAX] {
        // Less than 1 MiB + 32 is waited for, until the client leaves.
        let mut client = watched.connect();
        client.send_raw(&header(1, VERSION, size, 0));
        if size > (1 << 20) + 32 {
            client.receive().unwrap().refused(EINVAL);
            client.is_closed();
        }
    }
    let mut client = watched.negotiated();
    for count in [(1 << 20) + 1, 1 << 30, u32::MAX] {
        client.call(REGION_READ, &access(CONFIG, 0, count, &[])).refused(EINVAL);
        client.call(REGION_WRITE, &access(CONFIG, 0, count, &[1, 2, 3, 4])).refused(EINVAL);
        client.still_in_step();
    }
    client.send_raw(&header(1, REGION_WRITE, 1 << 30, 0));
    client.receive().unwrap().refused(EINVAL);
    client.is_closed();
    let growth = watched.resident().saturating_sub(before);
    assert!(growth < 4096, "{growth} KiB more than before");
    watched.serves_the_next();
}

/// R5: passed on to the device there.
#[test]
fn an_access_that_is_not_within_a_region_is_refused() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let outside = [
        (0, 8, 1),
        (0, 7, 2),
        (0, 0, 9),
        (0, u64::MAX, 1),
        (0, u64::MAX - 3, 8),
        (CONFIG, 255, 2),
        (CONFIG, 256, 1),
        (CONFIG, 0, 257),
        (2, 0, 1),
        (6, 0, 4),
        (8, 0, 1),
        (9, 0, 1),
        (u32::MAX, 0, 1),
    ];
    for (region, offset, count) in outside {
        client.call(REGION_READ, &access(region, offset, count, &[])).refused(EINVAL);
        let data = vec![0; count as usize];
        client.call(REGION_WRITE, &access(region, offset, count, &data)).refused(EINVAL);
    }
    client.still_in_step();
    for width in 0..=8 {
        assert_eq!(client.read(0, 8 - u64::from(width), width).len(), width as usize);
    }
    drop(client);
    watched.serves_the_next();
}

/// R6: what is too much becomes the next header there, what is missing is waited for.
/// Conformance: S15.
#[test]
fn a_body_that_does_not_fit_its_command_is_refused_and_skipped() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for (command, body) in right_bodies() {
        for size in 0..body.len() + 40 {
            if size == body.len() {
                continue;
            }
            let mut wrong = body.clone();
            wrong.resize(size, 0);
            client.call(command, &wrong).refused(EINVAL);
        }
        client.still_in_step();
    }
    drop(client);
    watched.serves_the_next();
}

/// R7: the body of what is refused is taken for the next header there.
#[test]
fn the_body_of_a_refused_command_is_skipped() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let body = vec![0xff; 1 << 20];
    for (command, errno) in [
        (0, ENOTSUP),
        (14, ENOTSUP),
        (19, ENOTSUP),
        (999, ENOTSUP),
        (u16::MAX, ENOTSUP),
        (DEVICE_FEATURE, ENOTSUP),
        (MIG_DATA_READ, ENOTSUP),
        (MIG_DATA_WRITE, ENOTSUP),
        (DMA_READ, EINVAL),
        (DMA_WRITE, EINVAL),
        (VERSION, EINVAL),
        (REGION_WRITE_MULTI, EINVAL),
    ] {
        for size in [0, 1, 8, 15, 16, 17, 100_000, 1 << 20] {
            client.call(command, &body[..size]).refused(errno);
        }
        client.still_in_step();
    }
    // Irq flags that contradict each other, with a byte too many.
    client.set_irqs([0x6 | 0x20, 0, 0, 1], &[1], &[]).refused(EINVAL);
    client.set_irqs([0x2 | 0x20, 0, 0, 1], &[1, 1], &[]).refused(EINVAL);
    client.still_in_step();
    // No_reply on what can only be asked: it is done, and not answered.
    client.send(DEVICE_GET_INFO, NO_REPLY, &words(&[16, 0, 0, 0]), &[]);
    client.still_in_step();

    drop(client);
    let (mut plain, reply) = watched.proposed(&version(0, 0, "{}"));
    reply.ok();
    plain.call(REGION_WRITE_MULTI, &[0; 8]).refused(ENOTSUP);
    plain.still_in_step();
    drop(plain);
    watched.serves_the_next();
}

/// R8: a header half filled is used there.
#[test]
fn a_header_may_come_in_two_pieces() {
    let watched = Watched::serve();
    let mut client = watched.connect();
    let whole = message(7, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES));
    for cut in 1..16 {
        let mut client = watched.connect();
        client.send_raw(&whole[..cut]);
        std::thread::sleep(Duration::from_millis(2));
        client.send_raw(&whole[cut..]);
        assert_eq!(client.receive().unwrap().ok().id, 7, "cut after {cut} bytes");
        client.socket.shutdown(Shutdown::Both).unwrap();
    }
    for byte in whole {
        client.send_raw(&[byte]);
    }
    client.receive().unwrap().ok();
    client.still_in_step();
    drop(client);
    watched.serves_the_next();
}

/// R9: more than 16 descriptors end the server there.
/// Conformance: B11.
#[test]
fn too_many_descriptors_are_closed_and_refused() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let file = eventfd(0);
    let many: [BorrowedFd<'_>; 253] = [file.as_fd(); 253];
    let before = watched.descriptors();
    for number in [1, 16, 17, 253] {
        for (command, body) in right_bodies() {
            if command != DMA_MAP || number > 1 {
                client.call_with_fds(command, &body, &many[..number]).refused(EINVAL);
            }
        }
        client.still_in_step();
        within_5_s(&format!("after messages with {number}"), || watched.descriptors() == before);
    }
    drop(client);
    watched.serves_the_next();
}

/// R10 and R11: executed there.
#[test]
fn what_is_no_command_or_comes_before_version_is_not_executed() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    client.write(0, SCR, &[0x11]);
    for kind in 1..16 {
        client.send(REGION_WRITE, kind, &access(0, SCR, 1, &[0x22]), &[]);
        client.receive().unwrap().refused(EINVAL);
        client.still_in_step();
        client.send(REGION_WRITE, kind | NO_REPLY, &access(0, SCR, 1, &[0x22]), &[]);
        client.still_in_step();
    }
    client.socket.shutdown(Shutdown::Both).unwrap();

    let mut client = watched.connect();
    for (command, body) in right_bodies() {
        client.call(command, &body).refused(EINVAL);
        client.send(command, NO_REPLY, &body, &[]);
    }
    client.negotiate();
    assert_eq!(client.read(0, SCR, 1), [0x11]);
    drop(client);
    watched.serves_the_next();
}

/// R12: answered there.
/// Conformance: S6.
#[test]
fn no_reply_means_no_reply_not_even_an_error() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for (command, body) in right_bodies() {
        for body in [&body[..], &[0xff; 5]] {
            client.send(command, NO_REPLY, body, &[]);
        }
    }
    client.send(999, NO_REPLY, &[1], &[]);
    client.still_in_step();
    // A refusal that ends the session does so without a word.
    client.send_raw(&header(1, REGION_WRITE, 15, NO_REPLY));
    client.is_closed();
    watched.serves_the_next();
}

/// R13: 0 there.
/// Conformance: S5.
#[test]
fn a_refusal_has_an_errno() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for command in 0..64 {
        let reply = client.call(command, &[0xff; 3]);
        assert_eq!((reply.flags, reply.size), (0x21, 16), "command {command}");
        assert!(reply.error == EINVAL || reply.error == ENOTSUP, "{command}: {}", reply.error);
    }
    client.still_in_step();
    drop(client);
    watched.serves_the_next();
}

/// R14: not looked at there.
#[test]
fn irq_ranges_and_descriptors_are_checked_against_the_index() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let (one, two) = (eventfd(0), eventfd(0));
    let eventfds = [one.as_fd(), two.as_fd()];
    let before = watched.descriptors();
    let trigger = |start, count| [TRIGGER_EVENTFD, 0, start, count];
    for (set, fds) in [
        (trigger(0, 2), &eventfds[..]),
        (trigger(1, 1), &eventfds[..1]),
        (trigger(0, 1), &eventfds),
        (trigger(0, 0), &eventfds[..1]),
        (trigger(u32::MAX, 2), &eventfds),
        (trigger(1, u32::MAX), &[]),
        (trigger(0, u32::MAX), &[]),
        ([TRIGGER_EVENTFD, 2, 0, 1], &eventfds[..1]),
        ([TRIGGER_EVENTFD, 5, 0, 1], &eventfds[..1]),
        ([TRIGGER_EVENTFD, u32::MAX, 0, 1], &eventfds[..1]),
        ([TRIGGER_NONE, 0, 0, 1], &[]),
    ] {
        client.set_irqs(set, &[], fds).refused(EINVAL);
        client.still_in_step();
        within_5_s(&format!("after {set:?}"), || watched.descriptors() == before);
    }
    // Taken away before any was given: the sample server of that crate indexes an empty list.
    client.set_irqs(trigger(0, 1), &[], &[]).ok();
    client.set_irqs(trigger(0, 1), &[], &eventfds[..1]).ok();
    client.set_irqs([TRIGGER_NONE, 0, 0, 1], &[], &[]).ok();
    assert_eq!(count(&one), 1);
    drop(client);
    watched.serves_the_next();
}

/// R17: the device does not hear of it there.
/// Conformance: B42.
#[test]
fn when_a_client_leaves_its_maps_and_eventfds_go_and_the_registers_stay() {
    let watched = Watched::serve();
    let memory = memory(8192);
    let map = map(3, 0, 0x10000, 8192);
    for round in 0..3 {
        let mut client = watched.negotiated();
        if round > 0 {
            assert_eq!(client.read(0, SCR, 1), [round - 1]);
        }
        client.write(0, SCR, &[round]);
        client.call_with_fds(DMA_MAP, &map, &[memory.as_fd()]).ok();
        let line = eventfd(0);
        // Not set up by an earlier client.
        client.set_irqs([TRIGGER_NONE, 0, 0, 1], &[], &[]).refused(EINVAL);
        client.set_irqs([TRIGGER_EVENTFD, 0, 0, 1], &[], &[line.as_fd()]).ok();
        drop(client);
        watched.holds_no_more_than_at_first();
    }
    watched.serves_the_next();
}

/// R18: it says 1 there.
#[test]
fn it_takes_16_descriptors_a_message_by_its_own_account() {
    let watched = Watched::serve();
    let reply = watched.proposed(&version(0, 0, QEMU_CAPABILITIES)).1.ok();
    let text = String::from_utf8(reply.body[4..].to_vec()).unwrap();
    assert!(text.contains(r#""max_msg_fds":16,"#), "{text}");
    watched.serves_the_next();
}
