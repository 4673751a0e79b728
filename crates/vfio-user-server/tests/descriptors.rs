//! No descriptor outlives its purpose. Counted in `/proc/self/fd`, so these tests run one at a time.

#![cfg(test)]

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::fs::{File, read_dir};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::command::{DEVICE_GET_INFO, DEVICE_SET_IRQS};
use client::errno::EMFILE;
use client::{Client, eventfd, message, words};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vfio_device::{Description, OpenMode, Vfio};
use vfio_user_server::dma;
use vfio_user_server::transport::{Fds, Received, receive, send};
use vfio_user_server::wire::DmaMap;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open() -> usize {
    // Less the one that looks.
    read_dir("/proc/self/fd").unwrap().count() - 1
}

fn file() -> File {
    memfd_create("", MemfdFlags::CLOEXEC).unwrap().into()
}

/// Takes in `count` descriptors.
fn received(count: usize) -> Fds {
    let (client, server) = UnixStream::pair().unwrap();
    let mut fds = Fds::new();
    let one = file();
    send(&client, b"x", &vec![one.as_fd(); count]).unwrap();
    assert_eq!(receive(&server, &mut [0; 8], &mut fds).unwrap().fds, count);
    fds
}

#[test]
fn received_descriptors_are_ours_until_dropped() {
    let _alone = alone();
    let before = open();
    let fds = received(16);
    assert_eq!(open(), before + 16);
    drop(fds);
    assert_eq!(open(), before);
}

#[test]
fn cleared_descriptors_are_closed() {
    let _alone = alone();
    let before = open();
    let mut fds = received(16);
    fds.clear();
    assert!(fds.is_empty());
    assert_eq!(open(), before);
}

#[test]
fn descriptors_left_in_a_drain_are_closed() {
    let _alone = alone();
    let before = open();
    let mut fds = received(16);
    let kept: Vec<OwnedFd> = fds.drain().take(3).collect();
    assert_eq!((open(), fds.len()), (before + 3, 0));
    drop(kept);
    assert_eq!(open(), before);
}

#[test]
fn descriptors_beyond_the_room_are_closed() {
    let _alone = alone();
    let before = open();
    let mut fds = Fds::new();
    let (client, server) = UnixStream::pair().unwrap();
    let one = file();
    let with_three_more = open();
    for round in 0..20 {
        send(&client, b"x", &[one.as_fd(); 16]).unwrap();
        let got = receive(&server, &mut [0; 8], &mut fds).unwrap();
        assert_eq!(got.fds_lost, round >= 15, "round {round}");
    }
    assert_eq!((open() - with_three_more, fds.len()), (253, 253));

    let mut more = received(16);
    assert!(!fds.append(&mut more));
    assert_eq!((open() - with_three_more, more.len()), (253, 0));
    drop((fds, client, server, one));
    assert_eq!(open(), before);
}

#[test]
fn descriptors_that_the_process_may_not_hold_are_said_to_be_lost() {
    let _alone = alone();
    let (client, server) = UnixStream::pair().unwrap();
    let one = file();
    let mut fds = Fds::new();
    send(&client, b"x", &[one.as_fd(); 16]).unwrap();
    let before = open();

    // Numbers are given out from the lowest, so at most three of the sixteen fit.
    let lowest_free = file().as_raw_fd() as u64;
    let limits = getrlimit(Resource::Nofile);
    let tight = Rlimit { current: Some(lowest_free + 3), ..limits };
    setrlimit(Resource::Nofile, tight).unwrap();
    let got = receive(&server, &mut [0; 8], &mut fds).unwrap();
    setrlimit(Resource::Nofile, limits).unwrap();

    assert!(got.fds <= 3, "{got:?}");
    assert_eq!(got, Received { bytes: 1, fds: fds.len(), fds_lost: true });
    assert_eq!(open(), before + fds.len());
    drop(fds);
    assert_eq!(open(), before);
}

#[test]
fn a_message_whose_descriptor_is_lost_is_refused_and_none_before_or_after_it() {
    let _alone = alone();
    let before = open();
    let server = server::Server::of(server::card);
    let mut client = Client::negotiated(&server.path());
    let trigger = eventfd(0);
    let set = [0x24, 0, 0, 1];
    let body = words(&[&[20], &set[..]].concat());
    let info = message(100, DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0]));
    let both = [info, message(101, DEVICE_SET_IRQS, 0, &body)].concat();

    // No number is free, so the eventfd is all that gets lost.
    let lowest_free = file().as_raw_fd() as u64;
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(lowest_free), ..limits }).unwrap();
    client.send_raw_with_fds(&both, &[trigger.as_fd()]);
    let replies = [client.receive(), client.receive()];
    setrlimit(Resource::Nofile, limits).unwrap();

    let [info, refused] = replies.map(|reply| reply.expect("a reply"));
    assert_eq!((info.ok().id, refused.id), (100, 101));
    refused.refused(EMFILE);
    client.still_in_step();
    client.set_irqs(set, &[], &[trigger.as_fd()]).ok();

    // What the server has closed may be on its way.
    drop((client, server, trigger));
    let deadline = Instant::now() + Duration::from_secs(10);
    while open() != before {
        assert!(Instant::now() < deadline, "{} descriptors, then {}", before, open());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn sending_a_descriptor_keeps_it_open() {
    let _alone = alone();
    let (client, server) = UnixStream::pair().unwrap();
    let one = file();
    let before = open();
    send(&client, b"x", &[one.as_fd()]).unwrap();
    assert_eq!(open(), before);
    drop(server);
    assert!(send(&client, b"x", &[one.as_fd()]).is_err());
    assert_eq!(open(), before - 1);
}

#[test]
fn a_dma_map_s_descriptor_is_closed_whether_accepted_or_refused_if_the_device_does_no_dma() {
    let _alone = alone();
    let memory = file();
    memory.set_len(0x4000).unwrap();
    let before = open();
    let made = (Description::pci(1, 2), Box::new(server::Ram::default()) as Box<_>);
    let mut device = Vfio::new().alloc(|_| Ok(made)).unwrap();
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    let good = DmaMap { argsz: 32, flags: 3, offset: 0, address: 0, size: 0x4000 };
    for (name, request, errno) in [
        ("accepted", good, None),
        ("overlap", good, Some(17)),
        ("argsz", DmaMap { argsz: 0, ..good }, Some(22)),
        ("past the end", DmaMap { size: 0x5000, ..good }, Some(22)),
    ] {
        let result = dma::map(
            &mut device,
            &request,
            Some(OwnedFd::from(memory.try_clone().unwrap()).into()),
        );
        assert_eq!(result.err().map(|refusal| refusal.errno()), errno, "{name}");
        assert_eq!(open(), before, "{name}");
    }
}
