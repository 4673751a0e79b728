//! IIR: one test a source, what acknowledges it, what does not, and the order.

use super::*;

/// Makes all five sources pending on a port with FIFOs and trigger level 4: a time-out below the
/// level, an overrun-free line error, an empty transmitter and a changed modem line.
fn everything_pending() -> Port<Wire> {
    let mut port = Port::with_wire();
    port.write(LCR, WLS_8);
    port.write(FCR, 0x41);
    port.write(IER, ERBFI);
    port.poll();
    port.arrive([Character { data: 0x31, errors: PE }]);
    port.wait();
    port.arrive([0x32, 0x33, 0x34]);
    port.line.inputs &= !CTS;
    port.poll();
    port.write(IER, 0x00);
    port.write(IER, 0x0f);
    port
}

#[test]
fn nothing_is_identified_while_ier_is_clear() {
    let mut port = everything_pending();
    port.write(IER, 0);
    assert_eq!(port.read(IIR), 0xc1);
    assert_eq!(port.interrupt(), None);
}

#[test]
fn each_enable_bit_lets_its_own_sources_through() {
    for (ier, iir, source) in [
        (ERBFI, 0xc4, Interrupt::ReceivedDataAvailable),
        (ETBEI, 0xc2, Interrupt::ThrEmpty),
        (ELSI, 0xc6, Interrupt::ReceiverLineStatus),
        (EDSSI, 0xc0, Interrupt::ModemStatus),
    ] {
        let mut port = everything_pending();
        port.write(IER, 0);
        port.write(IER, ier);
        assert_eq!(port.interrupt(), Some(source), "IER {ier:#x}");
        assert_eq!(port.read(IIR), iir, "IER {ier:#x}");
    }
}

#[test]
fn the_sources_are_identified_in_the_order_of_the_data_sheet() {
    let mut port = everything_pending();
    assert_eq!(port.read(IIR), 0xc6);
    assert_eq!(port.read(LSR), DR | PE | THRE | TEMT | RCVR_FIFO_ERROR);
    assert_eq!(port.read(IIR), 0xc4);
    assert_eq!(port.read(RBR), 0x31);
    port.wait();
    assert_eq!(port.read(IIR), 0xcc, "below the trigger level");
    assert_eq!([port.read(RBR), port.read(RBR), port.read(RBR)], [0x32, 0x33, 0x34]);
    assert_eq!(port.read(IIR), 0xc2);
    assert_eq!(port.read(IIR), 0xc0, "the read before has acknowledged THRE");
    assert_eq!(port.read(MSR), DSR | DCD | DCTS);
    assert_eq!(port.read(IIR), 0xc1);
}

#[test]
fn line_status_is_acknowledged_by_reading_lsr_only() {
    let mut port = Port::with_wire();
    port.write(LCR, WLS_8);
    port.write(IER, ELSI);
    port.arrive([Character { data: 0x31, errors: FE }]);
    for offset in [IIR, RBR, MSR, IIR] {
        port.read(offset);
        assert_eq!(port.interrupt(), Some(Interrupt::ReceiverLineStatus), "after offset {offset}");
    }
    assert_eq!(port.read(LSR), FE | THRE | TEMT);
    assert_eq!(port.read(IIR), 0x01);
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn received_data_is_acknowledged_by_reading_rbr_only() {
    let mut port = Port::with_wire();
    port.write(LCR, WLS_8);
    port.write(IER, ERBFI);
    port.arrive([0x31]);
    for offset in [IIR, LSR, MSR, IIR] {
        port.read(offset);
        assert_eq!(port.interrupt(), Some(Interrupt::ReceivedDataAvailable), "offset {offset}");
    }
    assert_eq!(port.read(IIR), 0x04, "without FIFOs bits 7:6 are 0");
    assert_eq!(port.read(RBR), 0x31);
    assert_eq!(port.read(IIR), 0x01);
}

#[test]
fn thre_is_pending_once_enabled_on_an_empty_transmitter() {
    let mut port = Port::with_wire();
    port.write(IER, ETBEI);
    assert_eq!(port.read(IIR), 0x02);
    assert_eq!(port.read(IIR), 0x01, "reading IIR has acknowledged it");
    port.write(IER, ETBEI);
    assert_eq!(port.read(IIR), 0x01, "the bit has not risen");
    port.write(IER, 0);
    port.write(IER, ETBEI);
    assert_eq!(port.read(IIR), 0x02);
}

#[test]
fn thre_is_not_pending_once_enabled_on_a_full_transmitter() {
    let mut port = Port::with_wire();
    port.line.room = 0;
    port.write(THR, 0x31);
    port.write(IER, ETBEI);
    assert_eq!(port.read(IIR), 0x01);
    assert_eq!(port.read(LSR), 0, "neither THRE nor TEMT");
    port.line.room = 1;
    port.poll();
    assert_eq!(port.interrupt(), Some(Interrupt::ThrEmpty));
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn thre_is_acknowledged_by_writing_thr_until_that_has_gone() {
    let mut port = Port::with_wire();
    port.write(IER, ETBEI);
    port.line.room = 0;
    port.write(THR, 0x31);
    assert_eq!(port.interrupt(), None);
    port.line.room = 1;
    port.poll();
    assert_eq!(port.read(IIR), 0x02);
    port.line.room = 2;
    port.write(THR, 0x32);
    assert_eq!(port.read(IIR), 0x02, "it went at once, and left the transmitter empty again");
}

#[test]
fn thre_is_not_acknowledged_by_an_iir_that_reports_something_else() {
    let mut port = Port::with_wire();
    port.write(LCR, WLS_8);
    port.write(IER, ERBFI | ETBEI);
    port.arrive([0x31]);
    assert_eq!([port.read(IIR), port.read(IIR)], [0x04, 0x04]);
    port.read(RBR);
    assert_eq!([port.read(IIR), port.read(IIR)], [0x02, 0x01]);
}

#[test]
fn thre_is_not_acknowledged_by_reading_lsr() {
    let mut port = Port::with_wire();
    port.write(IER, ETBEI);
    assert_eq!(port.read(LSR), THRE | TEMT);
    assert_eq!(port.read(IIR), 0x02);
}

#[test]
fn clearing_a_waiting_transmitter_makes_thre_pending() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x01);
    port.line.room = 0;
    port.write(THR, 0x31);
    port.write(IER, ETBEI);
    assert_eq!(port.read(IIR), 0xc1);
    port.write(FCR, 0x05);
    assert_eq!(port.read(IIR), 0xc2);
    port.write(FCR, 0x05);
    assert_eq!(port.read(IIR), 0xc1, "it was empty already");
}

#[test]
fn modem_status_is_acknowledged_by_reading_msr_only() {
    let mut port = Port::with_wire();
    port.write(IER, EDSSI);
    port.poll();
    assert_eq!(port.read(IIR), 0x01, "the first look makes no deltas");
    port.line.inputs |= RI;
    port.poll();
    assert_eq!(port.read(IIR), 0x01, "RI counts when it goes off");
    port.line.inputs &= !RI;
    port.poll();
    for offset in [IIR, LSR, RBR, IIR] {
        port.read(offset);
        assert_eq!(port.interrupt(), Some(Interrupt::ModemStatus), "after offset {offset}");
    }
    assert_eq!(port.read(IIR), 0x00);
    assert_eq!(port.read(MSR), CTS | DSR | DCD | TERI);
    assert_eq!(port.read(IIR), 0x01);
    assert_eq!(port.read(MSR), CTS | DSR | DCD);
}

#[test]
fn out2_is_the_register_bit_also_in_loop_mode() {
    let mut port = Port::with_plug();
    for (mcr, active) in
        [(0, false), (OUT2, true), (OUT2 | LOOP, true), (LOOP, false), (!LOOP, true)]
    {
        port.write(MCR, mcr);
        assert_eq!(port.uart.out2(), active, "MCR {mcr:#04x}");
    }
    port.write(MCR, LOOP);
    port.write(IER, ETBEI);
    assert_eq!(port.interrupt(), Some(Interrupt::ThrEmpty), "OUT2 gates the bus, not IIR");
}
