#![cfg(test)]
//! DEVICE_SET_IRQS: what it does. The refusals are in `device_set_irqs.rs`.

#![expect(clippy::host_endian_bytes, reason = "the wire and eventfds are in host order")]

#[path = "common/client.rs"]
mod client;
#[path = "common/irqs.rs"]
mod irqs;
#[path = "common/server.rs"]
mod server;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use client::{Client, NO_REPLY, command, count, eventfd, holders, words};
use irqs::*;
use server::Server;

fn served() -> (Server, Client) {
    let server = Server::of(description);
    let client = Client::negotiated(&server.path());
    (server, client)
}

/// Has the device state a level.
fn level(client: &mut Client, index: u32, vector: u32, high: bool) {
    client.write(0, 0xff0, &(vector << 8 | index << 4 | u32::from(high)).to_le_bytes());
}

fn install(client: &mut Client, index: u32, start: u32, fds: &[BorrowedFd<'_>]) {
    let number = u32::try_from(fds.len()).unwrap();
    client.set_irqs([EVENTFD | TRIGGER, index, start, number], &[], fds).ok();
}

/// A command without data or descriptors.
fn plain(client: &mut Client, flags: u32, index: u32, start: u32, number: u32) {
    assert_eq!(client.set_irqs([flags, index, start, number], &[], &[]).ok().size, 16);
}

/// Waits for a signal, and takes it.
#[track_caller]
fn signalled(eventfd: &OwnedFd) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let signals = count(eventfd);
        if signals != 0 {
            return signals;
        }
        assert!(Instant::now() < deadline, "no signal");
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn unmask_by(client: &mut Client, resample: &OwnedFd) {
    client.set_irqs([EVENTFD | UNMASK, INTX, 0, 1], &[], &[resample.as_fd()]).ok();
}

fn write_one(eventfd: &OwnedFd) {
    assert_eq!(rustix::io::write(eventfd, &1u64.to_ne_bytes()), Ok(8));
}

/// Conformance: A68.
#[test]
fn taking_an_index_down_that_was_never_set_up_is_fine() {
    let (_server, mut client) = served();
    for index in [INTX, 1, MSIX, 3, REQ, OWN] {
        plain(&mut client, NONE | TRIGGER, index, 0, 0);
    }
}

/// Conformance: A69.
#[test]
fn no_descriptors_take_away_those_that_are_there() {
    let (_server, mut client) = served();
    plain(&mut client, EVENTFD | TRIGGER, REQ, 0, 1);
    let fds = [eventfd(0), eventfd(0)];
    install(&mut client, MSIX, 0, &[fds[0].as_fd(), fds[1].as_fd()]);
    plain(&mut client, EVENTFD | TRIGGER, MSIX, 0, 1);
    assert_eq!((holders(&fds[0]), holders(&fds[1])), (1, 2));
    level(&mut client, MSIX, 0, true);
    level(&mut client, MSIX, 1, true);
    assert_eq!((count(&fds[0]), count(&fds[1])), (0, 1));
}

/// Conformance: A70, A71.
#[test]
fn a_second_descriptor_takes_the_place_of_the_first_which_is_closed() {
    let (_server, mut client) = served();
    let (first, second) = (eventfd(0), eventfd(0));
    install(&mut client, MSIX, 0, &[first.as_fd()]);
    assert_eq!(holders(&first), 2);
    install(&mut client, MSIX, 0, &[second.as_fd()]);
    assert_eq!((holders(&first), holders(&second)), (1, 2));
    plain(&mut client, NONE | TRIGGER, MSIX, 0, 1);
    assert_eq!((count(&first), count(&second)), (0, 1));
}

/// Conformance: A74, A75.
#[test]
fn vectors_are_fired_by_hand() {
    let (_server, mut client) = served();
    let fds = [eventfd(4), eventfd(8)];
    install(&mut client, MSIX, 0, &[fds[0].as_fd(), fds[1].as_fd()]);
    plain(&mut client, NONE | TRIGGER, MSIX, 1, 1);
    assert_eq!((count(&fds[0]), count(&fds[1])), (4, 9));
    client.set_irqs([BOOL | TRIGGER, MSIX, 0, 2], &[0, 1], &[]).ok();
    assert_eq!((count(&fds[0]), count(&fds[1])), (0, 1));
    client.set_irqs([BOOL | TRIGGER, MSIX, 0, 2], &[0xff, 0], &[]).ok();
    assert_eq!((count(&fds[0]), count(&fds[1])), (1, 0));
}

/// Conformance: A77, A78.
#[test]
fn the_device_fires_the_vector_that_it_means() {
    let (_server, mut client) = served();
    let eight = eventfd(4);
    install(&mut client, MSIX, 8, &[eight.as_fd()]);
    level(&mut client, MSIX, 8, true);
    assert_eq!(count(&eight), 5);
    // Without a descriptor, and beyond the last.
    level(&mut client, MSIX, 9, true);
    level(&mut client, MSIX, 2048, true);
    level(&mut client, MSIX, 0xff_ffff, true);
    assert_eq!(count(&eight), 0);
}

/// Conformance: S9.
#[test]
fn sixteen_descriptors_come_in_one_message_and_keep_their_order() {
    let (_server, mut client) = served();
    let fds: Vec<_> = (0..16).map(|_| eventfd(0)).collect();
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    install(&mut client, MSIX, 100, &borrowed);
    for vector in 0..16 {
        level(&mut client, MSIX, 100 + vector, true);
        let counts: Vec<_> = fds.iter().map(count).collect();
        let expected: Vec<_> = (0..16).map(|at| u64::from(at == vector)).collect();
        assert_eq!(counts, expected);
    }
}

/// Conformance: B31.
#[test]
fn msix_is_set_up_as_qemu_does_it() {
    let (_server, mut client) = served();
    plain(&mut client, NONE | TRIGGER, MSIX, 0, 0);
    plain(&mut client, EVENTFD | TRIGGER, MSIX, 0, 1);
    let fds: Vec<_> = (0..3).map(|_| eventfd(0)).collect();
    for (vector, fd) in (0..).zip(&fds) {
        install(&mut client, MSIX, vector, &[fd.as_fd()]);
    }
    for vector in 0..3 {
        level(&mut client, MSIX, vector, true);
    }
    assert_eq!(fds.iter().map(count).collect::<Vec<_>>(), [1, 1, 1]);
    plain(&mut client, NONE | TRIGGER, MSIX, 0, 0);
    assert!(fds.iter().all(|fd| holders(fd) == 1), "all descriptors are closed");
    install(&mut client, INTX, 0, &[fds[0].as_fd()]);
}

/// Conformance: S46.
#[test]
fn what_comes_while_a_vector_is_masked_fires_once_at_unmask() {
    let (_server, mut client) = served();
    let fds: Vec<_> = (0..4).map(|_| eventfd(0)).collect();
    install(&mut client, OWN, 0, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>());
    client.set_irqs([BOOL | MASK, OWN, 0, 4], &[1, 0, 1, 0], &[]).ok();
    for _ in 0..2 {
        plain(&mut client, NONE | TRIGGER, OWN, 0, 4);
    }
    assert_eq!(fds.iter().map(count).collect::<Vec<_>>(), [0, 2, 0, 2]);
    client.set_irqs([BOOL | UNMASK, OWN, 0, 4], &[1, 1, 0, 0], &[]).ok();
    assert_eq!(fds.iter().map(count).collect::<Vec<_>>(), [1, 0, 0, 0]);
    plain(&mut client, NONE | UNMASK, OWN, 0, 4);
    assert_eq!(fds.iter().map(count).collect::<Vec<_>>(), [0, 0, 1, 0]);
}

/// Conformance: S43.
#[test]
fn intx_masks_itself_and_fires_again_at_unmask_while_it_is_high() {
    let (_server, mut client) = served();
    let irq = eventfd(0);
    install(&mut client, INTX, 0, &[irq.as_fd()]);
    level(&mut client, INTX, 0, true);
    assert_eq!(count(&irq), 1);
    level(&mut client, INTX, 0, false);
    level(&mut client, INTX, 0, true);
    assert_eq!(count(&irq), 0, "it has masked itself");
    plain(&mut client, NONE | UNMASK, INTX, 0, 1);
    assert_eq!(count(&irq), 1, "it is still high");
    level(&mut client, INTX, 0, false);
    plain(&mut client, NONE | UNMASK, INTX, 0, 1);
    assert_eq!(count(&irq), 0, "it is low");
}

/// Conformance: B32.
#[test]
fn kvm_s_resampler_unmasks_by_eventfd() {
    let (server, mut client) = served();
    let (irq, resample) = (eventfd(0), eventfd(0));
    install(&mut client, INTX, 0, &[irq.as_fd()]);
    plain(&mut client, NONE | MASK, INTX, 0, 1);
    unmask_by(&mut client, &resample);
    plain(&mut client, NONE | UNMASK, INTX, 0, 1);
    assert_eq!(count(&irq), 0);
    level(&mut client, INTX, 0, true);
    assert_eq!(count(&irq), 1);
    for _ in 0..100 {
        write_one(&resample);
        assert_eq!(signalled(&irq), 1, "the line is still up");
    }
    level(&mut client, INTX, 0, false);
    write_one(&resample);
    client.still_in_step();
    server.is_asleep();
    assert_eq!((count(&irq), count(&resample)), (0, 0), "the line is down, the signal taken");
    level(&mut client, INTX, 0, true);
    assert_eq!(count(&irq), 1, "and it was unmasked");
}

/// Conformance: B33.
#[test]
fn a_new_descriptor_fires_at_once_while_the_line_is_high() {
    let (_server, mut client) = served();
    let (first, second) = (eventfd(0), eventfd(0));
    level(&mut client, INTX, 0, true);
    install(&mut client, INTX, 0, &[first.as_fd()]);
    assert_eq!(count(&first), 1);
    install(&mut client, INTX, 0, &[second.as_fd()]);
    assert_eq!((count(&first), count(&second)), (0, 1));
}

/// Conformance: S47.
#[test]
fn an_unmask_descriptor_can_be_replaced_and_taken_away() {
    let (server, mut client) = served();
    let (irq, first, second) = (eventfd(0), eventfd(0), eventfd(0));
    install(&mut client, INTX, 0, &[irq.as_fd()]);
    level(&mut client, INTX, 0, true);
    assert_eq!(count(&irq), 1);
    unmask_by(&mut client, &first);
    unmask_by(&mut client, &second);
    client.still_in_step();
    assert_eq!(holders(&first), 1);
    write_one(&first);
    write_one(&second);
    assert_eq!(signalled(&irq), 1);
    plain(&mut client, EVENTFD | UNMASK, INTX, 0, 1);
    client.still_in_step();
    assert_eq!(holders(&second), 1);
    write_one(&second);
    server.is_asleep();
    assert_eq!((count(&irq), count(&first), count(&second)), (0, 1, 1));
}

/// Conformance: S49.
#[test]
fn an_unmask_descriptor_that_the_client_keeps_does_not_keep_the_loop_awake() {
    let (server, mut client) = served();
    let (irq, resample) = (eventfd(0), eventfd(0));
    install(&mut client, INTX, 0, &[irq.as_fd()]);
    unmask_by(&mut client, &resample);
    plain(&mut client, NONE | TRIGGER, INTX, 0, 0);
    write_one(&resample);
    server.is_asleep();
    // The same by leaving.
    unmask_by(&mut client, &resample);
    drop(client);
    Client::negotiated(&server.path()).still_in_step();
    count(&resample);
    write_one(&resample);
    server.is_asleep();
    assert_eq!(holders(&resample), 1);
}

#[test]
fn an_unmask_descriptor_at_its_end_is_let_go() {
    let (server, mut client) = served();
    let irq = eventfd(0);
    install(&mut client, INTX, 0, &[irq.as_fd()]);
    // Readable, and yet no read of 8 bytes succeeds: an epoll with something ready in it.
    let inner = eventfd(1);
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    let flags = rustix::event::epoll::EventFlags::IN;
    rustix::event::epoll::add(&epoll, &inner, rustix::event::epoll::EventData::new_u64(0), flags)
        .unwrap();
    unmask_by(&mut client, &epoll);
    client.still_in_step();
    server.is_asleep();
    level(&mut client, INTX, 0, true);
    assert_eq!(count(&irq), 1);
    plain(&mut client, NONE | UNMASK, INTX, 0, 1);
    assert_eq!(count(&irq), 1, "all else works");
}

/// Conformance: B12.
#[test]
fn an_eventfd_at_its_limit_blocks_nothing() {
    let (_server, mut client) = served();
    let full = eventfd(0);
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::empty()).unwrap();
    rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    install(&mut client, MSIX, 0, &[full.as_fd()]);
    plain(&mut client, NONE | TRIGGER, MSIX, 0, 1);
    level(&mut client, MSIX, 0, true);
    client.still_in_step();
    assert!(count(&full) >= u64::MAX - 1);
}

#[test]
fn without_reply_it_is_done_all_the_same() {
    let (_server, mut client) = served();
    let irq = eventfd(0);
    let body = words(&[20, EVENTFD | TRIGGER, MSIX, 0, 1]);
    client.send(command::DEVICE_SET_IRQS, NO_REPLY, &body, &[irq.as_fd()]);
    let bad = words(&[20, EVENTFD | TRIGGER, MSIX, 2048, 1]);
    client.send(command::DEVICE_SET_IRQS, NO_REPLY, &bad, &[irq.as_fd()]);
    level(&mut client, MSIX, 0, true);
    assert_eq!((count(&irq), holders(&irq)), (1, 2));
}

#[test]
fn a_reset_keeps_what_is_set_up_and_lowers_the_line() {
    let (_server, mut client) = served();
    let irq = eventfd(0);
    install(&mut client, MSIX, 3, &[irq.as_fd()]);
    level(&mut client, MSIX, 3, true);
    client.call(command::DEVICE_RESET, &[]).ok();
    level(&mut client, MSIX, 3, true);
    assert_eq!(count(&irq), 2, "a rise again after the reset");
}

/// Conformance: S13.
#[test]
fn a_client_that_leaves_takes_its_descriptors_with_it() {
    let (server, mut client) = served();
    let (irq, resample) = (eventfd(0), eventfd(0));
    install(&mut client, INTX, 0, &[irq.as_fd()]);
    unmask_by(&mut client, &resample);
    drop(client);
    let mut next = Client::negotiated(&server.path());
    next.still_in_step();
    assert_eq!((holders(&irq), holders(&resample)), (1, 1));
    level(&mut next, INTX, 0, true);
    assert_eq!(count(&irq), 0);
    // And the kinds exclude each other no more: nothing is set up.
    install(&mut next, MSIX, 0, &[irq.as_fd()]);
}
