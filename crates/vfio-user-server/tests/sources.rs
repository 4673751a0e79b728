#![cfg(test)]
//! A device's host descriptors and timers on the loop: who is woken, when, and that nobody is woken for nothing.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use client::Client;
use server::{Server, card};
use vfio_device::{Context, Interest, VfioDevice};

/// Offsets of what a client can see and do.
const RECEIVED: u64 = 0;
const TIMER_FIRED: u64 = 1;
const LISTEN: u64 = 2;
const START_TIMER: u64 = 3;

/// Reads from a host descriptor while it is told to listen.
struct Listening {
    host: UnixStream,
    listens: bool,
    received: u8,
    fired: u8,
}

impl VfioDevice for Listening {
    fn region_read(&mut self, _: u32, offset: u64, data: &mut [u8], _: &mut Context) {
        data.fill(if offset == RECEIVED { self.received } else { self.fired });
    }
    fn region_write(&mut self, _: u32, offset: u64, data: &[u8], cx: &mut Context) {
        match offset {
            LISTEN => {
                self.listens = data[0] != 0;
                let interest = if self.listens { Interest::READ } else { Interest::NONE };
                cx.sources.set_interest(7, interest);
            }
            START_TIMER => cx.timers.start(1, Duration::from_micros(300)),
            _ => (),
        }
    }
    fn reset(&mut self, _: &mut Context) {}
    fn open(&mut self, cx: &mut Context) -> Result<(), vfio_device::Errno> {
        let watched = self.host.try_clone().map_err(|_| vfio_device::Errno::MFILE)?;
        cx.sources.watch(7, watched.into(), Interest::NONE);
        Ok(())
    }
    fn ready(&mut self, id: u32, ready: Interest, cx: &mut Context) {
        assert_eq!((id, ready.readable, self.listens), (7, true, true));
        let mut byte = [0];
        match self.host.read(&mut byte) {
            Ok(1) => self.received += 1,
            _ => cx.sources.unwatch(7),
        }
    }
    fn timer(&mut self, id: u32, _: &mut Context) {
        assert_eq!(id, 1);
        self.fired += 1;
    }
}

/// A client of such a device, and the host's end of its descriptor.
fn served() -> (Server, Client, UnixStream) {
    let (ours, host) = UnixStream::pair().unwrap();
    host.set_nonblocking(true).unwrap();
    let device = Listening { host, listens: false, received: 0, fired: 0 };
    let server = Server::start(move || (card(), Box::new(device)));
    let client = Client::negotiated(&server.path());
    (server, client, ours)
}

/// Waits until the byte at `offset` has this value.
#[track_caller]
fn becomes(client: &mut Client, offset: u64, value: u8) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while client.read(0, offset, 1) != [value] {
        assert!(Instant::now() < deadline, "offset {offset} does not become {value}");
    }
}

#[test]
fn a_source_of_no_interest_wakes_nobody_not_even_when_it_hangs_up() {
    let (server, mut client, mut ours) = served();
    ours.write_all(b"ab").unwrap();
    server.is_asleep();
    client.write(0, LISTEN, &[1]);
    becomes(&mut client, RECEIVED, 2);
    client.write(0, LISTEN, &[0]);
    drop(ours);
    server.is_asleep();
    assert_eq!(client.read(0, RECEIVED, 1), [2]);
}

#[test]
fn a_source_that_has_hung_up_is_reported_and_let_go() {
    let (server, mut client, ours) = served();
    client.write(0, LISTEN, &[1]);
    drop(ours);
    server.is_asleep();
    client.still_in_step();
}

#[test]
fn a_timer_fires_once_for_each_start_with_nobody_asking() {
    let (server, mut client, _ours) = served();
    client.write(0, START_TIMER, &[1]);
    server.is_asleep();
    assert_eq!(client.read(0, TIMER_FIRED, 1), [1]);
    client.write(0, START_TIMER, &[1]);
    becomes(&mut client, TIMER_FIRED, 2);
}

#[test]
fn what_a_device_watches_by_a_message_s_doing_is_watched_from_then_on() {
    let (ours, host) = UnixStream::pair().unwrap();
    host.set_nonblocking(true).unwrap();
    let unread = host.try_clone().unwrap();
    let device = Listening { host, listens: false, received: 0, fired: 0 };
    let server = Server::start(move || (card(), Box::new(device)));
    let _client = Client::negotiated(&server.path());
    let id = server.ids[0];
    let listens = |on: u8| {
        let stored = server.ask(move |event_loop| event_loop.write_region(id, 0, LISTEN, &[on]));
        assert_eq!(stored, Some(Ok(())));
    };
    // The client says nothing all the while: nothing else has the loop look.
    let is_unread = || rustix::io::ioctl_fionread(&unread).unwrap() > 0;
    for _ in 0..2 {
        (&ours).write_all(b"a").unwrap();
        server.is_asleep();
        assert!(is_unread());
        listens(1);
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_unread() {
            assert!(Instant::now() < deadline, "nobody reads it");
        }
        listens(0);
    }
}
