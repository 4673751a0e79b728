use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use mtty::Mtty;
use vfio_device::testing::Harness;
use vfio_device::{BAR0, MdevDriver, Sources, Timers};

use super::*;
use crate::serial::port::{Port, pair};

/// Longer than anything takes on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn wire() -> (Port, Wire) {
    let (port, orders) = pair().unwrap();
    let null = Hung::open("null".into(), &"null".parse().unwrap()).unwrap();
    (port, Wire::new(null, Arc::default(), orders))
}

/// What an eventfd has counted, without taking it.
fn count(eventfd: &OwnedFd) -> u64 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", eventfd.as_raw_fd())).unwrap();
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).unwrap();
    u64::from_str_radix(count.trim(), 16).unwrap()
}

#[test]
fn all_that_was_asked_for_meanwhile_is_done_at_one_wake_up() {
    let (port, mut wire) = wire();
    let wake = wire.orders.wake().unwrap();
    let asking = [(); 3].map(|()| {
        let port = port.clone();
        thread::spawn(move || port.ask(|_| ()))
    });
    let end = Instant::now() + PATIENCE;
    while count(&wake) != 3 {
        assert!(Instant::now() < end, "{} have asked", count(&wake));
        thread::sleep(Duration::from_millis(1));
    }
    let (mut sources, mut timers) = (Sources::default(), Timers::default());
    wire.ready(0, Interest::READ, &mut Host::new(&mut sources, &mut timers, 0));
    assert_eq!(asking.map(|it| it.join().unwrap()), [Ok(()); 3]);
}

#[test]
fn a_burst_is_due_a_millisecond_after_its_first_byte_however_long_it_goes_on() {
    let (_port, wire) = wire();
    let kind = Mtty::default().types()[0];
    let mut card = Harness::new(|init| Mtty::default().make(&kind, vec![Box::new(wire)], init));
    assert_eq!(card.device().next_timer(), None);
    let before = Instant::now();
    card.write8(BAR0, 0, b'a');
    let due = card.device().next_timer().unwrap();
    let millisecond = Duration::from_millis(1);
    assert!(before + millisecond <= due && due <= Instant::now() + millisecond);
    for byte in b"nd so on" {
        card.write8(BAR0, 0, *byte);
        assert_eq!(card.device().next_timer(), Some(due));
    }
    card.skip_to_timer();
    assert_eq!(card.device().next_timer(), None, "it is out");
    card.write8(BAR0, 0, b'!');
    assert!(card.device().next_timer() > Some(due));
}

#[test]
fn what_is_gathered_is_pending_until_it_is_handed_over() {
    let (_port, mut wire) = wire();
    for byte in *b"abc" {
        assert_eq!(wire.transmit(byte.into(), Room::default()), Sent::Away);
    }
    assert_eq!((wire.status().pending, wire.status().counters.sent), (3, 3));
    wire.flush();
    assert_eq!((wire.status().pending, wire.status().counters.sent), (0, 3));
}
