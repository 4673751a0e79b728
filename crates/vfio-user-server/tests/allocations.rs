//! A message costs no allocation on its way in or out, but the first. Alone in its binary, for the allocator's sake.

#![cfg(test)]
#[path = "common/counting.rs"]
mod counting;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, memfd_create};
use vfio_user_server::transport::{Fds, receive, send};
use vfio_user_server::wire::{Header, RegionAccess};

#[test]
fn messages_come_and_go_without_allocation() {
    let (client, server) = UnixStream::pair().unwrap();
    let memory = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
    let (mut fds, mut held) = (Fds::new(), Fds::new());
    let mut buf = [0; 4096];
    let header = Header { msg_size: 32, command: 9, ..Header::default() };
    let access = RegionAccess { count: 4, ..RegionAccess::default() };

    counting::count(true);
    let mut before = counting::allocations();
    for round in 0..1000 {
        let mut message = [0; 32];
        let rest = header.encode(&mut message).unwrap();
        access.encode(rest).unwrap();
        let attached = [memory.as_fd(); 16];
        let attached = if round % 2 == 0 { &attached[..] } else { &[] };
        send(&client, &message, attached).unwrap();

        let got = receive(&server, &mut buf, &mut fds).unwrap();
        let (decoded, body) = Header::decode(&buf[..got.bytes]).unwrap();
        assert_eq!((decoded, RegionAccess::decode(body).unwrap().0), (header, access));
        assert!(held.append(&mut fds));
        held.clear();
        assert!(receive(&server, &mut buf, &mut fds).is_err(), "nothing more");
        if round == 0 {
            // The first read and the first descriptors take their room.
            assert!(counting::allocations() - before <= 3);
            before = counting::allocations();
        }
    }
    assert_eq!(counting::allocations(), before);
}
