//! What Linux's 8250 driver asks of a port before it believes in it.

use super::*;

#[test]
fn probe_ier_keeps_its_low_four_bits() {
    let mut port = Port::with_plug();
    port.write(IER, 0);
    assert_eq!(port.read(IER) & 0x0f, 0);
    port.write(IER, 0x0f);
    assert_eq!(port.read(IER) & 0x0f, 0x0f);
}

#[test]
fn probe_loop_mode_shows_0x90() {
    let mut port = Port::with_plug();
    port.write(MCR, 0x1a);
    assert_eq!(port.read(MSR) & 0xf0, 0x90);
    port.write(MCR, 0);
    assert_eq!(port.read(MSR) & 0xf0, 0xb0);
}

#[test]
fn probe_fifo_bits_say_16550a_and_no_more() {
    let mut port = Port::with_plug();
    port.write(LCR, 0);
    port.write(FCR, 0x01);
    assert_eq!(port.read(IIR) >> 6, 3);
    port.write(LCR, 0xbf);
    assert_eq!(port.read(FCR), 0xc1, "no EFR of a 16650 at the same place");
    port.write(FCR, 0x21);
    port.write(LCR, 0x80);
    port.write(FCR, 0x21);
    assert_eq!(port.read(IIR) & 0xe0, 0xc0, "no 64-byte FIFO of a 16750");
}

#[test]
fn probe_fifo_size_in_loop_mode_is_16() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x07);
    port.write(MCR, LOOP);
    port.write(LCR, DLAB | WLS_8);
    port.write_all(DLL, [1]);
    port.write(LCR, WLS_8);
    port.write_all(THR, 0..=255);
    assert_eq!(port.drain().len(), 16);
}

#[test]
fn startup_finds_no_floating_bus_and_nothing_left_after_clearing_the_fifos() {
    let mut port = Port::with_plug();
    port.write_all(THR, 0..50);
    port.write_all(FCR, [0x01, 0x07, 0x00]);
    for offset in [LSR, RBR, IIR, MSR] {
        port.read(offset);
    }
    assert_eq!(port.read(LSR), THRE | TEMT);
    assert_eq!(port.read(IIR), 0x01);
}

#[test]
fn startup_thre_test_finds_no_bug() {
    let mut port = Port::with_plug();
    port.write(LCR, WLS_8);
    assert_ne!(port.read(LSR) & THRE, 0);
    port.write(IER, ETBEI);
    let first = port.read(IIR);
    port.write(IER, 0);
    port.write(IER, ETBEI);
    let second = port.read(IIR);
    port.write(IER, 0);
    assert_eq!([first & 1, second & 1], [0, 0], "THRE shows again after it was toggled");
}

#[test]
fn startup_txen_test_finds_no_bug() {
    let mut port = Port::with_plug();
    port.write(MCR, OUT2);
    port.write(IER, ETBEI);
    let lsr = port.read(LSR);
    let iir = port.read(IIR);
    port.write(IER, 0);
    assert_ne!(lsr & TEMT, 0);
    assert_eq!(iir & 1, 0);
}

#[test]
fn the_interrupt_handler_moves_data_both_ways_until_it_is_done() {
    for (fcr, divisor) in [(0x81, 1), (0x01, 96)] {
        let data = Vec::from_iter((0..4096u32).map(|i| (i * 31 / 7) as u8));
        let (mut out, mut back) = (data.iter().copied().peekable(), Vec::new());
        let mut port = Port::with_plug();
        port.write(LCR, DLAB | WLS_8);
        port.write_all(DLL, [divisor]);
        port.write(LCR, WLS_8);
        port.write_all(FCR, [0x01, fcr]);
        port.write(MCR, DTR | RTS | OUT2);
        port.write(IER, ERBFI | ELSI | ETBEI);
        loop {
            if port.interrupt().is_none() {
                port.wait();
            }
            if port.read(IIR) & 1 != 0 {
                break;
            }
            let lsr = port.read(LSR);
            assert_eq!(lsr & (OE | PE | FE | BI), 0);
            if lsr & DR != 0 {
                back.extend(port.drain());
            }
            port.read(MSR);
            if lsr & THRE != 0 && out.peek().is_some() {
                port.write_all(THR, out.by_ref().take(16));
            } else if out.peek().is_none() {
                port.write(IER, ERBFI | ELSI);
            }
        }
        assert_eq!(back, data, "FCR {fcr:#04x}");
    }
}
