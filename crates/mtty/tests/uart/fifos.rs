//! FCR, trigger levels, the character time-out, and 16450 mode.

use super::*;

#[test]
fn without_enable_no_other_bit_of_fcr_is_programmed() {
    let mut port = Port::with_plug();
    port.write(THR, 0x31);
    port.write(FCR, 0xfe);
    assert_eq!(port.read(IIR), 0x01, "no FIFOs");
    assert_eq!(port.read(RBR), 0x31, "nor has RBR been cleared");
}

#[test]
fn iir_shows_whether_the_fifos_are_enabled() {
    let mut port = Port::with_plug();
    port.write(FCR, 0x01);
    assert_eq!(port.read(IIR), 0xc1);
    port.write(FCR, 0x00);
    assert_eq!(port.read(IIR), 0x01);
}

#[test]
fn a_change_of_enable_clears_both_fifos() {
    for (from, to) in [(0x00, 0x01), (0x01, 0x00)] {
        let mut port = Port::with_wire();
        port.line.room = 0;
        port.write(FCR, from);
        port.arrive([0x31]);
        port.write(THR, 0x32);
        assert_eq!(port.read(LSR), DR);
        port.write(FCR, to);
        assert_eq!(port.read(LSR), THRE | TEMT, "FCR {from} to {to}");
        port.line.room = 1;
        port.poll();
        assert_eq!(port.line.sent, []);
    }
}

#[test]
fn each_clear_bit_clears_its_own_fifo_and_itself() {
    for (name, fcr, lsr) in [
        ("none", 0x01, DR),
        ("RCVR", 0x03, 0),
        ("XMIT", 0x05, DR | THRE | TEMT),
        ("both", 0x07, THRE | TEMT),
    ] {
        let mut port = Port::with_wire();
        port.line.room = 0;
        port.write(FCR, 0x01);
        port.arrive([0x31]);
        port.write(THR, 0x32);
        port.write(FCR, fcr);
        assert_eq!(port.read(LSR), lsr, "{name}");
        port.arrive([0x33]);
        port.write(THR, 0x34);
        assert_eq!(port.read(LSR), DR, "{name}: both hold again");
    }
}

#[test]
fn received_data_becomes_available_at_each_trigger_level_and_not_before() {
    for (fcr, level) in [(0x01, 1), (0x41, 4), (0x81, 8), (0xc1, 14)] {
        let mut port = Port::with_wire();
        port.write(FCR, fcr);
        port.write(IER, ERBFI);
        for count in 1..=16 {
            port.arrive([count]);
            assert_eq!(port.read(IIR) == 0xc4, count >= level, "level {level}, {count} there");
        }
        for left in (0..16).rev() {
            port.read(RBR);
            assert_eq!(port.read(IIR) == 0xc4, left >= level, "level {level}, {left} left");
        }
    }
}

#[test]
fn sixteen_characters_fit_and_come_out_in_order() {
    let mut port = Port::with_plug();
    port.write(LCR, WLS_8);
    port.write(FCR, 0x07);
    port.write_all(THR, 0x30..0x40);
    assert_eq!(port.read(LSR), DR | THRE | TEMT);
    assert_eq!(port.drain(), Vec::from_iter(0x30..0x40));
    assert_eq!(port.read(LSR), THRE | TEMT);
}

#[test]
fn there_is_no_time_out_without_fifos() {
    let mut port = Port::with_wire();
    port.write(IER, ERBFI);
    port.arrive([0x31]);
    assert_eq!(port.uart.take_timer(), None);
    port.uart.character_timeout();
    assert_eq!(port.read(IIR), 0x04);
}

#[test]
fn the_timer_does_not_run_for_an_interrupt_that_could_not_show() {
    for (name, fcr, ier, count) in [
        ("nothing received", 0x81, ERBFI, 0),
        ("at the trigger level", 0x81, ERBFI, 8),
        ("trigger level 1", 0x01, ERBFI, 1),
        ("ERBFI off", 0x81, ETBEI | ELSI | EDSSI, 1),
    ] {
        let mut port = Port::with_wire();
        port.write(FCR, fcr);
        port.write(IER, ier);
        port.arrive(0..count);
        assert_eq!(port.uart.take_timer(), None, "{name}");
        port.uart.character_timeout();
        assert_eq!(port.read(IIR) & 0x0c, if count >= 8 || fcr == 1 { 4 } else { 0 }, "{name}");
    }
}

#[test]
fn the_time_out_is_identified_and_acknowledged_by_reading_rbr() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x81);
    port.write(IER, ERBFI);
    port.arrive([0x31, 0x32]);
    assert_eq!(port.read(IIR), 0xc1, "not yet");
    port.wait();
    assert_eq!([port.read(IIR), port.read(LSR), port.read(IIR)], [0xcc, 0x61, 0xcc]);
    assert_eq!(port.interrupt(), Some(Interrupt::CharacterTimeout));
    port.read(RBR);
    assert_eq!(port.read(IIR), 0xc1);
    port.wait();
    assert_eq!(port.read(IIR), 0xcc, "for the second character");
    port.read(RBR);
    assert_eq!(port.read(IIR), 0xc1);
    assert_eq!(port.uart.take_timer(), None, "nothing is left to time");
}

#[test]
fn a_character_that_arrives_does_not_take_a_time_out_back() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x81);
    port.write(IER, ERBFI);
    port.arrive([0x31]);
    port.wait();
    port.arrive([0x32]);
    assert_eq!(port.read(IIR), 0xcc);
    assert_eq!(port.uart.take_timer(), None);
    port.arrive(0..6);
    assert_eq!(port.read(IIR), 0xc4, "the trigger level comes first");
}

#[test]
fn clearing_the_fifo_takes_the_time_out_and_the_timer_back() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x81);
    port.write(IER, ERBFI);
    port.arrive([0x31]);
    port.wait();
    port.write(FCR, 0x83);
    assert_eq!(port.read(IIR), 0xc1);
    port.arrive([0x32]);
    assert!(port.timer().is_some());
    port.write(FCR, 0x83);
    assert_eq!(port.uart.take_timer(), Some(Timer::Stop));
    port.uart.character_timeout();
    assert_eq!(port.read(IIR), 0xc1, "a timer that was stopped too late does nothing");
}

#[test]
fn the_timer_starts_again_with_each_character_and_each_read() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x81);
    port.write(IER, ERBFI);
    for step in 0..7 {
        port.arrive([step]);
        assert!(port.timer().is_some(), "character {step}");
        port.read(LSR);
        port.read(IIR);
        port.poll();
        assert_eq!(port.uart.take_timer(), None, "nothing has come or gone");
    }
    port.arrive([7]);
    assert_eq!(port.uart.take_timer(), Some(Timer::Stop), "the trigger level is reached");
    for step in 0..7 {
        port.read(RBR);
        assert!(port.timer().is_some(), "read {step}");
    }
    port.read(RBR);
    assert_eq!(port.uart.take_timer(), Some(Timer::Stop), "empty");
}

#[test]
fn the_timer_follows_erbfi() {
    let mut port = Port::with_wire();
    port.write(FCR, 0x81);
    port.arrive([0x31]);
    port.write(IER, ERBFI);
    assert!(port.timer().is_some());
    port.write(IER, 0);
    assert_eq!(port.uart.take_timer(), Some(Timer::Stop));
}

#[test]
fn four_character_times_follow_the_divisor_and_the_frame() {
    for (name, divisor, lcr, nanoseconds) in [
        ("115200 8N1", 1, WLS_8, 347_222),
        ("no divisor counts as 1", 0, WLS_8, 347_222),
        ("115200 8E1", 1, WLS_8 | PEN, 381_944),
        ("115200 8N2", 1, WLS_8 | STB, 381_944),
        ("115200 7E1", 1, 2 | PEN, 347_222),
        ("115200 6N2", 1, 1 | STB, 312_500),
        ("115200 5N1.5", 1, STB, 260_416),
        ("9600 8N1", 12, WLS_8, 4_166_666),
        ("300 8N1", 384, WLS_8, 133_333_333),
        ("slowest", 0xffff, WLS_8 | PEN | STB, 27_306_250_000),
    ] {
        let mut port = Port::with_wire();
        let [low, high] = u16::to_le_bytes(divisor);
        port.write(LCR, DLAB);
        port.write(DLL, low);
        port.write(DLM, high);
        port.write(LCR, lcr);
        port.write(FCR, 0x81);
        port.write(IER, ERBFI);
        port.arrive([0x31]);
        assert_eq!(port.timer(), Some(Duration::from_nanos(nanoseconds)), "{name}");
    }
}
