//! A message costs no allocation on its way in or out. Counted by the thread: the test harness has one of its own, which
//! allocates when it likes.

#![cfg(test)]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use vfio_user_server::transport::{Fds, receive, send};
use vfio_user_server::wire::{Header, RegionAccess};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: System does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn messages_come_and_go_without_allocation() {
    let (client, server) = UnixStream::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    let (mut fds, mut held) = (Fds::new(), Fds::new());
    let mut buf = [0; 4096];
    let header = Header { msg_size: 32, command: 9, ..Header::default() };
    let access = RegionAccess { count: 4, ..RegionAccess::default() };

    let before = ALLOCATIONS.get();
    for round in 0..1000 {
        let mut message = [0; 32];
        let rest = header.encode(&mut message).unwrap();
        access.encode(rest).unwrap();
        let attached = [null.as_fd(); 16];
        let attached = if round % 2 == 0 { &attached[..] } else { &[] };
        send(&client, &[IoSlice::new(&message)], attached).unwrap();

        let got = receive(&server, &mut buf, &mut fds).unwrap();
        let (decoded, body) = Header::decode(&buf[..got.bytes]).unwrap();
        assert_eq!((decoded, RegionAccess::decode(body).unwrap().0), (header, access));
        assert!(held.append(&mut fds));
        held.clear();
        assert!(receive(&server, &mut buf, &mut fds).is_err(), "nothing more");
    }
    assert_eq!(ALLOCATIONS.get(), before);
}
