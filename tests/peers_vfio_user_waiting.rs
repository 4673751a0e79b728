#![cfg(test)]
//! What breaks the server of rust-vmm's `vfio_user` crate 0.1.7, tried on the program: R15 and R16, clients that keep it
//! waiting. The other ways are in `peers_vfio_user.rs`.

#[path = "common/bodies.rs"]
mod bodies;
#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;
#[path = "common/watched.rs"]
mod watched;

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use bodies::CONFIG;
use client::command::{REGION_READ, REGION_WRITE, VERSION};
use client::errno::EBUSY;
use client::{Client, QEMU_CAPABILITIES, access, header, message, version};
use watched::Watched;

/// R15: each holds the server for ever there.
#[test]
fn a_silent_client_a_half_message_and_a_deaf_client_hold_up_nobody() {
    let watched = Watched::serve();
    let silent = watched.connect();
    let mut half = watched.connect();
    half.send_raw(&message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES))[..40]);
    watched.negotiated().still_in_step();

    let mut half_user = watched.negotiated();
    half_user.send_raw(&header(1, REGION_WRITE, 1 << 20, 0));
    is_told_busy_at_once(&watched);
    drop(half_user);

    let mut deaf = watched.negotiated();
    let asked = ask_until_nothing_goes_in(&mut deaf);
    assert!(asked > 100, "the sockets have room for more than {asked}");
    is_told_busy_at_once(&watched);
    drop((deaf, silent, half));
    watched.serves_the_next();
}

/// R15 again: there is no way to end its `run` there.
/// Conformance: B4.
#[test]
fn it_ends_when_told_to_whatever_its_clients_are_doing() {
    let watched = Watched::serve();
    let _silent = watched.connect();
    let mut half = watched.connect();
    half.send_raw(&header(1, VERSION, 1000, 0));
    let mut deaf = watched.negotiated();
    ask_until_nothing_goes_in(&mut deaf);
    drop(watched); // asserts status 0 within 10 s, and no socket left
}

#[track_caller]
fn is_told_busy_at_once(watched: &Watched) {
    let start = Instant::now();
    let mut second = watched.connect();
    second.call(VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EBUSY);
    second.is_closed();
    assert!(start.elapsed() < Duration::from_secs(1), "after {:?}", start.elapsed());
}

/// Asks for all of configuration space, with ids from 0, until the socket is full. Returns how often.
fn ask_until_nothing_goes_in(client: &mut Client) -> u16 {
    client.socket.set_nonblocking(true).unwrap();
    let mut asked = 0;
    loop {
        let one = message(asked, REGION_READ, 0, &access(CONFIG, 0, 256, &[]));
        match client.socket.write(&one) {
            Ok(written) => assert_eq!(written, one.len(), "small messages go in whole"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Once more after a while: what the server took in the meantime makes room.
                std::thread::sleep(Duration::from_millis(50));
                match client.socket.write(&one) {
                    Ok(written) => assert_eq!(written, one.len()),
                    Err(_) => break,
                }
            }
            Err(error) => panic!("{error}"),
        }
        asked += 1;
    }
    client.socket.set_nonblocking(false).unwrap();
    asked
}

/// R16: bytes are lost there.
#[test]
fn replies_that_had_to_wait_come_whole_and_in_order() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let asked = ask_until_nothing_goes_in(&mut client);
    for id in 0..asked {
        let reply = client.receive().unwrap().ok();
        assert_eq!((reply.id, reply.body.len()), (id, 16 + 256));
        assert_eq!(reply.body[16..20], [0x48, 0x43, 0x53, 0x32], "vendor and device id");
    }
    client.still_in_step();
    drop(client);
    watched.serves_the_next();
}
