#![cfg(test)]
//! INTx reaches a driver, whatever it does with registers, masks and eventfds: sooner or later, and soon if it is known to
//! be waited for.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mtty::Mtty;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;
use vfio_device::{Device, Interest, IrqAction, IrqData, OpenMode, Parent, SourceId, Vfio};

const INTX: u32 = 0;
const CONFIG: u32 = 7;
const DATA: u64 = 0;
const IER: u64 = 1;
const IIR: u64 = 2;
const MCR: u64 = 4;
const LSR: u64 = 5;
const SCR: u64 = 7;
const OUT2: u8 = 0x08;

/// A card that a client has open, which gets INTx by one eventfd, and unmasks it by a message or by the other.
struct Client {
    card: Device,
    line: File,
    unmask: File,
}

fn eventfd() -> File {
    use rustix::event::{EventfdFlags, eventfd};
    File::from(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap())
}

impl Client {
    fn new() -> Self {
        let parent = Parent::register(&Vfio::new(), Mtty::new(24));
        let mut card = parent.create(parent.find("mtty-2").unwrap(), Uuid::from_u128(1)).unwrap();
        card.register().unwrap();
        card.open(OpenMode::Exclusive).unwrap();
        let mut client = Self { card, line: eventfd(), unmask: eventfd() };
        client.arm();
        client
    }

    /// The same, whose driver has read of an empty transmitter in IIR of port 0, and will look again.
    fn serving() -> Self {
        let mut client = Self::new();
        client.store(0, MCR, OUT2);
        client.store(0, IER, 0x02);
        assert_eq!((client.fired(), client.load(0, IIR)), (1, 0x02));
        client.set(IrqAction::Unmask, 0..1);
        client
    }

    fn arm(&mut self) {
        for (action, fd) in [(IrqAction::Trigger, &self.line), (IrqAction::Unmask, &self.unmask)] {
            let fd = OwnedFd::from(fd.try_clone().unwrap());
            self.card.set_irqs(INTX, action, 0..1, IrqData::Eventfd([fd].into_iter())).unwrap();
        }
    }

    /// `SET_IRQS` without data: unmasks or masks, or takes INTx down.
    fn set(&mut self, action: IrqAction, vectors: std::ops::Range<u32>) {
        let none = IrqData::<std::array::IntoIter<OwnedFd, 0>>::None;
        self.card.set_irqs(INTX, action, vectors, none).unwrap();
    }

    fn unmask_by_eventfd(&mut self) {
        (&self.unmask).write_all(&1u64.to_le_bytes()).unwrap();
        self.card.source_ready(SourceId::Unmask { index: INTX, vector: 0 }, Interest::READ);
    }

    fn load(&mut self, port: u32, register: u64) -> u8 {
        let mut data = [0];
        self.card.region_read(port, register, &mut data).unwrap();
        data[0]
    }

    fn store(&mut self, port: u32, register: u64, value: u8) {
        self.card.region_write(port, register, &[value]).unwrap();
    }

    /// How often INTx has been signalled since this was last asked.
    fn fired(&self) -> u64 {
        let mut count = [0; 8];
        (&self.line).read_exact(&mut count).map_or(0, |()| u64::from_le_bytes(count))
    }

    /// Whether the level holds, as the status register says.
    fn level(&mut self) -> bool {
        let mut status = [0];
        self.card.region_read(CONFIG, 6, &mut status).unwrap();
        status[0] & 0x08 != 0
    }
}

#[test]
fn a_driver_that_reads_iir_once_an_interrupt_is_called_at_once_by_who_knows_its_end() {
    let mut client = Client::new();
    client.store(0, MCR, OUT2);
    client.store(0, IER, 0x01);
    for round in 0..4 {
        client.store(0, DATA, 0x55); // the plug sends it back
        assert_eq!(client.fired(), 1, "round {round}");
        assert_eq!(client.load(0, IIR), 0x04);
        assert_eq!(client.load(0, DATA), 0x55);
        client.unmask_by_eventfd();
    }
}

#[test]
fn a_port_that_is_closed_while_it_is_served_does_not_hold_the_other_one_up() {
    let mut client = Client::serving();
    client.store(0, IER, 0);
    client.store(0, MCR, 0);
    client.store(1, MCR, OUT2);
    for round in 0..3 {
        client.store(1, DATA, 0x55);
        client.store(1, IER, 0x01);
        assert_eq!(client.fired(), 1, "round {round}");
        assert_eq!(
            [client.load(1, IIR), client.load(1, DATA), client.load(1, IIR)],
            [0x04, 0x55, 0x01]
        );
        client.store(1, IER, 0);
        client.set(IrqAction::Unmask, 0..1);
    }
}

#[test]
fn a_port_that_is_closed_while_it_is_served_is_not_signalled_for() {
    for (register, value) in [(IER, 0), (MCR, 0)] {
        let mut client = Client::serving();
        client.store(0, DATA, 0x55);
        assert!(client.level(), "the transmitter is empty again");
        client.store(0, register, value);
        assert_eq!((client.level(), client.fired()), (false, 0), "register {register}");
        // Nor is the other port held up.
        client.store(1, MCR, OUT2);
        client.store(1, IER, 0x02);
        assert_eq!(client.fired(), 1, "register {register}");
    }
}

#[test]
fn a_driver_that_was_called_in_a_pause_is_called_at_once_from_then_on() {
    let mut client = Client::serving();
    // It sends, and does not look again, but polls all the while.
    client.store(0, DATA, 0x55);
    let mut pauses = 0;
    while client.fired() == 0 {
        let due = client.card.next_timer().unwrap();
        client.load(0, LSR);
        client.card.run_timers(due);
        pauses += 1;
    }
    assert_eq!(pauses, 64, "of half a millisecond");
    client.load(0, DATA);
    client.store(0, DATA, 0x55);
    client.set(IrqAction::Unmask, 0..1);
    assert_eq!(client.fired(), 1, "it does not do what drivers are known to do");
}

#[derive(Clone, Debug)]
enum Act {
    Load(u32, u64),
    Store(u32, u64, u8),
    Mask,
    Unmask,
    UnmaskByEventfd,
    TakeDown,
    SetUp,
    /// The command register's Interrupt Disable.
    Disable(bool),
    Reset,
    /// So many microseconds go by.
    Time(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let port = || 0u32..2;
    let fcr = select(vec![0x00, 0x01, 0x41, 0x87]);
    let mcr = select(vec![0x08, 0x0b, 0x00, 0x18, 0x08]);
    prop_oneof![
        10 => (port(), 0u64..8).prop_map(|(port, register)| Act::Load(port, register)),
        4 => port().prop_map(|port| Act::Load(port, IIR)),
        4 => (port(), any::<u8>()).prop_map(|(port, value)| Act::Store(port, DATA, value)),
        4 => (port(), 0u8..16).prop_map(|(port, value)| Act::Store(port, IER, value)),
        2 => (port(), fcr).prop_map(|(port, value)| Act::Store(port, 2, value)),
        3 => (port(), mcr).prop_map(|(port, value)| Act::Store(port, MCR, value)),
        1 => Just(Act::Mask),
        6 => Just(Act::Unmask),
        3 => Just(Act::UnmaskByEventfd),
        1 => Just(Act::TakeDown),
        2 => Just(Act::SetUp),
        1 => any::<bool>().prop_map(Act::Disable),
        1 => Just(Act::Reset),
        3 => (0u16..3000).prop_map(Act::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// After anything at all a client that unmasks, and a guest that goes on accessing the card, are told of a level that
    /// holds: within 64 pauses, 32 ms.
    #[test]
    fn no_interrupt_is_lost_whatever_came_before(acts in prop::collection::vec(act(), 1..120)) {
        let mut client = Client::new();
        let mut now = Instant::now();
        for act in acts {
            match act {
                Act::Load(port, register) => drop(client.load(port, register)),
                Act::Store(port, register, value) => client.store(port, register, value),
                Act::Mask => client.set(IrqAction::Mask, 0..1),
                Act::Unmask => client.set(IrqAction::Unmask, 0..1),
                Act::UnmaskByEventfd => client.unmask_by_eventfd(),
                Act::TakeDown => client.set(IrqAction::Trigger, 0..0),
                Act::SetUp => client.arm(),
                Act::Disable(disable) => {
                    let command = [1, if disable { 4 } else { 0 }];
                    client.card.region_write(CONFIG, 4, &command).unwrap();
                }
                Act::Reset => client.card.reset(),
                Act::Time(microseconds) => {
                    now += Duration::from_micros(microseconds.into());
                    client.card.run_timers(now);
                }
            }
        }
        client.card.region_write(CONFIG, 4, &[1, 0]).unwrap();
        if !client.card.irqs().is_armed(INTX, 0) {
            client.arm();
        }
        client.fired();
        client.set(IrqAction::Unmask, 0..1);
        let mut fired = client.fired();
        if client.level() {
            // The card has timers of its own, too.
            for _ in 0..80 {
                if fired != 0 {
                    break;
                }
                let due = client.card.next_timer();
                prop_assert!(due.is_some(), "nobody will ever fire it");
                client.load(0, SCR);
                client.card.run_timers(due.unwrap());
                fired = client.fired();
            }
            prop_assert_ne!(fired, 0);
        }
    }
}
