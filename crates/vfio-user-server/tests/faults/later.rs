//! Faults that a device is given while it is served.

use std::os::fd::AsFd;
use std::time::Duration;

use vfio_user_server::wire::Command;
use vfio_user_server::{EndpointId, EventLoop, Fault};

use crate::client::{
    Client, NO_REPLY, QEMU_CAPABILITIES, access, command, count, errno, eventfd, message, version,
};
use crate::irqs;
use crate::irqs::{EVENTFD, INTX, MSIX, NONE, TRIGGER, UNMASK};
use crate::read;
use crate::server::Server;

const EIO: u32 = 5;

fn served() -> (Server, Client) {
    let server = Server::of(irqs::description);
    let client = Client::negotiated(&server.path());
    (server, client)
}

#[track_caller]
fn give(server: &Server, id: EndpointId, faults: &[&str]) -> bool {
    let faults: Vec<Fault> = faults.iter().map(|text| text.parse().unwrap()).collect();
    server.ask(move |event_loop| event_loop.set_faults(id, faults))
}

/// Reads of regions that have arrived, and bytes of answers.
fn counted(server: &Server, id: EndpointId) -> (u64, u64) {
    server.ask(move |event_loop| {
        let stats = event_loop.get(id).unwrap().stats();
        (stats.messages(Command::RegionRead), stats.bytes_sent())
    })
}

#[test]
fn what_is_not_there_is_given_none() {
    let (server, client) = served();
    let id = server.ids[0];
    drop(client);
    drop(server.ask(move |event_loop| event_loop.remove(id)).unwrap());
    assert!(!give(&server, id, &["stall"]));
}

#[test]
fn they_count_from_when_they_are_given_and_are_alone() {
    let (server, mut client) = served();
    let id = server.ids[0];
    (0..3).for_each(|_| drop(read(&mut client, 0).ok()));
    assert!(give(&server, id, &["error,errno=EIO,command=region-read,at=2"]));
    assert_eq!([(); 3].map(|()| read(&mut client, 0).error), [0, EIO, 0]);
    // The same once more: the count begins anew.
    assert!(give(&server, id, &["error,errno=EIO,command=region-read,at=2"]));
    assert_eq!([(); 3].map(|()| read(&mut client, 0).error), [0, EIO, 0]);
    assert!(give(&server, id, &["error,errno=6,command=region-read,count=always"]));
    assert_eq!([(); 2].map(|()| read(&mut client, 0).error), [6, 6]);
    assert!(give(&server, id, &[]));
    assert_eq!(read(&mut client, 0).error, 0);
}

#[test]
fn an_answer_that_is_held_up_stays_so_and_its_device_goes_on_with_the_next_client() {
    let (server, mut client) = served();
    let id = server.ids[0];
    assert!(give(&server, id, &["stall,command=region-read"]));
    let (reads, sent) = counted(&server, id);
    assert_eq!(reads, 0);
    client.send(command::REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
    while counted(&server, id).0 == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(give(&server, id, &[]));
    assert_eq!(counted(&server, id), (1, sent), "it is not answered now either");
    drop(client);
    read(&mut Client::negotiated(&server.path()), 0).ok();
}

#[test]
fn an_interrupt_that_sticks_comes_to_rest() {
    for index in [INTX, MSIX] {
        let (server, mut client) = served();
        let (id, irq) = (server.ids[0], eventfd(0));
        client.set_irqs([EVENTFD | TRIGGER, index, 0, 1], &[], &[irq.as_fd()]).ok();
        let fault = format!("stick-irq,index={index},count=always");
        assert!(give(&server, id, &[&fault]));
        for level in [1, 0] {
            client.write(0, 0xff0, &(index << 4 | level).to_le_bytes());
        }
        assert!(count(&irq) >= 1);
        let again = |client: &mut Client| {
            if index == INTX {
                client.set_irqs([NONE | UNMASK, INTX, 0, 1], &[], &[]).ok();
            }
            client.still_in_step();
            client.still_in_step();
            count(&irq)
        };
        assert!(again(&mut client) >= 1, "it sticks");
        // Others are there, of which none is about it.
        assert!(give(&server, id, &["drop,command=dma-map"]));
        count(&irq);
        assert_eq!(again(&mut client), 0, "index {index}");
    }
}

#[test]
fn who_is_told_late_that_the_device_is_in_use_does_not_hold_up_a_user_that_leaves_meanwhile() {
    let (server, mut user) = served();
    let id = server.ids[0];
    assert!(give(&server, id, &["delay,ms=50,command=version"]));
    let mut second = Client::connect(&server.path());
    second.send(command::VERSION, 0, &version(0, 0, QEMU_CAPABILITIES), &[]);
    let versions = move |event_loop: &mut EventLoop| {
        event_loop.get(id).unwrap().stats().messages(Command::Version)
    };
    while server.ask(versions) < 2 {}
    // When the loop goes on the second is to be told, and the first has left with much unread.
    server.handle.post(|_| std::thread::sleep(Duration::from_millis(200)));
    let write = message(9, command::REGION_WRITE, NO_REPLY, &access(0, 0, 4, &[1; 4]));
    user.send_raw(&write.repeat(2000));
    drop(user);
    assert_eq!(second.receive().unwrap().error, errno::EBUSY);
    drop(second);
    Client::negotiated(&server.path()).still_in_step();
}
