#![cfg(test)]
//! DEVICE_GET_INFO: what the device is.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{Client, command::DEVICE_GET_INFO, errno::EINVAL, words};
use server::Server;
use vfio_device::Description;

/// Conformance: A27, B9.
#[test]
fn a_body_of_another_size_is_refused() {
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    for body in [words(&[]), words(&[16, 0]), words(&[16, 0, 0]), words(&[16, 0, 0, 0, 0])] {
        client.call(DEVICE_GET_INFO, &body).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A28.
#[test]
fn an_argsz_below_the_answer_is_refused() {
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    for argsz in [0, 8, 15] {
        client.call(DEVICE_GET_INFO, &words(&[argsz, 0, 0, 0])).refused(EINVAL);
        client.still_in_step();
    }
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    use std::os::fd::AsFd;
    client
        .call_with_fds(DEVICE_GET_INFO, &words(&[16, 0, 0, 0]), &[theirs.as_fd()])
        .refused(EINVAL);
    drop(theirs);
    client.still_in_step();
    assert_eq!(
        std::io::Read::read(&mut &ours, &mut [0]).unwrap(),
        0,
        "the other end is closed everywhere"
    );
}

/// Conformance: A29.
#[test]
fn a_pci_device_has_9_regions_5_irq_indexes_and_both_flags() {
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    for argsz in [16, 32, u32::MAX] {
        let reply = client.call(DEVICE_GET_INFO, &words(&[argsz, 0, 0, 0])).ok();
        assert_eq!(reply.body, words(&[16, 0x3, 9, 5]), "argsz {argsz}");
    }
}

/// Conformance: S34.
#[test]
fn fields_that_only_the_answer_has_may_hold_anything() {
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    let reply = client.call(DEVICE_GET_INFO, &words(&[16, !0, !0, !0])).ok();
    assert_eq!(reply.body, words(&[16, 0x3, 9, 5]));
}

/// Conformance: S36.
#[test]
fn the_reset_flag_can_be_left_out() {
    let server = Server::of(|| Description::pci(1, 2).without_reset_flag());
    let mut client = Client::negotiated(&server.path());
    let reply = client.call(DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
    assert_eq!(reply.body, words(&[16, 0x2, 9, 5]));
}
