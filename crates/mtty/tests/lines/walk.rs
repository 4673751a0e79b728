//! Random interleavings of what the guest, the host and time can do to a card, beside a model of it.

use proptest::prelude::*;
use proptest::sample::select;

use super::pair::{Act, Pair};
use super::*;

fn act() -> impl Strategy<Value = Act> {
    let fcr = select(vec![0x00, 0x01, 0x01, 0x41, 0x81, 0xc1, 0x03, 0x05, 0x87, 0xff]);
    let lcr = select(vec![0x03, 0x03, 0x03, 0x83, 0x43, 0x00, 0x1b, 0xff]);
    let mcr = prop_oneof![4 => select(vec![0x0b, 0x2b, 0x08, 0x28]), 1 => any::<u8>()];
    prop_oneof![
        6 => (0u8..8).prop_map(Act::Read),
        6 => (1u8..40).prop_map(Act::Drain),
        6 => (1u8..20).prop_map(Act::Fill),
        2 => any::<u8>().prop_map(|value| Act::Write(0, value)),
        4 => any::<u8>().prop_map(|value| Act::Write(1, value)),
        2 => fcr.prop_map(|value| Act::Write(2, value)),
        3 => lcr.prop_map(|value| Act::Write(3, value)),
        3 => mcr.prop_map(|value| Act::Write(4, value)),
        1 => (5u8..8, any::<u8>()).prop_map(|(offset, value)| Act::Write(offset, value)),
        6 => (1u8..30, prop_oneof![3 => Just(0), 1 => errors()]).prop_map(|(n, e)| Act::Arrive(n, e)),
        6 => (0u8..30).prop_map(Act::Take),
        3 => any::<u8>().prop_map(Act::Inputs),
        3 => Just(Act::Time),
        1 => Just(Act::Reset),
    ]
}

fn errors() -> impl Strategy<Value = u8> {
    select(vec![PE, FE, BI | FE, OE, PE | FE, 0xff])
}

/// What leaves everything where it is: what a good driver and a host that waits for room do.
#[derive(Clone, Debug)]
enum Good {
    /// Up to so many characters, once THRE is on.
    Send(u8),
    /// So many, as long as DR is on.
    Receive(u8),
    Break,
    Divisor(u16),
    Other(Act),
}

fn good() -> impl Strategy<Value = Good> {
    let errors = prop_oneof![3 => Just(0), 1 => select(vec![PE, FE, BI | FE])];
    let mcr = any::<u8>().prop_map(|value| Act::Write(4, value & !LOOP));
    let other = prop_oneof![
        3 => any::<u8>().prop_map(|value| Act::Write(1, value)),
        3 => mcr,
        6 => (1u8..60, errors).prop_map(|(count, errors)| Act::Arrive(count, errors)),
        6 => (0u8..60).prop_map(Act::Take),
        2 => any::<u8>().prop_map(Act::Inputs),
        2 => Just(Act::Time),
        2 => select(vec![IIR, MSR, SCR]).prop_map(Act::Read),
    ];
    prop_oneof![
        6 => (1u8..=16).prop_map(Good::Send),
        6 => (1u8..60).prop_map(Good::Receive),
        1 => Just(Good::Break),
        1 => any::<u16>().prop_map(Good::Divisor),
        12 => other.prop_map(Good::Other),
    ]
}

/// What has gone in at one end and come out at the other, kept by the test alone.
struct Ledger {
    pair: Pair,
    depth: u8,
    sent: Vec<Character>,
    arrived: Vec<Character>,
    received: Vec<Character>,
    /// LSR's errors since the last character was read.
    errors: u8,
}

impl Ledger {
    fn lsr(&mut self) -> u8 {
        let lsr = self.pair.read(0, LSR);
        assert_eq!(lsr & OE, 0, "an overrun");
        self.errors |= lsr & (PE | FE | BI);
        lsr
    }

    fn receive(&mut self, most: usize) {
        for _ in 0..most {
            if self.lsr() & DR == 0 {
                break;
            }
            let data = self.pair.read(0, RBR);
            self.received.push(Character { data, errors: std::mem::take(&mut self.errors) });
        }
    }

    fn a_break_waits(&self) -> bool {
        let gone = self.pair.fars[0].with(|it| it.sent.len());
        self.sent[gone..].iter().any(|it| it.is_break())
    }

    fn act(&mut self, good: Good) {
        match good {
            Good::Send(count) if self.lsr() & THRE != 0 => {
                for _ in 0..count.min(self.depth) {
                    let data = self.pair.number();
                    self.pair.write(0, THR, data);
                    self.sent.push(data.into());
                }
            }
            // One that is still waiting to go is the same one.
            Good::Break if !self.a_break_waits() => {
                self.pair.write(0, LCR, WLS_8 | SET_BREAK);
                self.pair.write(0, LCR, WLS_8);
                self.sent.push(Character { data: 0, errors: BI | FE });
            }
            Good::Send(_) | Good::Break => (),
            Good::Receive(most) => self.receive(most.into()),
            Good::Divisor(divisor) => set_divisor(&mut self.pair, divisor),
            Good::Other(act) => {
                if let Act::Arrive(count, errors) = act {
                    let next = self.pair.next;
                    let data = |at: u8| next.wrapping_add(at + 1);
                    let character =
                        |at| Character { data: data(at), errors: if at == 0 { errors } else { 0 } };
                    self.arrived.extend((0..count).map(character));
                }
                self.pair.act(0, act);
            }
        }
    }
}

fn set_divisor(pair: &mut Pair, divisor: u16) {
    let [low, high] = divisor.to_le_bytes();
    for (offset, value) in [(LCR, DLAB | WLS_8), (DLL, low), (DLM, high), (LCR, WLS_8)] {
        pair.write(0, offset, value);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_card_does_what_the_model_does(
        minds_rts: [bool; 2],
        acts in proptest::collection::vec((0usize..2, act()), 1..300),
    ) {
        let mut pair = Pair::new(minds_rts);
        for (port, act) in acts {
            pair.act(port, act);
        }
        for port in [0, 1] {
            (0..8).for_each(|offset| _ = pair.read(port, offset));
        }
    }

    #[test]
    fn what_goes_in_comes_out_once_and_in_order(
        minds_rts: bool,
        (fcr, depth) in select(vec![(0x00, 1), (0x01, 16), (0x41, 16), (0x81, 16), (0xc1, 16)]),
        acts in proptest::collection::vec(good(), 1..300),
    ) {
        let (sent, arrived, received) = Default::default();
        let pair = Pair::new([minds_rts, false]);
        let mut it = Ledger { pair, depth, sent, arrived, received, errors: 0 };
        it.pair.write(0, LCR, WLS_8);
        it.pair.write(0, FCR, fcr);
        for act in acts {
            it.act(act);
            let out = it.pair.fars[0].with(|inside| inside.sent.clone());
            assert!(it.sent.starts_with(&out) && it.arrived.starts_with(&it.received));
        }
        it.pair.act(0, Act::Write(4, RTS));
        it.pair.act(0, Act::Take(100));
        it.receive(usize::MAX);
        assert_eq!(it.pair.fars[0].with(|inside| inside.sent.clone()), it.sent);
        assert_eq!(it.received, it.arrived);
    }
}
