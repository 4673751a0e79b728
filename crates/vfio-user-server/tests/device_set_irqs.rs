#![cfg(test)]
//! DEVICE_SET_IRQS, the refusals. What it does is in `device_set_irqs_effects.rs`.

#[path = "common/client.rs"]
mod client;
#[path = "common/irqs.rs"]
mod irqs;
#[path = "common/server.rs"]
mod server;

use std::os::fd::{AsFd, OwnedFd};

use client::{Client, Witness, command::DEVICE_SET_IRQS, errno::EINVAL, words};
use irqs::*;
use server::Server;
use vfio_device::Description;

/// A server and a client for which MSI-X and the device's own index are set up, so that nothing is refused for that.
fn set_up() -> (Server, Client) {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for index in [MSIX, OWN, ERR, REQ] {
        client.set_irqs([EVENTFD | TRIGGER, index, 0, 1], &[], &[]).ok();
    }
    (server, client)
}

/// Asserts that this is refused, with data and descriptors that fit it.
#[track_caller]
fn refused(client: &mut Client, set: [u32; 4], data: &[u8]) {
    client.set_irqs(set, data, &[]).refused(EINVAL);
    client.still_in_step();
}

/// Conformance: A23, A50.
#[test]
fn a_body_without_all_of_the_fixed_part_is_refused() {
    let (_server, mut client) = set_up();
    for size in [0, 1, 2, 4] {
        let body = words(&[20, NONE | TRIGGER, MSIX, 0, 0]);
        client.call(DEVICE_SET_IRQS, &body[..4 * size]).refused(EINVAL);
        client.call(DEVICE_SET_IRQS, &body[..19]).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A51, S44.
#[test]
fn an_argsz_other_than_the_size_of_the_body_is_refused() {
    let (_server, mut client) = set_up();
    for argsz in [0, 3, 16, 19, 21, u32::MAX] {
        let body = words(&[argsz, NONE | TRIGGER, MSIX, 0, 1]);
        client.call(DEVICE_SET_IRQS, &body).refused(EINVAL);
        client.still_in_step();
    }
}

/// Conformance: A52.
#[test]
fn an_index_beyond_the_last_is_refused() {
    let (_server, mut client) = set_up();
    for index in [6, 7, u32::MAX] {
        refused(&mut client, [NONE | TRIGGER, index, 0, 0], &[]);
        refused(&mut client, [NONE | TRIGGER, index, 0, 1], &[]);
    }
    // Without indexes of its own a PCI device has five.
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    refused(&mut client, [NONE | TRIGGER, 5, 0, 0], &[]);
    refused(&mut client, [NONE | TRIGGER, 5, 0, 1], &[]);
}

/// Conformance: A53, A54, S45.
#[test]
fn anything_but_one_kind_of_data_and_one_action_is_refused() {
    let (_server, mut client) = set_up();
    for flags in 0..0x80 {
        let kinds = (flags & 7_u32).count_ones();
        let actions = (flags & 0x38).count_ones();
        if (kinds, actions, flags & 0x40) != (1, 1, 0) {
            refused(&mut client, [flags, OWN, 0, 1], &[]);
            refused(&mut client, [flags, OWN, 0, 1], &[1]);
        }
    }
    for reserved in [0x40, 0x100, 0x8000_0000] {
        refused(&mut client, [NONE | TRIGGER | reserved, OWN, 0, 1], &[]);
    }
}

/// Conformance: A55, A56, A57, A60, A61.
#[test]
fn vectors_that_the_index_does_not_have_are_refused() {
    let (_server, mut client) = set_up();
    for (index, start, count) in [
        (MSIX, 2047, 2),
        (MSIX, 2048, 1),
        (MSIX, 2049, 1),
        (MSIX, 0, 2049),
        (MSIX, 284, u32::MAX),
        (MSIX, u32::MAX, 1),
        (MSIX, u32::MAX, u32::MAX),
        (ERR, 0, 2),
        (REQ, 0, 2),
        (INTX, 1, 1),
        (OWN, 3, 2),
    ] {
        for action in [TRIGGER, MASK, UNMASK] {
            refused(&mut client, [NONE | action, index, start, count], &[]);
            refused(&mut client, [EVENTFD | action, index, start, count], &[]);
        }
    }
    refused(&mut client, [BOOL | TRIGGER, OWN, 3, 2], &[1, 1]);
}

/// Conformance: S48.
#[test]
fn an_index_without_vectors_is_refused_but_for_taking_it_down() {
    let server = Server::of(|| Description::pci(1, 2));
    let mut client = Client::negotiated(&server.path());
    for flags in [NONE | TRIGGER, EVENTFD | TRIGGER, NONE | MASK, NONE | UNMASK] {
        refused(&mut client, [flags, MSIX, 0, 1], &[]);
    }
    client.set_irqs([NONE | TRIGGER, MSIX, 0, 0], &[], &[]).ok();
}

/// Conformance: A62, A63, A64.
#[test]
fn no_vectors_are_refused_but_for_taking_the_index_down() {
    let (_server, mut client) = set_up();
    for kind in [NONE, BOOL, EVENTFD] {
        for action in [TRIGGER, MASK, UNMASK] {
            for start in [0, 1] {
                if (kind, action, start) != (NONE, TRIGGER, 0) {
                    refused(&mut client, [kind | action, OWN, start, 0], &[]);
                }
            }
        }
    }
}

/// Conformance: A58, A59, A76.
#[test]
fn masking_is_refused_where_it_is_not_offered() {
    let (_server, mut client) = set_up();
    for index in [MSIX, ERR, REQ] {
        for action in [MASK, UNMASK] {
            refused(&mut client, [NONE | action, index, 0, 1], &[]);
            refused(&mut client, [BOOL | action, index, 0, 1], &[1]);
            refused(&mut client, [EVENTFD | action, index, 0, 1], &[]);
        }
    }
}

/// Conformance: S50.
#[test]
fn masking_by_eventfd_is_refused() {
    let (_server, mut client) = set_up();
    let eventfd = client::eventfd(0);
    for index in [INTX, OWN] {
        let reply = client.set_irqs([EVENTFD | MASK, index, 0, 1], &[], &[eventfd.as_fd()]);
        reply.refused(EINVAL);
        assert_eq!(client::holders(&eventfd), 1);
        client.still_in_step();
    }
}

/// Conformance: A72, A73.
#[test]
fn more_or_fewer_bytes_than_vectors_are_refused() {
    let (_server, mut client) = set_up();
    for size in [0, 1, 3, 8] {
        refused(&mut client, [BOOL | TRIGGER, OWN, 0, 2], &vec![1; size]);
    }
    refused(&mut client, [NONE | TRIGGER, OWN, 0, 2], &[1, 1]);
    refused(&mut client, [EVENTFD | TRIGGER, OWN, 0, 2], &[0; 8]);
}

/// Conformance: A24, A65, A66, A67.
#[test]
fn descriptors_that_do_not_match_are_refused_and_closed() {
    let (_server, mut client) = set_up();
    for (flags, count, data, fds) in [
        (BOOL | TRIGGER, 1, 1, 1),
        (BOOL | TRIGGER, 1, 0, 2),
        (NONE | TRIGGER, 1, 0, 1),
        (NONE | TRIGGER, 0, 0, 1),
        (NONE | UNMASK, 1, 0, 1),
        (EVENTFD | TRIGGER, 2, 0, 1),
        (EVENTFD | TRIGGER, 1, 0, 2),
        (EVENTFD | UNMASK, 4, 0, 3),
        (EVENTFD | TRIGGER, 0, 0, 1),
    ] {
        let eventfd = client::eventfd(0);
        let reply =
            client.set_irqs([flags, OWN, 0, count], &vec![1; data], &vec![eventfd.as_fd(); fds]);
        reply.refused(EINVAL);
        assert_eq!(client::holders(&eventfd), 1, "flags {flags:#x}, {fds} descriptors");
        client.still_in_step();
    }
}

/// Conformance: B12.
#[test]
fn a_descriptor_that_is_no_eventfd_is_refused_and_closed_and_the_earlier_one_stays() {
    let (server, mut client) = set_up();
    let earlier = client::eventfd(0);
    client.set_irqs([EVENTFD | TRIGGER, OWN, 0, 1], &[], &[earlier.as_fd()]).ok();
    let path = server.directory().join("file");
    std::fs::write(&path, "").unwrap();
    let (pipe_out, pipe_in) = std::io::pipe().unwrap();
    for other in [
        OwnedFd::from(std::fs::File::options().write(true).open(&path).unwrap()),
        std::fs::File::open(server.directory()).unwrap().into(),
        std::fs::File::options().read(true).write(true).open("/dev/zero").unwrap().into(),
        std::fs::File::open("/dev/urandom").unwrap().into(),
        pipe_out.into(),
        pipe_in.into(),
    ] {
        for action in [TRIGGER, UNMASK] {
            let good = client::eventfd(0);
            let fds = [good.as_fd(), other.as_fd()];
            client.set_irqs([EVENTFD | action, OWN, 0, 2], &[], &fds).refused(EINVAL);
            assert_eq!(client::holders(&good), 1);
            client.still_in_step();
        }
    }
    let socket = Witness::new();
    client.set_irqs([EVENTFD | TRIGGER, OWN, 0, 1], &[], &[socket.fd()]).refused(EINVAL);
    socket.expect_closed();
    client.set_irqs([NONE | TRIGGER, OWN, 0, 1], &[], &[]).ok();
    assert_eq!(client::count(&earlier), 1);
    assert_eq!(std::fs::read(&path).unwrap(), b"", "nothing was written to the file");
}

/// Conformance: S51.
#[test]
fn another_kind_of_pci_interrupt_is_refused_until_the_first_is_taken_down() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    let [intx, msix] = [client::eventfd(0), client::eventfd(0)];
    client.set_irqs([EVENTFD | TRIGGER, INTX, 0, 1], &[], &[intx.as_fd()]).ok();
    client.set_irqs([EVENTFD | TRIGGER, MSIX, 0, 1], &[], &[msix.as_fd()]).refused(EINVAL);
    client.set_irqs([EVENTFD | TRIGGER, ERR, 0, 1], &[], &[msix.as_fd()]).ok();
    client.set_irqs([NONE | TRIGGER, INTX, 0, 0], &[], &[]).ok();
    client.set_irqs([EVENTFD | TRIGGER, MSIX, 0, 1], &[], &[msix.as_fd()]).ok();
}

/// Conformance: S52.
#[test]
fn firing_by_hand_is_refused_on_an_index_that_is_not_set_up() {
    let server = Server::of(description);
    let mut client = Client::negotiated(&server.path());
    for index in [INTX, MSIX, OWN, ERR, REQ] {
        refused(&mut client, [NONE | TRIGGER, index, 0, 1], &[]);
        refused(&mut client, [BOOL | TRIGGER, index, 0, 1], &[1]);
    }
}
