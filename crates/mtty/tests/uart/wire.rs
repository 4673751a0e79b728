//! A line with a host on it: flow in both directions, line errors, modem lines.

use super::*;

/// Errors come with the data 0x31, 0x32, ...
fn with_errors(errors: impl IntoIterator<Item = u8>) -> Vec<Character> {
    errors.into_iter().zip(0x31..).map(|(errors, data)| Character { data, errors }).collect()
}

#[test]
fn the_receiver_never_takes_more_than_it_has_room_for() {
    for (fcr, depth) in [(0x00, 1), (0x01, 16)] {
        let mut port = Port::with_wire();
        port.write(FCR, fcr);
        port.arrive(0..100);
        assert_eq!(port.line.arriving.len(), 100 - depth);
        assert_eq!(port.drain(), Vec::from_iter(0..100), "each read makes room for the next");
        assert_eq!(port.read(LSR) & OE, 0);
    }
}

#[test]
fn characters_are_held_until_the_line_takes_them() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.line.room = 3;
    port.write_all(THR, 0..10);
    assert_eq!(port.read(LSR), 0);
    port.line.room = 9;
    port.poll();
    assert_eq!((port.line.sent.len(), port.read(LSR)), (9, 0));
    port.line.room = 10;
    port.poll();
    assert_eq!(port.read(LSR), THRE | TEMT);
    assert_eq!(port.line.sent, Vec::from_iter((0..10).map(Character::from)));
}

#[test]
fn an_echo_with_one_place_loses_nothing() {
    /// Takes a character only when it has handed the last one back.
    struct Echo(Option<Character>);
    impl Line for Echo {
        fn transmit(&mut self, sent: Character, _room: Room) -> Sent {
            if self.0.is_some() {
                return Sent::Held;
            }
            self.0 = Some(sent);
            Sent::Away
        }
        fn receive(&mut self) -> Option<Character> {
            self.0.take()
        }
    }
    let mut port = Port { uart: Uart::new(), line: Echo(None) };
    port.write(FCR, 0x01);
    port.write_all(THR, 0..33);
    assert_eq!(port.read(LSR), DR, "16 received, 1 on the line, 16 to send");
    port.write(FCR, 0x03);
    assert_eq!(port.read(LSR), DR | THRE | TEMT, "one store moves all that can move");
    assert_eq!(port.drain(), Vec::from_iter(16..33));
}

#[test]
fn a_line_that_sends_back_without_room_overruns() {
    struct Careless;
    impl Line for Careless {
        fn transmit(&mut self, _sent: Character, _room: Room) -> Sent {
            Sent::Back
        }
    }
    let mut port = Port { uart: Uart::new(), line: Careless };
    port.write(FCR, 0x01);
    port.write_all(THR, 0..17);
    assert_eq!(port.read(LSR), DR | OE | THRE | TEMT);
    assert_eq!(port.drain(), Vec::from_iter(0..16));
}

#[test]
fn only_line_errors_are_taken_from_the_line() {
    let mut port = Port::with_wire();
    port.arrive([Character { data: 0x31, errors: DR | THRE | TEMT | RCVR_FIFO_ERROR }]);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
    port.read(RBR);
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn characters_keep_all_their_bits_at_any_word_length() {
    let mut port = Port::with_wire();
    port.write(LCR, 2);
    port.arrive([0xff]);
    port.write(THR, 0xfe);
    assert_eq!(port.read(RBR), 0xff);
    assert_eq!(port.line.sent, [Character::from(0xfe)]);
}

#[test]
fn errors_show_with_their_own_character_in_the_fifo() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.write(IER, ELSI);
    port.arrive(with_errors([0, PE, 0, FE, BI | FE]));
    for (data, errors, later) in [
        (0x31, 0, true),
        (0x32, PE, true),
        (0x33, 0, true),
        (0x34, FE, true),
        (0x35, BI | FE, false),
    ] {
        let expected = DR | errors | THRE | TEMT | RCVR_FIFO_ERROR;
        assert_eq!(port.interrupt().is_some(), errors != 0, "{data:#x}");
        assert_eq!(port.read(LSR), expected, "{data:#x}");
        let acknowledged = DR | THRE | TEMT | if later { RCVR_FIFO_ERROR } else { 0 };
        assert_eq!(port.read(LSR), acknowledged, "{data:#x}: reading has cleared its own errors");
        assert_eq!(port.interrupt(), None, "{data:#x}");
        assert_eq!(port.read(RBR), data);
    }
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn without_fifos_errors_stay_until_lsr_is_read_and_bit_7_is_0() {
    let mut port = Port::with_wire();
    port.arrive(with_errors([PE]));
    port.read(RBR);
    port.arrive(with_errors([FE]));
    assert_eq!(port.read(LSR), DR | PE | FE | THRE | TEMT);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
}

#[test]
fn an_overrun_of_the_line_shows_at_once_not_with_its_character() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.arrive(with_errors([0, OE]));
    assert_eq!(port.read(LSR), DR | OE | THRE | TEMT);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
    assert_eq!(port.drain(), [0x31, 0x32]);
}

#[test]
fn clearing_the_fifo_takes_its_errors_away_but_not_the_overrun() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.arrive(with_errors([PE, OE]));
    port.write(FCR, 0x03);
    assert_eq!(port.read(LSR), OE | THRE | TEMT);
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn a_break_goes_out_as_one_character_in_its_turn() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.write(LCR, WLS_8);
    port.write(THR, 0x31);
    port.line.room = 1;
    port.write(LCR, WLS_8 | SET_BREAK);
    port.write(LCR, WLS_8);
    port.write(THR, 0x32);
    port.line.room = 3;
    port.poll();
    let [first, second, third] = port.line.sent[..] else { panic!("{:?}", port.line.sent) };
    assert_eq!([first.data, second.data, third.data], [0x31, 0x00, 0x32]);
    assert_eq!([first, second, third].map(Character::is_break), [false, true, false]);
}

#[test]
fn characters_that_are_held_when_a_break_begins_go_before_it() {
    for (fcr, held) in [(0x00, 1), (0x01, 16)] {
        let mut port = Port::with_wire();
        port.write(FCR, fcr);
        port.write(LCR, WLS_8);
        port.line.room = 0;
        port.write_all(THR, 1..=held);
        port.write(LCR, WLS_8 | SET_BREAK);
        port.write(THR, 0xaa);
        port.write(LCR, WLS_8);
        assert_eq!(port.read(LSR), 0);
        port.line.room = usize::from(held);
        port.poll();
        assert_eq!(port.read(LSR), THRE | TEMT);
        port.write(THR, 0xbb);
        assert_eq!(port.read(LSR), 0, "behind the break");
        port.line.room = 99;
        port.poll();
        let before = (1..=held).map(Character::from);
        assert_eq!(
            port.line.sent,
            Vec::from_iter(before.chain([Character::BREAK, 0xbb.into()])),
            "what was written during the break is lost"
        );
    }
}

#[test]
fn a_break_that_begins_while_one_is_held_is_the_same_one() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.line.room = 0;
    for data in [1, 2, 3] {
        port.write(LCR, WLS_8 | SET_BREAK);
        port.write(LCR, WLS_8);
        port.write(THR, data);
    }
    port.line.room = 99;
    port.poll();
    assert_eq!(port.line.sent, [Character::BREAK, 1.into(), 2.into(), 3.into()]);
    port.write(LCR, WLS_8 | SET_BREAK);
    assert_eq!(port.line.sent.len(), 5, "the next one is another");
}

#[test]
fn clearing_the_transmitter_leaves_the_break() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.line.room = 0;
    port.write_all(THR, [1, 2, 3]);
    port.write(LCR, WLS_8 | SET_BREAK);
    port.write(LCR, WLS_8);
    port.write(FCR, 0x05);
    port.write(THR, 4);
    port.line.room = 99;
    port.poll();
    assert_eq!(port.line.sent, [Character::BREAK, 4.into()]);
}

#[test]
fn no_character_overtakes_a_break_that_is_held() {
    /// Takes characters at any time, a break only when told.
    #[derive(Default)]
    struct Slow(bool, Vec<Character>);
    impl Line for Slow {
        fn transmit(&mut self, sent: Character, _room: Room) -> Sent {
            if sent.is_break() && !self.0 {
                return Sent::Held;
            }
            self.1.push(sent);
            Sent::Away
        }
    }
    let mut port = Port { uart: Uart::new(), line: Slow::default() };
    port.write(LCR, WLS_8 | SET_BREAK);
    port.write(LCR, WLS_8);
    port.write(THR, 0x31);
    assert_eq!(port.line.1, []);
    port.line.0 = true;
    port.poll();
    assert_eq!(port.line.1, [Character::BREAK, Character::from(0x31)]);
}

#[test]
fn dtr_and_rts_reach_the_line_and_out1_and_out2_do_not() {
    let mut port = Port::with_wire();
    for mcr in 0..LOOP {
        port.write(MCR, mcr);
        assert_eq!(port.line.outputs, mcr & (DTR | RTS));
    }
}

#[test]
fn with_afe_rts_falls_while_the_receiver_is_full() {
    let mut port = Port::with_wire();
    port.write(MCR, AFE | DTR | RTS);
    port.arrive([0x31]);
    assert_eq!(port.line.outputs, DTR);
    port.read(RBR);
    assert_eq!(port.line.outputs, DTR | RTS);
}

#[test]
fn a_line_that_waits_for_rts_goes_on_as_soon_as_afe_turns_it_on() {
    /// Sends 1, 2, 3 ... while RTS is on.
    struct Polite(u8, u8);
    impl Line for Polite {
        fn receive(&mut self) -> Option<Character> {
            if self.1 & RTS == 0 {
                return None;
            }
            self.0 += 1;
            Some(self.0.into())
        }
        fn modem(&mut self, outputs: u8, _across: u8) -> u8 {
            self.1 = outputs;
            CTS
        }
    }
    for (fcr, depth) in [(0x00, 1), (0x01, 16)] {
        let mut port = Port { uart: Uart::new(), line: Polite(0, 0) };
        port.write(FCR, fcr);
        port.write(MCR, AFE | RTS);
        assert_eq!((port.line.0, port.line.1), (depth, 0), "full, and RTS off");
        for data in 1..=100 {
            assert_eq!(port.read(RBR), data);
            assert_eq!((port.line.0, port.line.1), (depth + data, 0), "full again");
        }
        port.write(MCR, 0);
        port.read(RBR);
        assert_eq!(port.line.0, depth + 100, "RTS is off for good");
    }
}

#[test]
fn each_modem_input_has_its_delta_and_ri_only_on_the_trailing_edge() {
    for (name, input, on, off) in [
        ("CTS", CTS, DCTS, DCTS),
        ("DSR", DSR, DDSR, DDSR),
        ("RI", RI, 0, TERI),
        ("DCD", DCD, DDCD, DDCD),
    ] {
        let mut port = Port::with_wire();
        port.line.inputs = 0;
        assert_eq!(port.read(MSR), 0);
        port.line.inputs = input;
        assert_eq!([port.read(MSR), port.read(MSR)], [input | on, input], "{name} on");
        port.line.inputs = 0;
        assert_eq!([port.read(MSR), port.read(MSR)], [off, 0], "{name} off");
    }
}

#[test]
fn deltas_gather_until_msr_is_read() {
    let mut port = Port::with_wire();
    port.poll();
    for inputs in [CTS | DSR | RI, CTS | DSR | DCD, DSR | DCD] {
        port.line.inputs = inputs;
        port.poll();
    }
    assert_eq!(port.read(MSR), DSR | DCD | DCTS | TERI | DDCD);
    assert_eq!(port.read(MSR), DSR | DCD);
}
