use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use mtty::Mtty;
use vfio_device::testing::Harness;
use vfio_device::{BAR0, MdevDriver, Sources, Timers};

use super::*;
use crate::serial::exchange::Change;
use crate::serial::port::{Port, pair};

/// Longer than anything takes on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn wire() -> (Port, Wire) {
    wire_to("null")
}

fn wire_to(text: &str) -> (Port, Wire) {
    let (port, orders) = pair().unwrap();
    (port, Wire::new(hung(text), Arc::default(), orders))
}

fn hung(text: &str) -> Hung {
    Hung::open(text.into(), &text.parse().unwrap()).unwrap()
}

/// Calls the wire with a host.
fn with_host(what: impl FnOnce(&mut Host<'_>)) {
    let (mut sources, mut timers) = (Sources::default(), Timers::default());
    what(&mut Host::new(&mut sources, &mut timers, 0));
}

fn exchange(wire: &mut Wire, text: &str) {
    let change = Change { hung: Some(hung(text)), pace: None };
    with_host(|host| wire.change(change, host));
}

/// The 100 ms are over.
fn plug_in(wire: &mut Wire) {
    with_host(|host| wire.timer(PLUG, host));
}

/// The guest sends this.
fn say(wire: &mut Wire, bytes: &[u8]) {
    for byte in bytes {
        assert_eq!(wire.transmit((*byte).into(), Room::default()), Sent::Away);
    }
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
    with_host(|host| wire.ready(0, Interest::READ, host));
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

#[test]
fn what_the_guest_sends_while_nothing_is_plugged_in_waits_for_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    let (_port, mut wire) = wire_to(&format!("file:{}", old.display()));
    say(&mut wire, b"before");
    exchange(&mut wire, &format!("file:{}", new.display()));
    assert_eq!(fs::read(&old).unwrap(), b"before", "it had gathered, and was for this one");
    assert_eq!(wire.modem(mcr::RTS, 0), 0);
    say(&mut wire, b"meanwhile");
    wire.flush();
    wire.turn();
    assert_eq!((fs::read(&new).unwrap().as_slice(), wire.status().pending), (&b""[..], 9));
    // There is an end to that.
    say(&mut wire, &[b'x'; 4096 - 9]);
    assert_eq!(wire.transmit(b'y'.into(), Room::default()), Sent::Held);
    plug_in(&mut wire);
    assert_eq!(wire.modem(mcr::RTS, 0), msr::CTS | msr::DSR | msr::DCD);
    let written = fs::read(&new).unwrap();
    assert_eq!((&written[..9], written.len()), (&b"meanwhile"[..], 4096));
    say(&mut wire, b"y");
}

#[test]
fn a_plug_carries_nothing_before_it_is_plugged_in() {
    let room = Room { back: true, across: true };
    for (text, carried) in [("loopback", Sent::Back), ("crossover", Sent::Across)] {
        let (_port, mut wire) = wire();
        exchange(&mut wire, text);
        assert_eq!(wire.transmit(b'x'.into(), room), Sent::Held, "{text}");
        assert_eq!(wire.status().counters.sent, 0);
        plug_in(&mut wire);
        assert_eq!(wire.transmit(b'x'.into(), room), carried);
        assert_eq!(wire.status().counters.sent, 1);
    }
}

#[test]
fn what_is_for_the_guest_waits_while_nothing_is_plugged_in() {
    for text in ["null,history=1", "loopback", "crossover"] {
        let (_port, mut wire) = wire();
        wire.modem(mcr::RTS, 0);
        wire.inject(None).unwrap();
        exchange(&mut wire, text);
        assert_eq!(wire.receive(), None, "{text}");
        plug_in(&mut wire);
        assert_eq!(wire.receive(), Some(Character::BREAK), "{text}");
    }
}

#[test]
fn what_a_log_has_lost_is_counted_on_by_the_next() {
    let (_port, mut wire) = wire_to("null,logfile=/dev/full");
    for (text, lost) in [("null", 3), ("loopback", 3), ("null,logfile=/dev/full", 6)] {
        if wire.status().log_lost == 0 {
            say(&mut wire, b"one");
        }
        exchange(&mut wire, text);
        plug_in(&mut wire);
        if lost == 6 {
            say(&mut wire, b"two");
            wire.flush();
        }
        assert_eq!(wire.status().log_lost, lost, "{text}");
    }
}

#[test]
fn what_had_gathered_for_an_end_that_took_nothing_is_lost_to_a_plug() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let (_port, mut wire) = wire_to("tcp:127.0.0.1:0,wait=on");
    say(&mut wire, b"lost");
    wire.flush();
    assert_eq!((wire.status().pending, wire.status().dropped), (4, 0));
    exchange(&mut wire, "loopback");
    assert_eq!((wire.status().pending, wire.status().dropped), (0, 4));
    exchange(&mut wire, &format!("file:{}", file.display()));
    plug_in(&mut wire);
    assert_eq!(fs::read(&file).unwrap(), b"");
}

#[test]
fn what_had_fallen_out_of_a_history_is_counted_on() {
    let (_port, mut wire) = wire_to("tcp:127.0.0.1:0,history=3");
    say(&mut wire, b"lost");
    exchange(&mut wire, "null");
    assert_eq!(wire.status().dropped, 1);
}
