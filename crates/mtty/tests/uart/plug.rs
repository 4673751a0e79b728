//! The loop-back plug: no loss, back pressure, whole characters, break, AFE.

use super::*;

#[test]
fn a_full_transmitter_drops_what_is_written_and_keeps_what_it_has() {
    for (fcr, depth) in [(0x00, 1), (0x01, 16)] {
        let mut port = Port::with_plug();
        port.write(LCR, WLS_8);
        port.write(FCR, fcr);
        port.write_all(THR, 0..2 * depth + 5);
        assert_eq!(port.read(LSR), DR, "no OE: the line waits, it does not overrun");
        assert_eq!(port.drain(), Vec::from_iter(0..2 * depth), "depth {depth}");
    }
}

#[test]
fn no_burst_loses_anything_while_the_writer_respects_thre() {
    for (fcr, chunk) in [(0x00, 1), (0x01, 16), (0x81, 16), (0xc1, 16)] {
        for length in [1, 7, 8, 15, 16, 17, 31, 32, 33, 255, 256, 4096] {
            let data = Vec::from_iter((0..length).map(|i| (i * 7 + i / 256) as u8));
            let mut port = Port::with_plug();
            port.write(LCR, WLS_8);
            port.write(FCR, fcr);
            let mut back = Vec::new();
            for burst in data.chunks(chunk) {
                while port.read(LSR) & THRE == 0 {
                    back.push(port.read(RBR));
                }
                port.write_all(THR, burst.iter().copied());
            }
            back.extend(port.drain());
            assert_eq!(back, data, "FCR {fcr:#04x}, {length} bytes");
            assert_eq!(port.read(LSR), THRE | TEMT);
        }
    }
}

#[test]
fn thre_and_temt_fall_while_the_receiver_is_full_and_rise_when_it_is_read() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x01);
    port.write(IER, ETBEI);
    port.write_all(THR, 0..16);
    assert_eq!(port.read(LSR), DR | THRE | TEMT, "16 unread: all have gone");
    assert_eq!(port.read(IIR), 0xc2);
    port.write(THR, 16);
    assert_eq!(port.read(LSR), DR, "the 17th waits");
    assert_eq!(port.read(IIR), 0xc1);
    port.read(RBR);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
    assert_eq!(port.read(IIR), 0xc2);
}

#[test]
fn both_clear_bits_leave_nothing_behind_whatever_waited() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x01);
    port.write_all(THR, 0..40);
    port.write(FCR, 0x07);
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn clearing_the_receiver_makes_room_for_what_waits() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x01);
    port.write_all(THR, 0..20);
    port.write(FCR, 0x03);
    assert_eq!(port.drain(), [16, 17, 18, 19]);
}

#[test]
fn characters_come_back_whole_at_every_word_length() {
    for wls in 0..=3 {
        let mut port = Port::with_plug();
        port.write(LCR, wls);
        port.write(THR, 0xff);
        assert_eq!(port.read(RBR), 0xff, "WLS {wls}");
    }
}

#[test]
fn a_break_is_received_once_however_long_it_lasts() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x01);
    port.write(IER, ELSI);
    port.write(LCR, WLS_8 | SET_BREAK);
    port.write(LCR, WLS_8 | SET_BREAK | PEN);
    assert_eq!(port.read(IIR), 0xc6);
    assert_eq!(port.read(LSR), DR | BI | FE | THRE | TEMT | RCVR_FIFO_ERROR);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
    assert_eq!(port.drain(), [0x00]);
    port.write(LCR, WLS_8);
    assert_eq!(port.read(LSR), THRE | TEMT, "its end is not received");
    port.write(LCR, WLS_8 | SET_BREAK);
    assert_eq!(port.read(LSR) & (DR | BI), DR | BI, "the next one is");
}

#[test]
fn what_is_sent_during_a_break_is_lost_and_the_transmitter_empties() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x01);
    port.write(LCR, WLS_8 | SET_BREAK);
    port.write_all(THR, 0x41..0x61);
    assert_eq!(port.read(LSR) & (THRE | TEMT), THRE | TEMT);
    port.write(LCR, WLS_8);
    port.write(THR, 0x31);
    assert_eq!(port.drain(), [0x00, 0x31]);
}

#[test]
fn a_break_keeps_its_place_before_a_full_receiver() {
    let mut port = Port::with_plug();
    port.write(LCR, WLS_8);
    port.write(FCR, 0x01);
    port.write_all(THR, 0x41..0x51);
    port.write(LCR, WLS_8 | SET_BREAK);
    port.write(LCR, WLS_8);
    port.write(THR, 0x51);
    assert_eq!(port.read(LSR), DR, "break and character wait");
    for data in 0x41..0x51 {
        assert_eq!(port.read(RBR), data);
    }
    assert_eq!(port.read(LSR) & (OE | BI), BI);
    assert_eq!([port.read(RBR), port.read(RBR)], [0x00, 0x51]);
}

#[test]
fn the_modem_inputs_are_on_whatever_the_outputs_are() {
    let mut port = Port::with_plug();
    port.write(IER, EDSSI);
    for mcr in [0x00, DTR, RTS, DTR | RTS | OUT2, !LOOP] {
        port.write(MCR, mcr);
        assert_eq!(port.read(MSR), CTS | DSR | DCD, "MCR {mcr:#04x}");
        assert_eq!(port.interrupt(), None);
    }
}

#[test]
fn with_afe_cts_falls_while_the_receiver_is_full() {
    for (fcr, depth) in [(0x00, 1), (0x01, 16)] {
        let mut port = Port::with_plug();
        port.write(FCR, fcr);
        port.write(MCR, AFE | RTS);
        port.write(IER, EDSSI);
        port.write_all(THR, 1..depth);
        assert_eq!(port.read(MSR), CTS | DSR | DCD, "one place left of {depth}");
        port.write(THR, depth);
        assert_eq!(port.interrupt(), Some(Interrupt::ModemStatus));
        assert_eq!([port.read(MSR), port.read(MSR)], [DSR | DCD | DCTS, DSR | DCD]);
        port.read(RBR);
        assert_eq!(port.read(MSR), CTS | DSR | DCD | DCTS);
        port.write(THR, depth);
        port.write(MCR, RTS);
        assert_eq!(port.read(MSR) & CTS, CTS, "without AFE it does not fall");
    }
}
