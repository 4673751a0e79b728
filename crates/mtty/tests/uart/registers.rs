//! Reset values, what each register keeps, and the divisor latch.

use super::*;

#[test]
fn stores_to_the_status_registers_and_beyond_the_last_are_ignored() {
    for offset in [LSR, MSR, 8, 9, 0x80, 0xff] {
        let mut port = Port::with_plug();
        port.write(offset, 0xff);
        assert_eq!(port.read(LSR), 0x60, "offset {offset:#x}");
        assert_eq!(port.read(MSR), 0xb0, "offset {offset:#x}");
        assert_eq!(port.read(SCR), 0x00, "offset {offset:#x}");
    }
}

#[test]
fn loads_beyond_the_last_register_give_zero() {
    let mut port = Port::with_plug();
    port.write(SCR, 0x5a);
    assert_eq!([8, 0x10, 0xff].map(|offset| port.read(offset)), [0; 3]);
}

#[test]
fn a_fresh_port_reads_as_the_data_sheet_says() {
    let mut port = Port::with_plug();
    for (name, offset, value) in [
        ("RBR", RBR, 0x00),
        ("IER", IER, 0x00),
        ("IIR", IIR, 0x01),
        ("LCR", LCR, 0x00),
        ("MCR", MCR, 0x00),
        ("LSR", LSR, 0x60),
        ("MSR", MSR, 0xb0),
        ("SCR", SCR, 0x00),
    ] {
        assert_eq!(port.read(offset), value, "{name}");
    }
    port.write(LCR, DLAB);
    assert_eq!([port.read(DLL), port.read(DLM)], [0, 0], "divisor");
    assert_eq!(port.interrupt(), None);
    assert_eq!(port.uart.take_timer(), None);
    assert!(!port.uart.out2());
}

#[test]
fn each_register_keeps_the_bits_that_exist() {
    for (name, offset, kept) in
        [("IER", IER, 0x0f), ("LCR", LCR, 0xff), ("MCR", MCR, 0x3f), ("SCR", SCR, 0xff)]
    {
        for value in 0..=0xff {
            let mut port = Port::with_plug();
            port.write(offset, value);
            assert_eq!(port.read(offset), value & kept, "{name} after {value:#04x}");
        }
    }
}

#[test]
fn no_store_changes_another_register() {
    let shared = [IER, LCR, MCR, SCR];
    for written in shared {
        let mut port = Port::with_plug();
        port.write(written, 0x0a);
        for other in shared.into_iter().filter(|other| *other != written) {
            assert_eq!(port.read(other), 0, "offset {other} after a store to {written}");
        }
    }
}

#[test]
fn the_divisor_latch_stores_what_is_written_and_keeps_it_over_dlab() {
    let mut port = Port::with_plug();
    port.write(LCR, DLAB | WLS_8);
    for divisor in [[0x0c, 0x01], [0x01, 0x00], [0xff, 0xff], [0x00, 0x80]] {
        port.write(DLL, divisor[0]);
        port.write(DLM, divisor[1]);
        assert_eq!([port.read(DLL), port.read(DLM)], divisor);
        port.write(LCR, WLS_8);
        port.write(LCR, DLAB | WLS_8);
        assert_eq!([port.read(DLL), port.read(DLM)], divisor, "after leaving and coming back");
    }
}

#[test]
fn dlab_hides_thr_rbr_and_ier_and_nothing_else() {
    let mut port = Port::with_plug();
    port.write(IER, ERBFI);
    port.write(THR, 0x11);
    port.write(LCR, DLAB | WLS_8);
    port.write(DLL, 0x22);
    port.write(DLM, 0x33);
    assert_eq!(port.read(LSR), DR | THRE | TEMT, "a divisor byte is not sent");
    assert_eq!(port.read(IIR), 0x04, "interrupts go on");
    port.write(SCR, 0x44);
    assert_eq!(port.read(SCR), 0x44);
    assert_eq!(port.read(LCR), DLAB | WLS_8);
    port.write(LCR, WLS_8);
    assert_eq!(port.read(IER), ERBFI);
    assert_eq!(port.read(RBR), 0x11);
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn master_reset_forgets_everything() {
    let mut port = Port::with_wire();
    port.line.room = 0;
    port.write(FCR, 0xc1);
    port.write(LCR, DLAB);
    port.write_all(DLL, [0x12]);
    port.write(LCR, SET_BREAK);
    port.write(IER, 0x0f);
    port.write(MCR, 0x3f);
    port.write(SCR, 0x5a);
    port.write_all(THR, 0..20);
    port.uart.reset();
    port.poll();
    assert_eq!(format!("{:?}", port.uart.clone()), {
        let mut fresh = Port::with_wire();
        fresh.poll();
        format!("{:?}", fresh.uart)
    });
    assert_eq!(port.line.outputs, 0, "the line sees DTR and RTS go off");
}
