//! Descriptors that are not what they are said to be, or do not stay so.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::event::EventfdFlags;
use rustix::fs::{OFlags, fcntl_setfl, ftruncate};

use crate::arena::{Arena, in_one_line};
use crate::bodies::{INTX, TRIGGER_EVENTFD, TRIGGER_NONE, fill, map, memory, unmap};
use crate::client::command::{DEVICE_RESET, DMA_MAP, DMA_UNMAP};
use crate::client::errno::EINVAL;

const SET: [u32; 4] = [TRIGGER_EVENTFD, INTX, 0, 1];
const FIRE: [u32; 4] = [TRIGGER_NONE, INTX, 0, 1];

#[test]
fn memory_that_is_cut_off_when_it_has_been_mapped() {
    let arena = Arena::start();
    let log = arena.withstands("DMA map's file ends before", |arena| {
        let mut client = arena.client();
        let guest = memory(1 << 20);
        for page in 0..16 {
            let body = map(3, page << 12, page << 12, 4096);
            client.call_with_fds(DMA_MAP, &body, &[guest.as_fd()]).ok();
        }
        ftruncate(&guest, 0).unwrap();
        client.call(DEVICE_RESET, &[]).ok();
        client.call(DMA_UNMAP, &unmap(0, 0, 4096)).ok();
        let again = map(3, 0, 0, 4096);
        client.call_with_fds(DMA_MAP, &again, &[guest.as_fd()]).refused(EINVAL);
        // What is mapped still goes with the client.
        client.still_in_step();
    });
    in_one_line(&log);
}

/// There is nothing to be refused: an interrupt is pending already. That the client was there is what can be told.
#[test]
fn an_eventfd_that_is_full_and_blocks() {
    let arena = Arena::start();
    let log = arena.withstands("is using the device", |arena| {
        let full = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        fill(&full);
        let mut client = arena.client();
        client.set_irqs(SET, &[], &[full.as_fd()]).ok();
        for _ in 0..200 {
            fcntl_setfl(&full, OFlags::empty()).unwrap();
            client.set_irqs(FIRE, &[], &[]).ok();
            // So does the device itself: the transmitter is empty.
            client.write(0, 1, &[2]);
            client.write(0, 1, &[0]);
        }
        client.still_in_step();
    });
    in_one_line(&log);
}

#[test]
fn pipes_sockets_and_files_in_place_of_eventfds() {
    let arena = Arena::start();
    let log = arena.withstands("a descriptor for interrupts is not an eventfd", |arena| {
        let mut client = arena.client();
        let (broken, full) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        drop(broken.0);
        fcntl_setfl(&full.1, OFlags::NONBLOCK).unwrap();
        while rustix::io::write(&full.1, &[0; 4096]).is_ok() {}
        fcntl_setfl(&full.1, OFlags::empty()).unwrap();
        let hung_up = UnixStream::pair().unwrap().0;
        let others: Vec<OwnedFd> = vec![
            broken.1.into(),
            full.1.into(),
            hung_up.into(),
            UnixDatagram::unbound().unwrap().into(),
            File::open("/dev/null").unwrap().into(),
            File::options().write(true).open("/dev/full").unwrap().into(),
            File::open("/").unwrap().into(),
            memory(4096),
        ];
        for other in &others {
            client.set_irqs(SET, &[], &[other.as_fd()]).refused(EINVAL);
        }
        // What is nobody's file and no eventfd either is found out by the first interrupt, and let go.
        let flags = rustix::event::epoll::CreateFlags::CLOEXEC;
        let epoll = rustix::event::epoll::create(flags).unwrap();
        client.set_irqs(SET, &[], &[epoll.as_fd()]).ok();
        client.set_irqs(FIRE, &[], &[]).ok();
        client.still_in_step();
    });
    in_one_line(&log);
}
