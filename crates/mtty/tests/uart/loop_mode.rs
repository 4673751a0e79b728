//! MCR.LOOP: the port closed in on itself, where the transmitter waits for nobody.

use super::*;

#[test]
fn the_line_hears_nothing_and_is_not_heard() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.write(MCR, DTR | RTS);
    port.write(MCR, DTR | RTS | LOOP);
    assert_eq!(port.line.outputs, 0, "the outputs are inactive");
    port.arrive([0x41]);
    port.write(THR, 0x31);
    assert_eq!(port.line.sent, [], "TXD is marking");
    assert_eq!(port.drain(), [0x31]);
    port.write(MCR, DTR | RTS);
    assert_eq!(port.line.outputs, DTR | RTS);
    assert_eq!(port.drain(), [0x41], "it has waited on the line");
}

#[test]
fn the_seventeenth_unread_character_overruns_and_is_lost() {
    let mut port = Port::with_plug();
    port.write(LCR, WLS_8);
    port.write(FCR, 0x01);
    port.write(MCR, LOOP);
    port.write(IER, ELSI);
    port.write_all(THR, 0x30..0x40);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
    port.write(THR, 0x40);
    assert_eq!(port.read(IIR), 0xc6);
    assert_eq!([port.read(LSR), port.read(LSR)], [DR | OE | THRE | TEMT, DR | THRE | TEMT]);
    assert_eq!(port.read(IIR), 0xc1);
    assert_eq!(port.drain(), Vec::from_iter(0x30..0x40), "the FIFO is as it was");
}

#[test]
fn without_fifos_the_second_unread_character_replaces_the_first() {
    let mut port = Port::with_plug();
    port.write(LCR, WLS_8);
    port.write(MCR, LOOP);
    port.write_all(THR, [0x31, 0x32]);
    assert_eq!(port.read(LSR), DR | OE | THRE | TEMT);
    assert_eq!(port.drain(), [0x32]);
}

#[test]
fn what_the_line_would_not_take_is_looped() {
    let mut port = Port::with_wire();
    port.line.room = 0;
    port.write(FCR, 0x01);
    port.write_all(THR, [0x31, 0x32]);
    port.write(MCR, LOOP);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
    assert_eq!(port.drain(), [0x31, 0x32]);
}

#[test]
fn a_break_is_looped() {
    let mut port = Port::with_wire();
    port.write(MCR, LOOP);
    port.write(LCR, WLS_8 | SET_BREAK);
    assert_eq!(port.read(LSR), DR | BI | FE | THRE | TEMT);
    assert_eq!(port.read(RBR), 0);
    assert_eq!(port.line.sent, []);
}

#[test]
fn the_modem_outputs_are_the_modem_inputs() {
    for (mcr, msr) in [
        (LOOP, 0x00),
        (LOOP | DTR, DSR),
        (LOOP | RTS, CTS),
        (LOOP | OUT1, RI),
        (LOOP | OUT2, DCD),
        (LOOP | DTR | RTS | OUT1 | OUT2, 0xf0),
    ] {
        let mut port = Port::with_plug();
        port.write(MCR, mcr);
        assert_eq!(port.read(MSR) & 0xf0, msr, "MCR {mcr:#04x}");
    }
}

#[test]
fn the_looped_lines_make_deltas_and_modem_status_interrupts() {
    let mut port = Port::with_plug();
    port.write(MCR, LOOP | OUT1);
    assert_eq!(port.read(MSR), RI | DCTS | DDSR | DDCD, "the plug's inputs have gone");
    port.write(IER, EDSSI);
    port.write(MCR, LOOP);
    assert_eq!([port.read(IIR), port.read(MSR), port.read(IIR)], [0x00, TERI, 0x01]);
    port.write(MCR, LOOP | RTS | DTR);
    assert_eq!([port.read(IIR), port.read(MSR)], [0x00, CTS | DSR | DCTS | DDSR]);
}

#[test]
fn the_receiver_and_transmitter_interrupts_work() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x81);
    port.write(MCR, LOOP);
    port.write(IER, ERBFI | ETBEI);
    assert_eq!(port.read(IIR), 0xc2);
    port.write(THR, 0x31);
    port.wait();
    assert_eq!(port.read(IIR), 0xcc);
    port.write_all(THR, 0..7);
    assert_eq!(port.read(IIR), 0xc4);
    port.drain();
    assert_eq!(port.read(IIR), 0xc2);
}
