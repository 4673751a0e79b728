#![cfg(test)]
//! A device is taken away while others are served: hidden at once, its user is asked, waited for or let go.

#[path = "common/client.rs"]
mod client;
#[path = "common/heard.rs"]
mod heard;
#[path = "common/server.rs"]
mod server;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use client::errno::ENODEV;
use client::{Client, NO_REPLY, QEMU_CAPABILITIES, access, command, count, eventfd, version};
use heard::{Heard, Log};
use server::{Server, card, made};
use vfio_device::{Errno, State, Unregister};
use vfio_user_server::Event;

/// `VFIO_PCI_REQ_IRQ_INDEX`.
const REQ: u32 = 4;

/// A device that is to go, and a neighbour on the same loop.
fn street() -> (Server, Log) {
    let log = Log::default();
    let heard = Heard { log: log.clone(), busy: None };
    let first = made(move || (card().request_irq(), Box::new(heard)));
    let second = made(|| (card(), Box::new(server::Ram::default())));
    (Server::start_all(vec![first, second]), log)
}

fn hide(server: &Server) -> Option<Unregister> {
    let id = server.ids[0];
    server.ask(move |event_loop| event_loop.hide(id))
}

fn state(server: &Server) -> State {
    server.object(0).unwrap().state()
}

#[test]
fn what_is_not_there_cannot_be_hidden_asked_or_let_go() {
    let (server, _) = street();
    let id = server.ids[0];
    drop(server.ask(move |event_loop| event_loop.remove(id)).unwrap());
    assert_eq!(hide(&server), None);
    server.ask(move |event_loop| {
        assert!(!event_loop.request(id));
        event_loop.disconnect(id);
        event_loop.reset(id);
        assert_eq!(event_loop.write_region(id, 0, 0, &[1]), None);
    });
    Client::negotiated(&server.path_of(1)).still_in_step();
}

#[test]
fn a_device_without_a_user_is_unregistered_at_once_and_its_socket_is_gone() {
    let (server, _) = street();
    assert_eq!(hide(&server), Some(Unregister::Done));
    let refused = UnixStream::connect(server.path()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(state(&server), State::Unregistered);
    assert_eq!(hide(&server), Some(Unregister::Done), "to be asked as often as one likes");
    let id = server.ids[0];
    assert!(!server.ask(move |event_loop| event_loop.request(id)), "there is nobody to ask");
    Client::negotiated(&server.path_of(1)).still_in_step();
}

#[test]
fn a_user_stays_until_it_leaves_and_nobody_comes_after_it() {
    let (server, log) = street();
    let mut user = Client::negotiated(&server.path());
    assert_eq!(server.event(), (0, Event::ClientCame));
    let mut silent = Client::connect(&server.path());
    assert_eq!(hide(&server), Some(Unregister::InUse));
    assert_eq!(
        UnixStream::connect(server.path()).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
    let hello = version(0, 0, QEMU_CAPABILITIES);
    silent.call(command::VERSION, &hello).refused(ENODEV);
    user.write(0, 0, &[1]);
    user.still_in_step();
    assert_eq!((hide(&server), state(&server)), (Some(Unregister::InUse), State::Unregistering));
    drop(user);
    assert_eq!(server.event(), (0, Event::ClientLeft));
    assert_eq!((hide(&server), state(&server)), (Some(Unregister::Done), State::Unregistered));
    assert_eq!(log.all(), ["open", "write", "close"]);
    let object = server.object(0).unwrap();
    let id = server.ids[0];
    drop(server.ask(move |event_loop| event_loop.remove(id)).unwrap());
    assert_eq!(object.state(), State::Unregistered);
    Client::negotiated(&server.path_of(1)).still_in_step();
}

#[test]
fn the_user_is_asked_by_irq_index_req_once_a_round_and_only_while_it_is_waited_for() {
    let (server, _) = street();
    let mut user = Client::negotiated(&server.path());
    let id = server.ids[0];
    let ask = || server.ask(move |event_loop| event_loop.request(id));
    let irq = eventfd(0);
    assert!(!ask(), "it is not to go");
    hide(&server);
    assert!(!ask(), "there is no way to ask yet");
    user.set_irqs([0x24, REQ, 0, 1], &[], &[irq.as_fd()]).ok();
    assert!(ask() && ask());
    assert_eq!(count(&irq), 2);
}

#[test]
fn who_is_let_go_has_all_done_that_it_sent_and_is_a_client_that_left() {
    let (server, log) = street();
    let mut user = Client::negotiated(&server.path());
    assert_eq!(server.event(), (0, Event::ClientCame));
    let id = server.ids[0];
    server.held_up(|| {
        for _ in 0..3 {
            user.send(command::REGION_WRITE, NO_REPLY, &access(0, 0, 1, &[1]), &[]);
        }
        server.handle.post(move |event_loop| event_loop.disconnect(id));
    });
    assert_eq!(server.event(), (0, Event::ClientLeft));
    user.is_closed();
    assert_eq!(log.all(), ["open", "write", "write", "write", "close"]);
    // The device is there, and takes the next one.
    Client::negotiated(&server.path()).still_in_step();
}

#[test]
fn who_does_not_read_is_let_go_all_the_same() {
    let (server, _) = street();
    let mut user = Client::negotiated(&server.path());
    assert_eq!(server.event(), (0, Event::ClientCame));
    user.socket.set_nonblocking(true).unwrap();
    let read = client::message(9, command::REGION_READ, 0, &access(0, 0, 256, &[]));
    // Until nothing goes through any more, for long enough that it is no pause.
    let mut refused = 0;
    while refused < 20 {
        match std::io::Write::write(&mut user.socket, &read) {
            Ok(_) => refused = 0,
            Err(_) => {
                refused += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    let id = server.ids[0];
    server.ask(move |event_loop| event_loop.disconnect(id));
    assert_eq!(server.event(), (0, Event::ClientLeft));
    Client::negotiated(&server.path()).still_in_step();
}

#[test]
fn a_device_can_be_reset_from_the_host_while_it_is_used() {
    let (server, log) = street();
    let mut user = Client::negotiated(&server.path());
    user.call(command::REGION_WRITE, &access(7, 0x3c, 1, &[9])).ok();
    let id = server.ids[0];
    server.ask(move |event_loop| event_loop.reset(id));
    log.becomes(&["open", "reset"]);
    assert_eq!(user.read(7, 0x3c, 1), [0]);
}

#[test]
fn a_region_can_be_written_from_the_host_as_its_client_can() {
    let (server, _) = street();
    let id = server.ids[1];
    let write = |region, offset, data: &'static [u8]| {
        server.ask(move |event_loop| event_loop.write_region(id, region, offset, data)).unwrap()
    };
    assert_eq!(write(5, 0, &[1]), Err(Errno::INVAL), "a region without bytes");
    assert_eq!(write(0, 0xfff, &[1, 2]), Err(Errno::INVAL), "beyond its end");
    assert_eq!(write(0, 0xffe, &[1, 2]), Ok(()), "nobody uses it");
    let mut user = Client::negotiated(&server.path_of(1));
    assert_eq!(user.read(0, 0xffe, 2), [1, 2]);
    // An interrupt that follows is the client's.
    let irq = eventfd(0);
    user.set_irqs([0x24, 0, 0, 1], &[], &[irq.as_fd()]).ok();
    assert_eq!(write(0, 0xff0, &[1, 0, 0, 0]), Ok(()));
    assert_eq!(count(&irq), 1);
}

#[test]
fn a_loop_that_was_told_to_stay_waits_for_devices_to_come() {
    let (server, _) = street();
    let ids = server.ids.clone();
    let mut user = Client::negotiated(&server.path());
    server.ask(move |event_loop| {
        event_loop.stay();
        event_loop.hide(ids[0]);
        drop(event_loop.remove(ids[1]));
    });
    user.still_in_step();
    drop(user);
    assert_eq!(server.event(), (0, Event::ClientCame));
    assert_eq!(server.event(), (0, Event::ClientLeft));
    let later = server.add("later", card, &[]);
    Client::negotiated(&later).still_in_step();
    server.is_asleep();
}

/// Breaks whenever it is written to.
struct Brittle;

impl vfio_device::VfioDevice for Brittle {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut vfio_device::Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut vfio_device::Context) {
        std::panic::resume_unwind(Box::new(()));
    }
    fn reset(&mut self, _: &mut vfio_device::Context) {}
}

#[test]
fn a_device_that_a_message_breaks_is_told_of_and_its_neighbour_served() {
    let first = made(|| (card(), Box::new(Brittle)));
    let second = made(|| (card(), Box::new(server::Ram::default())));
    let server = Server::start_all(vec![first, second]);
    let id = server.ids[0];
    let mut user = Client::negotiated(&server.path());
    assert_eq!(server.event(), (0, Event::ClientCame));
    let stored = server.ask(move |event_loop| event_loop.write_region(id, 0, 0, &[1]));
    assert_eq!(stored, None, "there is nobody any more who could say");
    assert_eq!(server.event(), (0, Event::Faulted));
    user.is_closed();
    assert_eq!(hide(&server), None);
    Client::negotiated(&server.path_of(1)).still_in_step();
}
