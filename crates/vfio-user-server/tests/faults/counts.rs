//! Which messages a fault befalls.

use crate::client::{Client, NO_REPLY, QEMU_CAPABILITIES, access, command, version, words};
use crate::{faulty, read};

const EIO: u32 = 5;
const NOBODY: [u32; 0] = [];
const EINVAL: u32 = 22;
const ENOTSUP: u32 = 95;

/// Which of so many reads are refused by a fault, from 1.
fn befallen(client: &mut Client, reads: u32) -> Vec<u32> {
    (1..=reads).filter(|_| read(client, 0).error == EIO).collect()
}

#[test]
fn at_and_count_are_exact_and_the_same_each_time() {
    for (options, expected) in [
        ("", &[1][..]),
        (",at=1", &[1]),
        (",at=3", &[3]),
        (",count=2", &[1, 2]),
        (",at=3,count=2", &[3, 4]),
        (",at=5,count=always", &[5, 6, 7, 8]),
        (",count=18446744073709551615", &[1, 2, 3, 4, 5, 6, 7, 8]),
        (",at=9", &[]),
        (",at=18446744073709551615,count=always", &[]),
    ] {
        for _ in 0..2 {
            let (_server, path) =
                faulty(&[&format!("error,errno=EIO,command=region-read{options}")]);
            assert_eq!(befallen(&mut Client::negotiated(&path), 8), expected, "{options}");
        }
    }
}

#[test]
fn other_devices_are_not_befallen_and_not_counted() {
    let (server, path) = faulty(&["error,errno=EIO,command=region-read,at=2"]);
    let mut other = Client::negotiated(&server.path());
    let mut client = Client::negotiated(&path);
    assert_eq!(befallen(&mut other, 5), NOBODY);
    assert_eq!(befallen(&mut client, 1), NOBODY);
    assert_eq!(befallen(&mut other, 5), NOBODY);
    assert_eq!(befallen(&mut client, 5), [1]);
}

#[test]
fn the_count_goes_on_with_the_next_client_and_does_not_begin_anew() {
    let (_server, path) = faulty(&["error,errno=EIO,command=region-read,at=3"]);
    assert_eq!(befallen(&mut Client::negotiated(&path), 2), NOBODY);
    assert_eq!(befallen(&mut Client::negotiated(&path), 5), [1]);
    assert_eq!(befallen(&mut Client::negotiated(&path), 5), NOBODY);
}

#[test]
fn each_fault_counts_for_itself_and_the_first_one_acts() {
    let (_server, path) = faulty(&[
        "error,errno=EIO,command=region-read,at=2",
        "error,errno=EINVAL,command=region-read,at=2,count=2",
        "error,errno=ENOTSUP,at=6",
    ]);
    // The third one has counted VERSION.
    let mut client = Client::negotiated(&path);
    let errors: Vec<_> = (0..6).map(|_| read(&mut client, 0).error).collect();
    assert_eq!(errors, [0, EIO, EINVAL, 0, ENOTSUP, 0]);
}

#[test]
fn any_message_counts_and_one_without_a_command_is_any() {
    for fault in ["error,errno=EIO,at=4", "error,errno=EIO,at=4,command=any"] {
        let (_server, path) = faulty(&[fault]);
        let mut client = Client::negotiated(&path);
        // A refused one, one that wants no answer, and one that the specification does not know.
        client.call(command::DEVICE_RESET, &[0]).refused(EINVAL);
        client.send(command::REGION_WRITE, NO_REPLY, &access(0, 0, 1, &[1]), &[]);
        client.call(999, &[]).refused(EIO);
        client.call(999, &[]).refused(ENOTSUP);
    }
}

#[test]
fn a_command_may_be_named_or_numbered_known_or_not() {
    for (name, number) in [
        ("version", 1_u16),
        ("dma-map", 2),
        ("dma-unmap", 3),
        ("device-get-info", 4),
        ("device-get-region-info", 5),
        ("device-get-region-io-fds", 6),
        ("device-get-irq-info", 7),
        ("device-set-irqs", 8),
        ("region-read", 9),
        ("region-write", 10),
        ("device-reset", 13),
        ("region-write-multi", 15),
        ("device-feature", 16),
        ("mig-data-read", 17),
        ("mig-data-write", 18),
        ("0xffff", 0xffff),
        ("0", 0),
    ] {
        for command in [name.to_owned(), number.to_string()] {
            // Not the first VERSION.
            let at = if number == 1 { 2 } else { 1 };
            let (_server, path) = faulty(&[&format!("error,errno=EIO,command={command},at={at}")]);
            let mut client = Client::negotiated(&path);
            client.still_in_step_unless(number);
            client.call(number, &[]).refused(EIO);
            assert_ne!(client.call(number, &[]).error, EIO);
        }
    }
}

#[test]
fn a_command_that_is_refused_for_another_reason_is_befallen_too() {
    let (_server, path) = faulty(&["error,errno=EIO,command=version,at=2"]);
    let _user = Client::negotiated(&path);
    // Who would be told EBUSY, and let go.
    let mut second = Client::connect(&path);
    second.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EIO);
    second.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(16);
}

#[test]
fn region_and_offset_say_which_accesses_are_meant() {
    let bar = |offset| access(0, offset, 4, &[]);
    let config = |offset| access(7, offset, 4, &[]);
    for (options, meant, not_meant) in [
        ("region=7", vec![config(0), config(4)], vec![bar(0)]),
        ("offset=0x4", vec![config(4), bar(4)], vec![bar(0), bar(3), bar(5)]),
        ("region=0,offset=8", vec![bar(8)], vec![config(8), bar(0)]),
        ("region=0,command=region-read", vec![bar(8)], vec![config(8)]),
        ("region=0,command=region-write", vec![], vec![bar(0)]),
    ] {
        let (_server, path) = faulty(&[&format!("error,errno=EIO,count=always,{options}")]);
        let mut client = Client::negotiated(&path);
        meant.iter().for_each(|body| client.call(command::REGION_READ, body).refused(EIO));
        for body in &not_meant {
            client.call(command::REGION_READ, body).ok();
        }
        // A body of other things is not looked into, nor one that is too short to say.
        client.call(command::DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
        client.call(command::REGION_READ, &[0; 15]).refused(EINVAL);
    }
    let (_server, path) = faulty(&["error,errno=EIO,region=0,offset=8"]);
    let mut client = Client::negotiated(&path);
    client.call(command::REGION_WRITE, &access(0, 8, 1, &[1])).refused(EIO);
    client.write(0, 8, &[1]);
}

#[test]
fn a_region_may_be_named() {
    for (name, region) in [
        ("bar0", 0),
        ("bar1", 1),
        ("bar2", 2),
        ("bar3", 3),
        ("bar4", 4),
        ("bar5", 5),
        ("rom", 6),
        ("config", 7),
        ("vga", 8),
    ] {
        for named in [name.to_owned(), region.to_string()] {
            let (_server, path) =
                faulty(&[&format!("error,errno=EIO,count=always,region={named}")]);
            let mut client = Client::negotiated(&path);
            for other in 0..9 {
                let error = client.call(command::REGION_READ, &access(other, 0, 1, &[])).error;
                assert_eq!(error == EIO, other == region, "{named}, {other}");
            }
        }
    }
}

#[test]
fn messages_of_an_impossible_size_are_none() {
    let (_server, path) = faulty(&["error,errno=EIO"]);
    let mut client = Client::connect(&path);
    client.send_raw(&crate::client::header(1, command::VERSION, 15, 0));
    client.receive().unwrap().refused(EINVAL);
    client.is_closed();
    let mut next = Client::connect(&path);
    next.call(command::VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EIO);
}

impl Client {
    /// Says something of another sort.
    fn still_in_step_unless(&mut self, number: u16) {
        if number != command::DEVICE_GET_INFO {
            self.still_in_step();
        }
    }
}
