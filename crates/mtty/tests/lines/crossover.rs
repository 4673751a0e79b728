//! The null modem cable between the two ports of a card.

use mtty::line::CrossoverPlug;

use super::*;

fn crossed() -> Harness {
    let mut card = card(vec![Box::new(CrossoverPlug), Box::new(CrossoverPlug)]);
    for port in [0, 1] {
        store(&mut card, port, LCR, WLS_8);
        store(&mut card, port, FCR, 0x01);
    }
    card
}

#[test]
fn the_plug_takes_nothing_on_a_card_with_one_port() {
    let mut card = card(vec![Box::new(CrossoverPlug)]);
    store(&mut card, 0, MCR, DTR | RTS);
    store(&mut card, 0, THR, 0x31);
    assert_eq!((load(&mut card, 0, LSR), load(&mut card, 0, MSR)), (0, NULL_MODEM_OFF));
}

#[test]
fn the_plug_holds_what_there_is_no_room_for() {
    let sent = |across| CrossoverPlug.transmit(0x31.into(), Room { across, back: true });
    assert_eq!([sent(false), sent(true)], [Sent::Held, Sent::Across]);
}

#[test]
fn a_line_that_sends_across_without_asking_loses_nothing_either() {
    struct Careless;
    impl Line for Careless {
        fn transmit(&mut self, _: Character, _: Room) -> Sent {
            Sent::Across
        }
    }
    let mut single = card(vec![Box::new(Careless)]);
    store(&mut single, 0, THR, 0x31);
    assert_eq!(load(&mut single, 0, LSR), 0, "there is no other port");
    let mut dual = card(vec![Box::new(Careless), plug()]);
    (0..2).for_each(|port| store(&mut dual, port, FCR, 0x01));
    (0..48).for_each(|data| store(&mut dual, 0, THR, data));
    assert_eq!(load(&mut dual, 0, LSR), 0);
    assert_eq!(drain(&mut dual, 1), Vec::from_iter(0..48));
}

#[test]
fn what_one_port_sends_the_other_receives_and_is_interrupted_by() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut card = crossed();
        store(&mut card, to, MCR, OUT2);
        store(&mut card, to, IER, ERBFI);
        store(&mut card, from, THR, 0x41);
        assert_eq!(load(&mut card, from, LSR), THRE | TEMT, "nothing comes back");
        assert_eq!((card.fired(INTX, 0), card.intx()), (1, true));
        assert_eq!(drain(&mut card, to), [0x41]);
        assert!(!card.intx());
    }
}

#[test]
fn a_receiver_that_is_not_read_holds_the_far_transmitter_and_frees_it() {
    let mut card = crossed();
    (0..48).for_each(|data| store(&mut card, 0, THR, data));
    assert_eq!(load(&mut card, 0, LSR), 0, "16 received, 16 on the wire, 16 to send");
    store(&mut card, 0, THR, 0xff);
    store(&mut card, 0, MCR, OUT2);
    store(&mut card, 0, IER, ETBEI);
    assert!(!card.intx());
    for data in 0..15 {
        assert_eq!((load(&mut card, 1, RBR), card.intx()), (data, false));
    }
    assert_eq!((load(&mut card, 1, RBR), card.intx()), (15, true), "now the transmitter is empty");
    assert_eq!(drain(&mut card, 1), Vec::from_iter(16..48));
    assert_eq!(load(&mut card, 1, LSR), THRE | TEMT, "no overrun");
}

#[test]
fn both_directions_at_once_lose_nothing_at_any_pace() {
    let mut card = crossed();
    let mut state = 1u32;
    let (mut sent, mut received) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for step in 0..20_000u32 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let port = (state >> 31) as usize;
        let number = port as u32;
        match (state >> 28) & 7 {
            0..3 if load(&mut card, number, LSR) & THRE != 0 => {
                for data in 0..(state >> 20) % 17 {
                    let data = (step + data) as u8;
                    store(&mut card, number, THR, data);
                    sent[port].push(data);
                }
            }
            3 => store(&mut card, number, MCR, (state >> 20) as u8 & !LOOP),
            4 => store(&mut card, number, IER, (state >> 20) as u8),
            5 => drop(card.skip_to_timer()),
            _ => {
                for _ in 0..(state >> 20) % 30 {
                    let lsr = load(&mut card, number, LSR);
                    assert_eq!(lsr & (OE | PE | FE | BI), 0);
                    if lsr & DR != 0 {
                        received[1 - port].push(load(&mut card, number, RBR));
                    }
                }
            }
        }
    }
    for port in [0, 1, 0] {
        received[1 - port as usize].extend(drain(&mut card, port));
    }
    assert!(sent.iter().all(|data| data.len() > 5000));
    assert!(sent == received);
}

#[test]
fn a_break_keeps_its_place() {
    let mut card = crossed();
    store(&mut card, 0, THR, 0x31);
    store(&mut card, 0, LCR, WLS_8 | SET_BREAK);
    store(&mut card, 0, LCR, WLS_8);
    store(&mut card, 0, THR, 0x32);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push((load(&mut card, 1, LSR) & (BI | FE | DR), load(&mut card, 1, RBR)));
    }
    assert_eq!(seen, [(DR, 0x31), (DR | BI | FE, 0x00), (DR, 0x32)]);
}

#[test]
fn dtr_is_the_others_dsr_and_dcd_and_rts_its_cts() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut card = crossed();
        store(&mut card, to, MCR, OUT2);
        store(&mut card, to, IER, EDSSI);
        assert_eq!((load(&mut card, to, MSR), load(&mut card, from, MSR)), (0, 0));
        for (mcr, inputs, deltas) in [
            (OUT1 | OUT2, 0, 0),
            (DTR, DSR | DCD, DDSR | DDCD),
            (DTR | RTS, DSR | DCD | CTS, DCTS),
            (RTS, CTS, DDSR | DDCD),
            (RTS | LOOP, 0, DCTS), // in loop mode the pins are inactive
        ] {
            store(&mut card, from, MCR, mcr);
            assert_eq!(card.intx(), deltas != 0, "MCR {mcr:#x}");
            let seen = [load(&mut card, to, MSR), load(&mut card, to, MSR)];
            assert_eq!(seen, [inputs | deltas, inputs], "MCR {mcr:#x}");
        }
    }
}

#[test]
fn with_afe_the_other_side_hears_of_cts_going_off_while_the_receiver_is_full() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut card = crossed();
        store(&mut card, to, MCR, AFE | RTS);
        load(&mut card, from, MSR);
        store(&mut card, from, MCR, OUT2);
        store(&mut card, from, IER, EDSSI);
        (0..16).for_each(|data| store(&mut card, from, THR, data));
        assert!(card.intx());
        assert_eq!(load(&mut card, from, MSR), DCTS);
        assert!(!card.intx());
        load(&mut card, to, RBR);
        assert!(card.intx());
        assert_eq!(load(&mut card, from, MSR), CTS | DCTS);
    }
}

#[test]
fn a_reset_empties_the_wire() {
    let mut card = crossed();
    store(&mut card, 1, MCR, DTR | RTS);
    (0..40).for_each(|data| store(&mut card, 0, THR, data));
    card.reset();
    for port in [0, 1] {
        assert_eq!(load(&mut card, port, LSR), THRE | TEMT);
        assert_eq!(load(&mut card, port, MSR), 0, "no deltas either");
    }
}

#[test]
fn what_is_on_the_wire_comes_before_what_the_line_has_of_its_own() {
    for outruns in [false, true] {
        let far = Far::new();
        far.with(|it| it.outruns = outruns);
        let mut card = card(vec![Box::new(CrossoverPlug), far.boxed()]);
        // The first is received, and the receiver has room for one.
        (b'a'..=b'e').for_each(|data| store(&mut card, 0, THR, data));
        far.arrive(*b"xyz");
        assert_eq!(load(&mut card, 1, RBR), b'a');
        // The wire's goes in front also when it was sent later.
        far.arrive(*b"!");
        store(&mut card, 0, THR, b'f');
        assert_eq!(drain(&mut card, 1), b"bcdefxyz!");
    }
}

#[test]
fn a_crossover_on_one_side_only_is_a_wire_that_way_only() {
    let far = Far::new();
    let mut card = card(vec![Box::new(CrossoverPlug), far.boxed()]);
    store(&mut card, 0, THR, 0x31);
    store(&mut card, 1, THR, 0x32);
    assert_eq!(
        (drain(&mut card, 0), drain(&mut card, 1), far.sent()),
        (vec![], vec![0x31], vec![0x32])
    );
}
