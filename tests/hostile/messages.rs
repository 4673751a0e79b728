//! Messages that are none.

use std::os::fd::AsFd;

use crate::arena::{Arena, in_one_line};
use crate::bodies::{CONFIG, TRIGGER_NONE, map, memory, right_bodies, unmap};
use crate::client::command::{
    DEVICE_FEATURE, DEVICE_GET_INFO, DEVICE_SET_IRQS, DMA_MAP, DMA_UNMAP, MIG_DATA_READ, VERSION,
};
use crate::client::errno::{EINVAL, ENOTSUP};
use crate::client::{QEMU_CAPABILITIES, Witness, access, eventfd, header, message, version, words};

#[test]
fn a_message_that_ends_at_any_of_its_bytes() {
    let arena = Arena::start();
    arena.withstands("left without a VERSION", |arena| {
        let hello = message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES));
        for end in 0..hello.len() {
            arena.connect().send_raw(&hello[..end]);
        }
        for (command, body) in right_bodies() {
            let whole = message(1, command, 0, &body);
            arena.client().send_raw(&whole[..whole.len() - 1]);
        }
    });
}

#[test]
fn a_size_that_no_message_can_have() {
    let arena = Arena::start();
    arena.withstands("message size 4294967295 exceeds the limit", |arena| {
        for size in [u32::MAX, 1 << 31, (1 << 20) + 33, 15, 1, 0] {
            let mut client = arena.client();
            client.send_raw(&header(7, DEVICE_GET_INFO, size, 0));
            client.receive().unwrap().refused(EINVAL);
            client.is_closed();
            let mut stranger = arena.connect();
            stranger.send_raw(&header(7, VERSION, size, 0));
            stranger.receive().unwrap().refused(EINVAL);
            stranger.is_closed();
        }
    });
}

#[test]
fn bodies_that_are_a_byte_too_long_or_too_short() {
    let arena = Arena::start();
    let log = arena.withstands("cannot have a body of", |arena| {
        let mut client = arena.client();
        for (command, body) in right_bodies() {
            let sizes = [body.len().checked_sub(1), Some(body.len() + 1)];
            for size in sizes.into_iter().flatten() {
                let mut wrong = body.clone();
                wrong.resize(size, 0);
                client.call(command, &wrong).refused(EINVAL);
            }
        }
        for command in [DEVICE_FEATURE, MIG_DATA_READ, 999] {
            client.call(command, &[0; 7]).refused(ENOTSUP);
        }
        client.still_in_step();
    });
    in_one_line(&log);
    assert!(log.iter().any(|line| line.ends_with("has left (refused commands: 24)")));
}

#[test]
fn flags_that_mean_nothing() {
    let arena = Arena::start();
    let log = arena.withstands("are not those of a command", |arena| {
        let mut client = arena.client();
        for bit in 0..4 {
            let id = client.send(DEVICE_GET_INFO, 1 << bit, &words(&[16, 0, 0, 0]), &[]);
            let reply = client.receive().unwrap();
            reply.refused(EINVAL);
            assert_eq!(reply.id, id);
        }
        // Those that no version has given a meaning are not looked at.
        for bit in 6..32 {
            client.send(DEVICE_GET_INFO, 1 << bit, &words(&[16, 0, 0, 0]), &[]);
            assert_eq!(client.receive().unwrap().ok().u32(0), 16);
        }
        for bit in 2..32 {
            let memory = memory(4096);
            let body = map(1 << bit, 0, 0x10000, 4096);
            client.call_with_fds(DMA_MAP, &body, &[memory.as_fd()]).refused(EINVAL);
            client.call(DMA_UNMAP, &unmap(1 << bit, 0x10000, 4096)).refused(EINVAL);
        }
        for bit in 6..32 {
            let body = words(&[20, TRIGGER_NONE | 1 << bit, 0, 0, 1]);
            client.call(DEVICE_SET_IRQS, &body).refused(EINVAL);
        }
        client.still_in_step();
    });
    in_one_line(&log);
}

#[test]
fn descriptors_where_none_belong_and_253_of_them() {
    let arena = Arena::start();
    let log = arena.withstands("descriptors do not belong with the message", |arena| {
        let (witness, event) = (Witness::new(), eventfd(0));
        let mut client = arena.client();
        let info = words(&[16, 0, 0, 0]);
        client.call_with_fds(DEVICE_GET_INFO, &info, &[witness.fd()]).refused(EINVAL);
        for (command, body) in right_bodies() {
            // DMA_MAP may have one: this is not memory.
            client.call_with_fds(command, &body, &[witness.fd()]).refused(EINVAL);
        }
        let mut many = vec![witness.fd(); 252];
        many.push(event.as_fd());
        for (command, body) in right_bodies() {
            let reply = client.call_with_fds(command, &body, &many);
            assert_ne!(reply.error, 0, "command {command}");
        }
        // With every piece of a message.
        for byte in message(9, DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0])) {
            client.send_raw_with_fds(&[byte], &many);
        }
        assert_ne!(client.receive().unwrap().error, 0);
        assert_eq!(client.read(CONFIG, 0, 2), [0x48, 0x43]);
        // From somebody who has said nothing yet, and says no more.
        let mut stranger = arena.connect();
        stranger.send_raw_with_fds(&message(1, 9, 0, &access(0, 7, 1, &[]))[..8], &many);
        witness.expect_closed();
    });
    assert!(log.len() <= 6, "{log:#?}");
}
