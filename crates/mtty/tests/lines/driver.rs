//! What a driver pays for a character, in accesses and interrupts: one that does as Linux's 8250 does.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vfio_device::{IrqAction, IrqData};

use super::*;

/// Characters that it reads before it looks at other things, and that it stores at most once THRE is on.
const MOST_READ: usize = 256;
const BURST: usize = 16;
const BYTES: usize = 1 << 16;

struct Driver {
    card: Harness,
    to_send: VecDeque<u8>,
    received: Vec<u8>,
    accesses: usize,
    interrupts: usize,
}

impl Driver {
    /// As the driver leaves the port when it is opened: trigger level 8, interrupts on.
    fn new(line: Box<dyn Line>) -> Self {
        let card = card(vec![line]);
        let (to_send, received) = Default::default();
        let mut it = Self { card, to_send, received, accesses: 0, interrupts: 0 };
        set_divisor(&mut it.card, 0, 1, WLS_8);
        for (register, value) in [(FCR, 0x81), (MCR, DTR | RTS | OUT2), (IER, ERBFI | ELSI)] {
            store(&mut it.card, 0, register, value);
        }
        it
    }

    fn load(&mut self, register: u8) -> u8 {
        self.accesses += 1;
        load(&mut self.card, 0, register)
    }

    fn store(&mut self, register: u8, value: u8) {
        self.accesses += 1;
        store(&mut self.card, 0, register, value);
    }

    fn send(&mut self, data: impl IntoIterator<Item = u8>) {
        self.to_send.extend(data);
        self.store(IER, ERBFI | ELSI | ETBEI);
    }

    fn handle(&mut self) {
        while self.load(IIR) & 1 == 0 {
            let mut lsr = self.load(LSR);
            for _ in 0..MOST_READ {
                if lsr & (DR | BI) == 0 {
                    break;
                }
                let data = self.load(RBR);
                self.received.push(data);
                lsr = self.load(LSR);
            }
            self.load(MSR);
            if lsr & THRE != 0 && !self.to_send.is_empty() {
                for data in Vec::from_iter(self.to_send.drain(..self.to_send.len().min(BURST))) {
                    self.store(THR, data);
                }
                if self.to_send.is_empty() {
                    self.store(IER, ERBFI | ELSI);
                }
            }
        }
    }

    /// Serves interrupts, and lets time go by, until nothing comes any more.
    fn run(&mut self) {
        loop {
            if self.card.fired(INTX, 0) != 0 {
                self.interrupts += 1;
                self.handle();
                let data = IrqData::<std::array::IntoIter<OwnedFd, 0>>::None;
                self.card.device().set_irqs(INTX, IrqAction::Unmask, 0..1, data).unwrap();
            } else if self.card.skip_to_timer().is_none() {
                return;
            }
        }
    }

    /// The host's descriptor is ready.
    fn wake(&mut self, interest: Interest) {
        let id = self.card.device().sources().iter().next().unwrap().id();
        self.card.device().source_ready(id, interest);
    }
}

fn data(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
}

/// A line that is woken.
fn far() -> Far {
    Far::acting(|call, _, host| {
        if call == "start" {
            host.watch(0, UnixStream::pair().unwrap().0.into(), Interest::NONE);
        }
    })
}

#[test]
fn a_long_input_is_one_interrupt_and_two_accesses_a_byte() {
    let far = far();
    let mut driver = Driver::new(far.boxed());
    far.arrive(data(BYTES));
    driver.wake(Interest::READ);
    driver.run();
    assert!(driver.received == data(BYTES));
    assert_eq!(driver.interrupts, 1);
    assert!(driver.accesses < BYTES * 202 / 100, "{}", driver.accesses);
}

/// A card of two ports, whose hosts have more than any driver can read.
fn flooded() -> (Harness, [Far; 2]) {
    let fars = [far(), far()];
    fars.iter().for_each(|far| far.with(|it| it.outruns = true));
    let mut card = card(fars.iter().map(Far::boxed).collect());
    for port in 0..2 {
        set_divisor(&mut card, port, 1, WLS_8);
        for (register, value) in [(FCR, 0x81), (MCR, DTR | RTS | OUT2), (IER, ERBFI)] {
            store(&mut card, port, register, value);
        }
    }
    fars.iter().for_each(|far| far.arrive(data(1024)));
    let ids: Vec<_> = card.device().sources().iter().map(|it| it.id()).collect();
    ids.into_iter().for_each(|id| card.device().source_ready(id, Interest::READ));
    (card, fars)
}

/// Reads up to 256 characters, as Linux does before it looks at the other port.
fn read_some(card: &mut Harness, port: u32) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < MOST_READ && load(card, port, LSR) & DR != 0 {
        read.push(load(card, port, RBR));
    }
    read
}

#[test]
fn a_host_without_end_gives_the_driver_a_rest_after_256_characters_of_each_port() {
    let (mut card, _fars) = flooded();
    let mut received = [Vec::new(), Vec::new()];
    for round in 1..=4 {
        // As Linux does with two ports on one interrupt: until neither has anything.
        loop {
            let got = [read_some(&mut card, 0), read_some(&mut card, 1)];
            if got.iter().all(Vec::is_empty) {
                break;
            }
            received.iter_mut().zip(got).for_each(|(all, got)| all.extend(got));
        }
        let both = [round * 256; 2];
        assert_eq!(received.each_ref().map(Vec::len), both, "neither goes without");
        assert!(!card.intx(), "it can leave");
        // It has had its rest.
        card.skip_to_timer();
    }
    assert!(received.iter().all(|it| *it == data(1024)));
}

#[test]
fn the_rest_is_a_quarter_of_the_time_that_the_driver_was_at_work_from_1_to_20_ms() {
    const MS: Duration = Duration::from_millis(1);
    for (work, least, most) in [(0, 1, 20), (40, 10, 20), (200, 20, 20)] {
        let (mut card, _fars) = flooded();
        let begun = Instant::now();
        load(&mut card, 0, RBR);
        std::thread::sleep(work * MS);
        let before_the_rest = Instant::now();
        read_some(&mut card, 0);
        read_some(&mut card, 1);
        let due = card.device().next_timer().unwrap();
        assert!(due >= before_the_rest + least * MS, "after {work} ms of work");
        assert!(due <= Instant::now() + most * MS, "after {work} ms of work");
        // With hardly any work it is short, unless this machine was busy with something else.
        assert!(work != 0 || due <= Instant::now() + MS + begun.elapsed() / 4);
    }
}

#[test]
fn a_driver_that_leaves_an_interrupt_is_given_20_ms() {
    let (mut card, _fars) = flooded();
    let before = Instant::now();
    drain(&mut card, 0);
    assert!(card.intx(), "port 1 has something");
    assert!(card.device().next_timer().unwrap() >= before + Duration::from_millis(20));
}

#[test]
fn a_host_that_has_been_silent_owes_the_driver_no_rest() {
    let far = far();
    far.with(|it| it.outruns = true);
    let mut driver = Driver::new(far.boxed());
    for piece in data(2000).chunks(200) {
        far.arrive(piece.iter().copied());
        driver.wake(Interest::READ);
        assert_eq!(driver.card.fired(INTX, 0), 1);
        driver.handle();
        let none = IrqData::<std::array::IntoIter<OwnedFd, 0>>::None;
        driver.card.device().set_irqs(INTX, IrqAction::Unmask, 0..1, none).unwrap();
        // No timer was needed for any of it.
        assert_eq!(driver.received.len() % 200, 0);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(driver.received == data(2000));
}

#[test]
fn a_driver_that_never_leaves_has_more_of_it_all_the_same() {
    let far = far();
    far.with(|it| it.outruns = true);
    // The interrupt of the other port is not attended to.
    let mut card = card(vec![far.boxed(), plug()]);
    for (register, value) in [(MCR, OUT2), (IER, ETBEI)] {
        store(&mut card, 1, register, value);
    }
    store(&mut card, 0, MCR, RTS);
    far.arrive(data(300));
    card.skip_to_timer();
    let id = card.device().sources().iter().next().unwrap().id();
    card.device().source_ready(id, Interest::READ);
    assert_eq!(drain(&mut card, 0), data(300)[..256]);
    assert!(card.intx());
    card.skip_to_timer();
    assert_eq!(drain(&mut card, 0), data(300)[256..]);
}

#[test]
fn pieces_that_come_apart_are_one_interrupt_each() {
    for length in [1, 7, 8, 16, 100] {
        let far = far();
        let mut driver = Driver::new(far.boxed());
        for piece in data(1000).chunks(length) {
            far.arrive(piece.iter().copied());
            driver.wake(Interest::READ);
            driver.run();
        }
        assert!(driver.received == data(1000));
        assert_eq!(driver.interrupts, 1000usize.div_ceil(length), "pieces of {length}");
    }
}

#[test]
fn a_long_output_is_one_interrupt_and_nineteen_accesses_for_sixteen_bytes() {
    let far = far();
    let mut driver = Driver::new(far.boxed());
    driver.send(data(BYTES));
    driver.run();
    assert!(far.sent() == data(BYTES));
    assert_eq!(driver.interrupts, 1);
    assert!(driver.accesses <= BYTES * 19 / 16 + 8, "{}", driver.accesses);
}

#[test]
fn a_host_that_takes_some_at_a_time_costs_one_interrupt_each_time() {
    const TAKES: usize = 4096;
    let far = far();
    far.with(|it| it.room = 0);
    let mut driver = Driver::new(far.boxed());
    driver.send(data(BYTES));
    driver.run();
    let before = driver.interrupts;
    for round in 1..=BYTES / TAKES {
        far.with(|it| it.room = round * TAKES);
        driver.wake(Interest::WRITE);
        driver.run();
        assert_eq!(far.sent().len(), round * TAKES);
    }
    assert!(far.sent() == data(BYTES));
    assert_eq!((before, driver.interrupts - before), (1, BYTES / TAKES));
}

#[test]
fn what_goes_round_by_the_plug_is_one_interrupt_too() {
    let mut driver = Driver::new(plug());
    driver.send(data(BYTES));
    driver.run();
    assert!(driver.received == data(BYTES));
    assert!(driver.interrupts <= 2, "{}", driver.interrupts);
    assert!(driver.accesses < BYTES * 33 / 10, "{}", driver.accesses);
}
