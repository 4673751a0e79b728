#![cfg(test)]
//! What an endpoint counts, and who it says its user is.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::command::{DEVICE_GET_INFO, REGION_READ, REGION_WRITE};
use client::{Client, NO_REPLY, access, errno, header, message};
use server::Server;
use vfio_device::{BarKind, Description, Region};
use vfio_user_server::wire::Command;
use vfio_user_server::{Event, Stats, User};

fn server() -> Server {
    Server::of(|| Description::pci(0x1234, 0x5678).bar(0, BarKind::Memory32, Region::trapped(4096)))
}

fn stats(server: &Server) -> Stats {
    let id = server.ids[0];
    server.ask(move |event_loop| event_loop.get(id).unwrap().stats().clone())
}

fn user(server: &Server) -> Option<User> {
    let id = server.ids[0];
    server.ask(move |event_loop| event_loop.get(id).unwrap().user())
}

#[test]
fn strangers_are_no_clients_but_what_they_say_is_counted() {
    let server = server();
    let mut stranger = Client::connect(&server.path());
    stranger.call(DEVICE_GET_INFO, &[0; 16]).refused(errno::EINVAL);
    let stats = stats(&server);
    assert_eq!((stats.clients(), stats.refused()), (0, 1));
    assert_eq!(stats.messages(Command::DeviceGetInfo), 1);
    assert_eq!((stats.bytes_received(), stats.bytes_sent()), (32, 16));
    assert_eq!(user(&server), None);
}

#[test]
fn messages_are_counted_by_command_when_they_are_whole() {
    let server = server();
    let mut client = Client::negotiated(&server.path());
    for _ in 0..4 {
        client.read(0, 0, 4);
    }
    client.send(REGION_WRITE, NO_REPLY, &access(0, 0, 1, &[1]), &[]);
    client.call(14, &[]).refused(errno::ENOTSUP); // a command that the specification has dropped
    client.call(u16::MAX, &[]).refused(errno::ENOTSUP);
    client.call(REGION_READ, &access(0, 4096, 1, &[])).refused(errno::EINVAL);
    client.send_raw(&message(9, REGION_READ, 0, &access(0, 0, 4, &[]))[..31]); // all but a byte
    let counted = stats(&server);
    assert_eq!(counted.messages(Command::Version), 1);
    assert_eq!(counted.messages(Command::RegionRead), 5);
    assert_eq!(counted.messages(Command::RegionWrite), 1);
    assert_eq!(counted.messages(Command::DeviceReset), 0);
    assert_eq!(counted.unknown_messages(), 2);
    assert_eq!(counted.refused(), 3);
    let all = Command::ALL.iter().map(|command| counted.messages(*command)).sum::<u64>();
    assert_eq!(all, 7);
    // A size that no message can have is refused, and is no message.
    let mut client = Client::connect(&server.path());
    client.send_raw(&header(1, REGION_READ, 15, 0));
    client.receive().unwrap().refused(errno::EINVAL);
    let then = stats(&server);
    assert_eq!(then.messages(Command::RegionRead), 5);
    assert_eq!((then.unknown_messages(), then.refused()), (2, 4));
}

#[test]
fn counts_go_on_over_clients_and_the_user_is_who_is_there() {
    let server = server();
    for number in 0..3 {
        let mut client = Client::negotiated(&server.path());
        client.read(0, 0, 4);
        let found = user(&server).unwrap();
        assert_eq!((found.number, found.pid), (number, Some(std::process::id())));
        drop(client);
        assert_eq!(server.event().1, Event::ClientCame);
        assert_eq!(server.event().1, Event::ClientLeft);
    }
    assert_eq!(user(&server), None);
    let stats = stats(&server);
    assert_eq!((stats.clients(), stats.messages(Command::RegionRead)), (3, 3));
}

#[test]
fn all_commands_have_a_place_in_the_order_of_their_numbers() {
    let numbers: Vec<_> = Command::ALL.iter().map(|command| command.number()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18]);
}
