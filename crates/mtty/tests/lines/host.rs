//! What a line hears, and what it can have of the host.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vfio_device::{OpenMode, Source, SourceId};

use super::*;

const SOON: Duration = Duration::from_secs(1);

fn descriptor() -> OwnedFd {
    UnixStream::pair().unwrap().0.into()
}

/// The numbers that the device's sources have now.
fn watched(card: &mut Harness) -> Vec<(SourceId, Interest)> {
    card.device().sources().iter().map(|it: &Source| (it.id(), it.interest())).collect()
}

#[test]
fn a_line_is_started_before_there_is_a_client_and_then_told_the_settings() {
    let far = Far::new();
    let mut card = card(vec![far.boxed()]);
    assert_eq!(far.calls(), ["start", "115200 5N1", "settle"]);
    card.device().close();
    assert_eq!(far.calls(), ["settle"], "clients come and go");
}

#[test]
fn a_port_whose_client_has_gone_has_its_outputs_off_and_receives_nothing_until_one_is_at_it_again()
{
    let fars = [Far::new(), Far::new()];
    let mut card = card(fars.iter().map(Far::boxed).collect());
    (0..2).for_each(|port| store(&mut card, port, MCR, DTR | RTS));
    let outputs = || fars.iter().map(|far| far.with(|it| it.outputs)).collect::<Vec<_>>();
    assert_eq!(outputs(), [DTR | RTS; 2]);
    fars[0].with(|it| it.room = 0);
    store(&mut card, 0, THR, b'x');
    card.device().close();
    assert_eq!(outputs(), [0; 2]);
    fars[0].arrive(*b"ab");
    fars[0].with(|it| it.room = 1);
    card.device().open(OpenMode::Exclusive).unwrap();
    assert_eq!(outputs(), [0; 2]);
    assert_eq!(fars[0].with(|it| it.arriving.len()), 2);
    assert_eq!(load(&mut card, 0, MCR), DTR | RTS);
    assert_eq!(outputs(), [DTR | RTS, 0], "port by port");
    assert_eq!(drain(&mut card, 0), *b"ab");
    assert_eq!(fars[0].sent(), *b"x", "what had been written goes out");
    load(&mut card, 1, SCR);
    assert_eq!(outputs(), [DTR | RTS; 2]);
}

#[test]
fn settings_are_told_when_they_are_whole_and_only_when_they_change() {
    let far = Far::new();
    let mut card = card(vec![plug(), far.boxed()]);
    far.calls();
    set_divisor(&mut card, 1, 12, WLS_8 | PEN);
    let calls = far.calls();
    assert_eq!(calls[..3], ["settle", "settle", "settle"], "DLAB is set");
    assert_eq!(calls[3..], ["9600 8O1", "settle"]);
    store(&mut card, 1, LCR, WLS_8 | PEN | SET_BREAK);
    store(&mut card, 1, LCR, WLS_8 | PEN);
    assert_eq!(far.calls(), ["settle", "settle"]);
    for (divisor, lcr, text) in [
        (0, 0x03, "115200 8N1"),
        (1, 0x1a, "115200 7E1"),
        (2, 0x2d, "57600 6M2"),
        (3, 0x3c, "38400 5S1.5"),
        (65535, 0x07, "1 8N2"),
    ] {
        set_divisor(&mut card, 1, divisor, lcr);
        assert_eq!(far.calls()[3..], [text, "settle"]);
    }
    card.reset();
    assert_eq!(far.calls(), ["115200 5N1", "settle"]);
}

#[test]
fn a_line_settles_after_what_concerned_its_port_and_nothing_else() {
    let fars = [Far::new(), Far::new()];
    let mut card = card(fars.iter().map(Far::boxed).collect());
    let mut calls = |act: &mut dyn FnMut(&mut Harness)| {
        fars.iter().for_each(|far| drop(far.calls()));
        act(&mut card);
        fars.iter().map(|far| far.calls().len()).collect::<Vec<_>>()
    };
    assert_eq!(calls(&mut |card| store(card, 0, SCR, 1)), [1, 0]);
    assert_eq!(calls(&mut |card| _ = load(card, 1, RBR)), [0, 1]);
    assert_eq!(calls(&mut |card| card.write32(1, 0, 0)), [0, 1], "once for a wide access");
    assert_eq!(calls(&mut |card| card.reset()), [1, 1]);
    assert_eq!(calls(&mut |card| _ = card.read8(7, 0)), [0, 0], "configuration space");
}

#[test]
fn each_line_has_numbers_of_its_own_and_a_number_too_high_is_ignored() {
    let line = || {
        Far::acting(|call, _, host| {
            if call == "start" {
                for n in [0, 15, 16, 31, 32, u32::MAX] {
                    host.watch(n, descriptor(), Interest::BOTH);
                    host.start_timer(n, SOON);
                }
                assert!(host.is_running(15) && !host.is_running(16));
            }
        })
    };
    let fars = [line(), line()];
    let mut card = card(fars.iter().map(Far::boxed).collect());
    let sources = watched(&mut card);
    assert_eq!(sources.len(), 4);
    fars.iter().for_each(|far| drop(far.calls()));
    for (id, _) in sources {
        card.device().source_ready(id, Interest::READ);
    }
    let ready = ["ready 0 true false", "settle", "ready 15 true false", "settle"];
    assert_eq!(fars.each_ref().map(Far::calls), [ready, ready]);
    while card.skip_to_timer().is_some() {}
    let timer = ["timer 0", "settle", "timer 15", "settle"];
    assert_eq!(fars.each_ref().map(Far::calls), [timer, timer]);
}

#[test]
fn a_line_changes_and_ends_its_watches_and_stops_its_timers() {
    let mut round = 0;
    let far = Far::acting(move |call, _, host| {
        if call == "settle" {
            match round {
                0 => host.watch(3, descriptor(), Interest::READ),
                1 => host.set_interest(3, Interest::NONE),
                2 => host.start_timer(3, SOON),
                3 => host.stop_timer(3),
                _ => host.unwatch(3),
            }
            round += 1;
        }
    });
    let mut card = card(vec![far.boxed()]);
    let mut seen = Vec::new();
    for _ in 0..5 {
        let interest = watched(&mut card).first().map(|(_, interest)| *interest);
        seen.push((interest, card.device().next_timer().is_some()));
        store(&mut card, 0, SCR, 0);
    }
    let (read, none) = (Some(Interest::READ), Some(Interest::NONE));
    assert_eq!(seen, [(read, false), (none, false), (none, true), (none, false), (None, false)]);
}

#[test]
fn a_reset_leaves_the_lines_timers_and_stops_the_uarts() {
    let far = Far::acting(|call, _, host| {
        if call == "start" {
            host.start_timer(0, SOON);
        }
    });
    let mut card = card(vec![far.boxed()]);
    store(&mut card, 0, FCR, 0x81);
    store(&mut card, 0, IER, ERBFI);
    far.arrive([0x31]);
    store(&mut card, 0, FCR, 0x81);
    assert!(card.device().next_timer().unwrap() < std::time::Instant::now() + SOON / 2);
    card.reset();
    far.calls();
    assert!(card.skip_to_timer().unwrap() > SOON / 2, "the time-out's timer has gone");
    assert_eq!(far.calls(), ["timer 0", "settle"]);
    assert_eq!(card.skip_to_timer(), None);
}

#[test]
fn what_the_host_brings_is_received_and_interrupts_once_a_burst() {
    for event in ["ready", "timer"] {
        let far = Far::acting(move |call, inside, host| match call {
            "start" if event == "ready" => host.watch(2, descriptor(), Interest::READ),
            "start" => host.start_timer(2, SOON),
            "settle" => (),
            _ => inside.arriving.extend((0..40).map(Character::from)),
        });
        let mut card = card(vec![far.boxed()]);
        store(&mut card, 0, FCR, 0x81);
        store(&mut card, 0, MCR, OUT2);
        store(&mut card, 0, IER, ERBFI);
        if event == "ready" {
            let (id, _) = watched(&mut card)[0];
            card.device().source_ready(id, Interest::READ);
        } else {
            card.skip_to_timer();
        }
        assert_eq!((load(&mut card, 0, IIR), card.intx()), (0xc4, true), "{event}");
        assert_eq!(far.with(|it| it.arriving.len()), 24, "the others wait with the line");
        assert_eq!(drain(&mut card, 0), Vec::from_iter(0..40), "one handler reads all of it");
        assert!(!card.intx());
        assert_eq!(card.fired(INTX, 0), 1, "{event}");
    }
}

#[test]
fn a_line_that_holds_stops_the_transmitter_until_it_is_polled_with_room() {
    let far = Far::acting(|call, inside, host| match call {
        "start" => host.watch(0, descriptor(), Interest::NONE),
        "ready 0 false true" => inside.room = usize::MAX,
        _ => (),
    });
    far.with(|it| it.room = 3);
    let mut card = card(vec![far.boxed()]);
    store(&mut card, 0, FCR, 0x01);
    store(&mut card, 0, MCR, OUT2);
    (0..10).for_each(|data| store(&mut card, 0, THR, data));
    store(&mut card, 0, IER, ETBEI);
    assert_eq!((load(&mut card, 0, LSR), card.intx()), (0, false));
    let (id, _) = watched(&mut card)[0];
    card.device().source_ready(id, Interest::WRITE);
    assert_eq!((load(&mut card, 0, LSR), card.intx()), (THRE | TEMT, true));
    assert_eq!((far.sent(), card.fired(INTX, 0)), (Vec::from_iter(0..10), 1));
}

#[test]
fn modem_lines_that_change_by_an_event_make_deltas() {
    let far = Far::acting(|call, inside, host| match call {
        "start" => host.start_timer(0, SOON),
        "timer 0" => inside.inputs = CTS | DCD,
        _ => (),
    });
    let mut card = card(vec![far.boxed()]);
    store(&mut card, 0, MCR, OUT2 | DTR);
    store(&mut card, 0, IER, EDSSI);
    assert_eq!((far.with(|it| it.outputs), card.intx()), (DTR, false));
    card.skip_to_timer();
    assert_eq!((load(&mut card, 0, IIR), card.intx()), (0x00, true));
    assert_eq!(load(&mut card, 0, MSR), CTS | DCD | DCTS | DDCD);
    assert!(!card.intx());
}
