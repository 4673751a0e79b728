#![cfg(test)]
//! A client that sends and does not read: the server keeps what it owes, no more, and stays in order.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use client::{Client, NO_REPLY, access, command, count, eventfd, words};
use server::{Server, card};
use vfio_device::{BarKind, Description, IrqFlags, Region, SharedMemory};

const ROUNDS: u16 = 40;
const READ: u32 = 1 << 16;

/// Memory in BAR1 (64 KiB) and BAR2 (128 KiB), and vectors.
fn description() -> Description {
    let mapped = |size| Region::mapped(SharedMemory::new("backpressure", size).unwrap());
    card()
        .bar(1, BarKind::Memory32, mapped(0x1_0000))
        .bar(2, BarKind::Memory32, mapped(0x2_0000))
        .irq(2, IrqFlags::MSI, ROUNDS.into())
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A second end of the client's connection, for a thread that sends while this one reads.
fn sender(client: &Client) -> Client {
    Client::new(client.socket.try_clone().unwrap())
}

/// Conformance: S7.
#[test]
fn answers_come_in_order_and_descriptors_stay_with_their_messages_both_ways() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let irqs: Vec<OwnedFd> = (0..ROUNDS).map(|_| eventfd(0)).collect();
    let mut sending = sender(&client);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (vector, irq) in (0..u32::from(ROUNDS)).zip(&irqs) {
                sending.send(command::REGION_READ, 0, &access(1, 0, READ, &[]), &[]);
                let set = words(&[20, 0x24, 2, vector, 1]);
                sending.send(command::DEVICE_SET_IRQS, 0, &set, &[irq.as_fd()]);
                let region = words(&[32, 0, 1 + vector % 2, 0, 0, 0, 0, 0]);
                sending.send(command::DEVICE_GET_REGION_INFO, 0, &region, &[]);
                let posted = access(0, u64::from(vector), 1, &[vector as u8]);
                sending.send(command::REGION_WRITE, NO_REPLY, &posted, &[]);
            }
        });
        // The socket is full long before this.
        std::thread::sleep(Duration::from_millis(100));
        for round in 0..ROUNDS {
            let read = client.receive().unwrap().ok();
            assert_eq!((read.id, read.size), (4 * round + 1, 32 + READ));
            assert!(read.fds.is_empty());
            let set = client.receive().unwrap().ok();
            assert_eq!((set.id, set.command), (4 * round + 2, command::DEVICE_SET_IRQS));
            let info = client.receive().unwrap().ok();
            assert_eq!(info.id, 4 * round + 3);
            let [fd] = &info.fds[..] else { panic!("{} descriptors", info.fds.len()) };
            let size = rustix::fs::fstat(fd).unwrap().st_size as u64;
            assert_eq!((size, info.u64(16)), (0x1_0000 << (round % 2), size), "its own memory");
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    assert_eq!(client.read(0, 0, 3), [0, 1, 2]);
    for (vector, irq) in (0..u32::from(ROUNDS)).zip(&irqs) {
        client.set_irqs([0x21, 2, vector, 1], &[], &[]).ok();
        assert_eq!(count(irq), 1, "vector {vector}");
        assert!(irqs.iter().all(|other| count(other) == 0), "and no other");
    }
}

#[test]
fn descriptors_wait_for_their_message_behind_others_that_wait() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let irq = eventfd(0);
    let read = client::message(1, command::REGION_READ, 0, &access(1, 0, READ, &[]));
    let set = client::message(2, command::DEVICE_SET_IRQS, 0, &words(&[20, 0x24, 2, 0, 1]));
    // One read takes all of it, and most must wait until these answers are taken.
    let bytes = [read.repeat(20), set, read.repeat(2)].concat();
    let behind = bytes.len() - 2 * read.len();
    client.send_raw_with_fds(&bytes[..behind], &[irq.as_fd()]);
    client.send_raw(&bytes[behind..]);
    std::thread::sleep(Duration::from_millis(20));
    for at in 0..23 {
        let reply = client.receive().unwrap().ok();
        assert_eq!(reply.id, if at == 20 { 2 } else { 1 });
    }
    client.set_irqs([0x21, 2, 0, 1], &[], &[]).ok();
    assert_eq!(count(&irq), 1);
}

#[test]
fn descriptors_of_answers_that_waited_are_sent_with_them() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let mut sending = sender(&client);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1000 {
                let body = words(&[32, 0, 1 + number % 2, 0, 0, 0, 0, 0]);
                sending.send(command::DEVICE_GET_REGION_INFO, 0, &body, &[]);
            }
        });
        std::thread::sleep(Duration::from_millis(150));
        for number in 0..1000 {
            let reply = client.receive().unwrap().ok();
            let [fd] = &reply.fds[..] else { panic!("answer {number}: {:?}", reply.fds) };
            let size = rustix::fs::fstat(fd).unwrap().st_size;
            assert_eq!(size, 0x1_0000 << (number % 2), "answer {number}");
        }
    });
}

/// Conformance: B6.
#[test]
fn what_is_not_read_costs_no_memory_and_no_time_and_nobody_else_s_patience() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let before = resident();
    client.socket.set_nonblocking(true).unwrap();
    let read = client::message(1, command::REGION_READ, 0, &access(1, 0, READ, &[]));
    let mut sent = 0;
    // Until nothing more is taken: neither by the server nor by the socket.
    for _ in 0..20 {
        while let Ok(size) = client.socket.write(&read) {
            sent += size;
            assert!(sent < 4 << 20, "the server takes whatever comes");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes for answers that nobody takes");
    server.is_asleep();
    Client::connect(&server.path())
        .call(command::VERSION, &client::version(0, 0, "{}"))
        .refused(client::errno::EBUSY);
}

#[test]
fn a_client_that_leaves_with_answers_unread_is_let_go_at_once() {
    let server = Server::of(description);
    for _ in 0..10 {
        let mut client = Client::negotiated(&server.path());
        let irq = eventfd(0);
        client.set_irqs([0x24, 2, 0, 1], &[], &[irq.as_fd()]).ok();
        for _ in 0..8 {
            client.send(command::REGION_READ, 0, &access(1, 0, READ, &[]), &[]);
        }
        std::thread::sleep(Duration::from_millis(2));
        drop(client);
        Client::negotiated(&server.path()).still_in_step();
        assert_eq!(client::holders(&irq), 1);
    }
}

/// Conformance: S11.
#[test]
fn a_refusal_that_ends_the_connection_waits_behind_answers_unread() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for _ in 0..8 {
        client.send(command::REGION_READ, 0, &access(1, 0, READ, &[]), &[]);
    }
    client.send_raw(&client::header(77, command::REGION_READ, 3, 0));
    std::thread::sleep(Duration::from_millis(20));
    for _ in 0..8 {
        assert_eq!(client.receive().unwrap().ok().size, 32 + READ);
    }
    let last = client.receive().unwrap();
    assert_eq!(last.id, 77);
    last.refused(client::errno::EINVAL);
    client.is_closed();
}
