#![cfg(test)]
//! DEVICE_GET_IRQ_INFO: how many vectors an index has, and what it can do.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use client::{Client, Witness, command::DEVICE_GET_IRQ_INFO, errno::EINVAL, words};
use server::Server;
use vfio_device::{Description, IrqFlags};

/// INTx, MSI with 32 vectors, MSI-X with 2048, ERR, REQ.
fn description() -> Description {
    Description::pci(1, 2).intx().msi(5).irq(2, IrqFlags::MSIX, 2048).request_irq()
}

/// Conformance: A30.
#[test]
fn a_body_of_another_size_is_refused() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for body in [words(&[]), words(&[16, 0]), words(&[16, 0, 0]), words(&[16, 0, 0, 0, 0])] {
        client.call(DEVICE_GET_IRQ_INFO, &body).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A31.
#[test]
fn an_argsz_below_the_answer_is_refused() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for argsz in [0, 8, 15] {
        client.call(DEVICE_GET_IRQ_INFO, &words(&[argsz, 0, 0, 0])).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A32.
#[test]
fn an_index_beyond_the_last_is_refused() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for index in [5, 6, u32::MAX] {
        client.call(DEVICE_GET_IRQ_INFO, &words(&[16, 0, index, 0])).refused(EINVAL);
        client.still_in_step();
    }
}

#[test]
fn a_descriptor_along_with_it_is_refused_and_closed() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let witness = Witness::new();
    let body = words(&[16, 0, 0, 0]);
    client.call_with_fds(DEVICE_GET_IRQ_INFO, &body, &[witness.fd()]).refused(EINVAL);
    witness.expect_closed();
    client.still_in_step();
}

/// Conformance: A33, A34, A35, A36, S16, S42.
#[test]
fn each_index_says_what_it_is() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    // index, flags, count. INTx: eventfd, maskable, automasked. MSI-X: eventfd. The others: eventfd, set up all at once.
    for (index, flags, count) in [(0, 7, 1), (1, 9, 32), (2, 1, 2048), (3, 9, 1), (4, 9, 1)] {
        for argsz in [16, 32, u32::MAX] {
            let reply = client.call(DEVICE_GET_IRQ_INFO, &words(&[argsz, 0, index, 0])).ok();
            assert_eq!(reply.body, words(&[16, flags, index, count]), "index {index}");
        }
    }
}

#[test]
fn an_index_that_the_device_does_not_use_has_no_vectors() {
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    for index in [0, 1, 2, 4] {
        let reply = client.call(DEVICE_GET_IRQ_INFO, &words(&[16, 0, index, 0])).ok();
        assert_eq!(reply.body, words(&[16, 0, index, 0]));
    }
}

/// Conformance: S34.
#[test]
fn fields_that_only_the_answer_has_may_hold_anything() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let reply = client.call(DEVICE_GET_IRQ_INFO, &words(&[16, !0, 0, !0])).ok();
    assert_eq!(reply.body, words(&[16, 7, 0, 1]));
}
