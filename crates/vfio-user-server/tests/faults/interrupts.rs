//! Interrupts that are lost, and such that do not end.

use std::os::fd::{AsFd, OwnedFd};

use crate::client::{Client, command, count, eventfd};
use crate::faulty;
use crate::irqs::{EVENTFD, INTX, MSIX, NONE, TRIGGER, UNMASK};

/// A client of a device with these faults, whose vector goes to an eventfd.
fn armed(faults: &[&str], index: u32, vector: u32) -> (crate::server::Server, Client, OwnedFd) {
    let (server, path) = faulty(faults);
    let mut client = Client::negotiated(&path);
    let irq = eventfd(0);
    client.set_irqs([EVENTFD | TRIGGER, index, vector, 1], &[], &[irq.as_fd()]).ok();
    (server, client, irq)
}

/// Has the device state a level; how often it fired, up to the answer.
#[track_caller]
fn level(client: &mut Client, irq: &OwnedFd, index: u32, vector: u32, high: bool) -> u64 {
    client.write(0, 0xff0, &(vector << 8 | index << 4 | u32::from(high)).to_le_bytes());
    count(irq)
}

#[track_caller]
fn unmask(client: &mut Client, irq: &OwnedFd) -> u64 {
    client.set_irqs([NONE | UNMASK, INTX, 0, 1], &[], &[]).ok();
    count(irq)
}

/// How often each of so many rises of a level fires.
fn rises(client: &mut Client, irq: &OwnedFd, index: u32, vector: u32, times: u32) -> Vec<u64> {
    let mut fired = Vec::new();
    for _ in 0..times {
        fired.push(level(client, irq, index, vector, true));
        level(client, irq, index, vector, false);
        if index == INTX {
            assert_eq!(unmask(client, irq), 0);
        }
    }
    fired
}

#[test]
fn the_nth_firing_of_an_edge_is_lost() {
    for (options, expected) in [
        ("", [0, 1, 1, 1, 1]),
        (",at=3", [1, 1, 0, 1, 1]),
        (",at=2,count=2", [1, 0, 0, 1, 1]),
        (",at=4,count=always", [1, 1, 1, 0, 0]),
        (",vector=7", [0, 1, 1, 1, 1]),
        (",vector=8,count=always", [1, 1, 1, 1, 1]),
    ] {
        for _ in 0..2 {
            let fault = format!("lose-irq,index=msix{options}");
            let (_server, mut client, irq) = armed(&[&fault], MSIX, 7);
            assert_eq!(rises(&mut client, &irq, MSIX, 7, 5), expected, "{fault}");
        }
    }
}

#[test]
fn vectors_are_counted_together_unless_one_is_named() {
    for (fault, expected) in [
        ("lose-irq,index=2,at=3", [[1, 1], [0, 1]]),
        ("lose-irq,index=2,vector=1,at=2", [[1, 1], [1, 0]]),
        ("lose-irq,index=0,count=always", [[1, 1], [1, 1]]),
    ] {
        let (_server, mut client, first) = armed(&[fault], MSIX, 0);
        let second = eventfd(0);
        client.set_irqs([EVENTFD | TRIGGER, MSIX, 1, 1], &[], &[second.as_fd()]).ok();
        for expected in expected {
            let fired = [
                rises(&mut client, &first, MSIX, 0, 1)[0],
                rises(&mut client, &second, MSIX, 1, 1)[0],
            ];
            assert_eq!(fired, expected, "{fault}");
        }
    }
}

#[test]
fn the_first_of_several_faults_acts_and_the_others_count_the_interrupt_as_theirs() {
    for (faults, expected) in [
        (["lose-irq,index=msix,at=2", "stick-irq,index=msix,at=2"], [1, 0, 1, 1, 1]),
        (["lose-irq,index=msix", "lose-irq,index=msix,at=2"], [0, 0, 1, 1, 1]),
        (["lose-irq,index=msix,at=2,count=2", "lose-irq,index=msix,at=3"], [1, 0, 0, 1, 1]),
    ] {
        let (_server, mut client, irq) = armed(&faults, MSIX, 0);
        assert_eq!(rises(&mut client, &irq, MSIX, 0, 5), expected, "{faults:?}");
    }
}

#[test]
fn a_firing_without_an_eventfd_is_none() {
    let (_server, path) = faulty(&["lose-irq,index=msix,at=2"]);
    let mut client = Client::negotiated(&path);
    let irq = eventfd(0);
    assert_eq!(rises(&mut client, &irq, MSIX, 0, 5), [0; 5]);
    client.set_irqs([EVENTFD | TRIGGER, MSIX, 0, 1], &[], &[irq.as_fd()]).ok();
    assert_eq!(rises(&mut client, &irq, MSIX, 0, 4), [1, 0, 1, 1]);
}

#[test]
fn a_lost_level_fires_at_its_next_rise_or_at_an_unmask() {
    let (_server, mut client, irq) = armed(&["lose-irq,index=intx,count=2"], INTX, 0);
    assert_eq!(level(&mut client, &irq, INTX, 0, true), 0);
    assert_eq!(level(&mut client, &irq, INTX, 0, true), 0, "it has not risen");
    assert_eq!(level(&mut client, &irq, INTX, 0, false), 0);
    assert_eq!(level(&mut client, &irq, INTX, 0, true), 0, "the second one");
    assert_eq!(unmask(&mut client, &irq), 1);
    assert_eq!(level(&mut client, &irq, INTX, 0, false), 0);
    assert_eq!(unmask(&mut client, &irq), 0);
    assert_eq!(rises(&mut client, &irq, INTX, 0, 3), [1, 1, 1]);
}

#[test]
fn a_stuck_level_fires_once_more_for_each_firing_that_sticks() {
    for (options, sticks) in [("", 1), (",count=3", 3), (",count=always", 1000)] {
        let fault = format!("stick-irq,index=intx{options}");
        let (_server, mut client, irq) = armed(&[&fault], INTX, 0);
        assert_eq!(level(&mut client, &irq, INTX, 0, true), 1);
        assert_eq!(level(&mut client, &irq, INTX, 0, false), 0, "masked by itself");
        for unmasks in 1..=1000 {
            assert_eq!(unmask(&mut client, &irq), u64::from(unmasks <= sticks), "{fault}");
        }
    }
}

#[test]
fn a_stuck_edge_fires_again_after_each_message() {
    let (_server, mut client, irq) =
        armed(&["stick-irq,index=msix,vector=3,at=2,count=3"], MSIX, 3);
    let firings = |client: &mut Client| {
        client.still_in_step();
        // What follows a message follows its answer, too.
        client.still_in_step();
        count(&irq)
    };
    client.write(0, 0xff0, &0x321_u32.to_le_bytes());
    assert_eq!(firings(&mut client), 1, "the first one does not stick");
    client.write(0, 0xff0, &0x320_u32.to_le_bytes());
    client.write(0, 0xff0, &0x321_u32.to_le_bytes());
    // Once for the rise, and for each of the three that stick.
    for _ in 0..5 {
        client.still_in_step();
    }
    assert_eq!(count(&irq), 4);
    assert_eq!(firings(&mut client), 0, "and then no more");
}

#[test]
fn a_stuck_interrupt_leaves_with_what_the_client_set_up() {
    for index in [INTX, MSIX] {
        let fault = format!("stick-irq,index={index}");
        let (_server, mut client, irq) = armed(&[&fault], index, 0);
        client.write(0, 0xff0, &(index << 4 | 1).to_le_bytes());
        client.set_irqs([NONE | TRIGGER, index, 0, 0], &[], &[]).ok();
        client.write(0, 0xff0, &(index << 4).to_le_bytes());
        count(&irq);
        client.set_irqs([EVENTFD | TRIGGER, index, 0, 1], &[], &[irq.as_fd()]).ok();
        client.call(command::DEVICE_RESET, &[]).ok();
        client.still_in_step();
        assert_eq!(count(&irq), 0, "index {index}");
    }
}
