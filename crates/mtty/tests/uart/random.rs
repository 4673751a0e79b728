//! Any sequence of accesses: no panic, and what must hold always.

use super::*;

/// Knuth's MMIX generator; the high half is good enough.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) as u32) % limit
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// IIR, LSR, IER and `interrupt` are four views of one state.
fn check_views<L: Line>(port: &mut Port<L>, seed: u64) {
    let mut copy = Port { uart: port.uart.clone(), line: LoopbackPlug };
    let source = copy.interrupt();
    copy.write(LCR, WLS_8); // ends DLAB; a plug on a copy may move data, which changes no view below
    let ier = copy.read(IER);
    let mut copy = Port { uart: port.uart.clone(), line: LoopbackPlug };
    let iir = copy.read(IIR);
    let lsr = copy.read(LSR);
    let expected = match source {
        Some(Interrupt::ReceiverLineStatus) => (0x06, ELSI, lsr & (OE | PE | FE | BI) != 0),
        Some(Interrupt::ReceivedDataAvailable) => (0x04, ERBFI, lsr & DR != 0),
        Some(Interrupt::CharacterTimeout) => (0x0c, ERBFI, lsr & DR != 0 && iir & 0xc0 == 0xc0),
        Some(Interrupt::ThrEmpty) => (0x02, ETBEI, lsr & THRE != 0),
        Some(Interrupt::ModemStatus) => (0x00, EDSSI, true),
        None => (0x01, 0x0f, ier & ELSI == 0 || lsr & (OE | PE | FE | BI) == 0),
    };
    assert_eq!(iir & 0x3f, expected.0, "seed {seed}: {:?}", port.uart);
    assert!(matches!(iir & 0xc0, 0 | 0xc0), "seed {seed}");
    assert!(source.is_none() || ier & expected.1 != 0, "seed {seed}: {:?}", port.uart);
    assert!(expected.2, "seed {seed}: {:?}", port.uart);
    assert_eq!(lsr & THRE == 0, lsr & TEMT == 0, "seed {seed}");
}

#[test]
fn no_sequence_of_accesses_breaks_the_port() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut port = Port::with_wire();
        for _ in 0..2000 {
            match random.below(16) {
                0..6 => {
                    port.read(random.below(10) as u8);
                }
                6..12 => port.write(random.below(10) as u8, random.byte()),
                12 => port.uart.character_timeout(),
                13 => {
                    port.line.inputs = random.byte();
                    port.line.room = random.below(3) as usize * port.line.sent.len();
                    port.poll();
                }
                14 => port.arrive([Character { data: random.byte(), errors: random.byte() }]),
                _ if random.below(50) == 0 => port.uart.reset(),
                _ => {
                    port.uart.take_timer();
                }
            }
            check_views(&mut port, seed);
        }
    }
}

#[test]
fn every_pair_of_stores_is_followed_by_readable_registers() {
    for first in 0..=8 {
        for second in 0..=8 {
            for value in 0..=0xff {
                let mut port = Port::with_plug();
                port.write(first, value);
                port.write(second, !value);
                check_views(&mut port, 0);
                for offset in 0..=8 {
                    port.read(offset);
                }
            }
        }
    }
}

#[test]
fn whatever_else_the_guest_does_the_plug_keeps_every_byte_in_order() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut port = Port::with_plug();
        let depth = if random.below(2) == 0 { 1 } else { 16 };
        port.write(LCR, WLS_8);
        port.write(FCR, if depth == 1 { 0x00 } else { 0x01 | (random.byte() & 0xc0) });
        let (mut sent, mut back) = (Vec::new(), Vec::new());
        for _ in 0..2000 {
            match random.below(8) {
                0 | 1 if port.read(LSR) & THRE != 0 => {
                    let burst = Vec::from_iter((0..=random.below(depth)).map(|_| random.byte()));
                    port.write_all(THR, burst.iter().copied());
                    sent.extend(burst);
                }
                2 => port.write(IER, random.byte()),
                3 => port.write(MCR, random.byte() & !LOOP),
                4 => port.wait(),
                5 => {
                    port.write(LCR, DLAB | WLS_8);
                    port.write(DLL, random.byte());
                    port.write(LCR, WLS_8);
                }
                _ => {
                    let lsr = port.read(LSR);
                    assert_eq!(lsr & (OE | PE | FE | BI), 0, "seed {seed}");
                    if lsr & DR != 0 {
                        back.push(port.read(RBR));
                    }
                }
            }
            assert!(sent.starts_with(&back), "seed {seed}");
        }
        back.extend(port.drain());
        assert_eq!(back, sent, "seed {seed}");
    }
}
