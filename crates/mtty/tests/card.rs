#![cfg(test)]
//! The PCI card as a client of the core sees it: identity, types and capacity, the shared interrupt, reset.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mtty::Mtty;
use uuid::Uuid;
use vfio_device::{Device, Errno, IrqAction, IrqData, OpenMode, Parent, Vfio};

mod reg {
    pub const RBR: u64 = 0;
    pub const THR: u64 = 0;
    pub const IER: u64 = 1;
    pub const IIR: u64 = 2;
    pub const FCR: u64 = 2;
    pub const LCR: u64 = 3;
    pub const MCR: u64 = 4;
    pub const LSR: u64 = 5;
    pub const SCR: u64 = 7;
}
use reg::*;

const INTX: u32 = 0;
const MSI: u32 = 1;
const CONFIG: u32 = 7;

fn parent(ports: u32) -> Parent {
    Parent::register(&Vfio::new(), Mtty::new(ports))
}

fn create(parent: &Parent, name: &str, uuid: u128) -> Result<Device, Errno> {
    parent.create(parent.find(name).unwrap(), Uuid::from_u128(uuid))
}

/// A card that a client has open.
fn card(name: &str) -> Device {
    let mut card = create(&parent(24), name, 1).unwrap();
    card.register().unwrap();
    card.open(OpenMode::Exclusive).unwrap();
    card
}

fn load(card: &mut Device, port: u32, register: u64) -> u8 {
    let mut data = [0xee];
    card.region_read(port, register, &mut data).unwrap();
    data[0]
}

fn store(card: &mut Device, port: u32, register: u64, value: u8) {
    card.region_write(port, register, &[value]).unwrap();
}

fn config(card: &mut Device, offset: u64, length: usize) -> Vec<u8> {
    let mut data = vec![0xee; length];
    card.region_read(CONFIG, offset, &mut data).unwrap();
    data
}

/// Installs an eventfd on vector 0 of an irq index; `fired` tells what it has counted.
fn install(card: &mut Device, index: u32) -> File {
    let ours = eventfd();
    let theirs = OwnedFd::from(ours.try_clone().unwrap());
    card.set_irqs(index, IrqAction::Trigger, 0..1, IrqData::Eventfd([theirs].into_iter())).unwrap();
    ours
}

fn eventfd() -> File {
    use rustix::event::{EventfdFlags, eventfd};
    File::from(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap())
}

fn fired(eventfd: &File) -> u64 {
    let mut count = [0; 8];
    match (&mut &*eventfd).read_exact(&mut count) {
        Ok(()) => u64::from_le_bytes(count),
        Err(_) => 0,
    }
}

fn unmask(card: &mut Device) {
    type None = std::array::IntoIter<OwnedFd, 0>;
    card.set_irqs(INTX, IrqAction::Unmask, 0..1, IrqData::<None>::None).unwrap();
}

#[test]
fn more_ports_than_the_pool_has_are_refused_with_enospc() {
    let parent = parent(3);
    let kept = create(&parent, "mtty-2", 1).unwrap();
    assert_eq!(create(&parent, "mtty-2", 2).unwrap_err(), Errno::NOSPC);
    let last = create(&parent, "mtty-1", 3).unwrap();
    assert_eq!(create(&parent, "mtty-1", 4).unwrap_err(), Errno::NOSPC);
    drop((kept, last));
}

#[test]
fn available_instances_are_free_ports_by_ports_of_the_type() {
    let parent = Parent::register(&Vfio::new(), Mtty::default());
    let available = |parent: &Parent| {
        let of = |name| parent.available_instances(parent.find(name).unwrap());
        (of("mtty-1"), of("mtty-2"))
    };
    assert_eq!(available(&parent), (24, 12));
    let dual = create(&parent, "mtty-2", 1).unwrap();
    assert_eq!(available(&parent), (22, 11));
    let single = create(&parent, "mtty-1", 2).unwrap();
    assert_eq!(available(&parent), (21, 10));
    let reference = dual.get();
    drop(dual);
    assert_eq!(
        available(&parent),
        (21, 10),
        "ports come back at release, not before the last reference goes"
    );
    drop(reference);
    assert_eq!(available(&parent), (23, 11));
    drop(single);
    assert_eq!(available(&parent), (24, 12));
}

#[test]
fn the_types_are_those_of_the_sample() {
    let parent = parent(24);
    let types: Vec<_> =
        parent.types().iter().map(|kind| (kind.name, kind.pretty_name, kind.description)).collect();
    assert_eq!(
        types,
        [("mtty-1", "Single port serial", None), ("mtty-2", "Dual port serial", None)]
    );
}

#[test]
fn configuration_space_identifies_the_card_as_the_sample_does() {
    for (name, bar1) in [("mtty-1", 0x00), ("mtty-2", 0x01)] {
        let mut card = card(name);
        let mut expected = vec![0; 256];
        expected[..12]
            .copy_from_slice(&[0x48, 0x43, 0x53, 0x32, 0x01, 0, 0, 0x02, 0x10, 0x02, 0x00, 0x07]);
        (expected[0x10], expected[0x14]) = (0x01, bar1);
        expected[0x2c..0x30].copy_from_slice(&[0x48, 0x43, 0x53, 0x32]);
        expected[0x3d] = 0x01;
        (expected[0x40], expected[0x43]) = (0x23, 0x80);
        (expected[0x44], expected[0x48], expected[0x4c]) = (0x23, 0x23, 0x23);
        expected[0x60..0x6f].copy_from_slice(b"PCI Serial/UART");
        assert_eq!(config(&mut card, 0, 256), expected, "{name}");
    }
}

#[test]
fn a_bar_takes_addresses_at_multiples_of_8() {
    let mut card = card("mtty-2");
    for (bar, offset) in [(0, 0x10), (1, 0x14)] {
        card.region_write(CONFIG, offset, &[0xff; 4]).unwrap();
        assert_eq!(
            config(&mut card, offset, 4),
            [0xf9, 0xff, 0xff, 0xff],
            "BAR{bar} is 8 I/O ports"
        );
        card.region_write(CONFIG, offset, &[0x54, 0xc1, 0, 0]).unwrap();
        assert_eq!(
            config(&mut card, offset, 4),
            [0x51, 0xc1, 0, 0],
            "BAR{bar}: bits 2:1 cannot be set"
        );
    }
}

#[test]
fn the_single_port_card_has_no_second_bar() {
    let mut card = card("mtty-1");
    card.region_write(CONFIG, 0x14, &[0xff; 4]).unwrap();
    assert_eq!(config(&mut card, 0x14, 4), [0; 4]);
    assert_eq!(card.region_read(1, 0, &mut [0]), Err(Errno::INVAL));
}

#[test]
fn accesses_beyond_the_eight_registers_are_refused() {
    let mut card = card("mtty-2");
    assert_eq!(card.region_read(0, 8, &mut [0]), Err(Errno::INVAL));
    assert_eq!(card.region_read(0, 5, &mut [0; 4]), Err(Errno::INVAL));
    assert_eq!(card.region_write(1, u64::MAX, &[0]), Err(Errno::INVAL));
}

#[test]
fn the_bytes_of_a_wide_access_are_the_registers_at_their_offsets() {
    let mut card = card("mtty-2");
    card.region_write(0, LCR, &[0x03, 0x0b]).unwrap();
    store(&mut card, 0, SCR, 0x5a);
    let mut data = [0; 8];
    card.region_read(0, 0, &mut data).unwrap();
    assert_eq!(data, [0x00, 0x00, 0x01, 0x03, 0x0b, 0x60, 0xb0, 0x5a]);
}

#[test]
fn the_ports_do_not_know_of_each_other() {
    let mut card = card("mtty-2");
    store(&mut card, 0, THR, 0x41);
    store(&mut card, 1, THR, 0x42);
    assert_eq!((load(&mut card, 0, RBR), load(&mut card, 1, RBR)), (0x41, 0x42));
    assert_eq!((load(&mut card, 0, LSR), load(&mut card, 1, LSR)), (0x60, 0x60));
}

#[test]
fn intx_needs_out2_and_msi_does_not() {
    for (index, fires_without_out2) in [(INTX, 0), (MSI, 1)] {
        let mut card = card("mtty-1");
        let eventfd = install(&mut card, index);
        store(&mut card, 0, IER, 0x01);
        store(&mut card, 0, THR, 0x55);
        assert_eq!(fired(&eventfd), fires_without_out2, "irq index {index}");
        store(&mut card, 0, MCR, 0x08);
        assert_eq!(fired(&eventfd), 1 - fires_without_out2, "irq index {index} with OUT2");
    }
}

#[test]
fn each_port_sends_a_message_of_its_own() {
    let mut card = card("mtty-2");
    let eventfd = install(&mut card, MSI);
    for port in [0, 1] {
        store(&mut card, port, IER, 0x01);
        store(&mut card, port, THR, 0x55);
        assert_eq!(fired(&eventfd), 1, "port {port}");
    }
    load(&mut card, 0, RBR);
    store(&mut card, 0, THR, 0x56);
    assert_eq!(fired(&eventfd), 1, "port 0 once more, while port 1 waits");
}

#[test]
fn a_level_that_holds_fires_once_and_again_at_unmask() {
    let mut card = card("mtty-1");
    let eventfd = install(&mut card, INTX);
    store(&mut card, 0, MCR, 0x08);
    store(&mut card, 0, IER, 0x01);
    store(&mut card, 0, THR, 0x55);
    store(&mut card, 0, THR, 0x56);
    assert_eq!(fired(&eventfd), 1, "masked by itself");
    unmask(&mut card);
    assert_eq!(fired(&eventfd), 1, "the characters are still there");
    load(&mut card, 0, RBR);
    load(&mut card, 0, RBR);
    unmask(&mut card);
    assert_eq!(fired(&eventfd), 0, "they have been read");
}

#[test]
fn a_driver_that_is_at_work_is_left_in_peace_and_heard_again_when_it_pauses() {
    let mut card = card("mtty-1");
    let eventfd = install(&mut card, INTX);
    store(&mut card, 0, FCR, 0x01);
    store(&mut card, 0, MCR, 0x08);
    store(&mut card, 0, IER, 0x01);
    (0..16).for_each(|value| store(&mut card, 0, THR, value));
    // As QEMU does it: unmask after each access.
    let mut signals = fired(&eventfd);
    for _ in 0..100 {
        load(&mut card, 0, LSR);
        unmask(&mut card);
        signals += fired(&eventfd);
    }
    assert_eq!(signals, 5, "one, and one for each of the first few unmasks");

    let at_work = card.next_timer().unwrap();
    card.run_timers(at_work);
    assert_eq!(fired(&eventfd), 0, "the driver has been at work until now");
    let paused = card.next_timer().unwrap();
    assert!(paused > at_work && paused - at_work < Duration::from_millis(1));
    card.run_timers(paused);
    assert_eq!(fired(&eventfd), 1, "the characters are still there");
    assert_eq!(card.next_timer(), None);

    (0..16).for_each(|_| _ = load(&mut card, 0, RBR));
    unmask(&mut card);
    store(&mut card, 0, THR, 0x55);
    assert_eq!((fired(&eventfd), load(&mut card, 0, IIR)), (1, 0xc4), "a new rise fires at once");
}

#[test]
fn a_driver_that_reads_iir_until_nothing_is_left_is_not_called_again_meanwhile() {
    let mut card = card("mtty-1");
    let eventfd = install(&mut card, INTX);
    store(&mut card, 0, FCR, 0x01);
    store(&mut card, 0, MCR, 0x08);
    store(&mut card, 0, IER, 0x02);
    assert_eq!(fired(&eventfd), 1, "the transmitter is empty");
    for round in 0..2 {
        assert_eq!(load(&mut card, 0, IIR), 0xc2);
        unmask(&mut card);
        store(&mut card, 0, THR, 0x55);
        unmask(&mut card);
        assert!(config(&mut card, 0x06, 1)[0] & 0x08 != 0, "the level is high again");
        assert_eq!(fired(&eventfd), 0, "round {round}: the driver will see it");
    }
    assert_eq!((load(&mut card, 0, IIR), load(&mut card, 0, IIR)), (0xc2, 0xc1));
    store(&mut card, 0, THR, 0x55);
    assert_eq!(fired(&eventfd), 1, "it had found nothing more");
}

#[test]
fn a_driver_that_does_not_look_again_is_called_when_it_pauses() {
    let mut card = card("mtty-1");
    let eventfd = install(&mut card, INTX);
    store(&mut card, 0, MCR, 0x08);
    store(&mut card, 0, IER, 0x02);
    load(&mut card, 0, IIR);
    unmask(&mut card);
    store(&mut card, 0, THR, 0x55);
    assert_eq!(fired(&eventfd), 1, "that of IER");
    let paused = card.next_timer().unwrap();
    assert!(paused < Instant::now() + Duration::from_millis(1));
    card.run_timers(paused);
    assert_eq!(fired(&eventfd), 1);
    assert_eq!(card.next_timer(), None);
}

#[test]
fn what_the_other_port_has_is_said_when_the_driver_has_found_nothing_more() {
    let mut card = card("mtty-2");
    let eventfd = install(&mut card, INTX);
    for port in [0, 1] {
        store(&mut card, port, MCR, 0x08);
    }
    store(&mut card, 0, IER, 0x02);
    assert_eq!(load(&mut card, 0, IIR), 0x02);
    unmask(&mut card);
    assert_eq!(fired(&eventfd), 1);
    store(&mut card, 1, IER, 0x02);
    assert_eq!(fired(&eventfd), 0, "the driver is at work on port 0");
    assert_eq!(load(&mut card, 0, IIR), 0x01);
    assert_eq!(fired(&eventfd), 1, "and has not looked at port 1");
}

#[test]
fn both_ports_share_the_level() {
    let mut card = card("mtty-2");
    let eventfd = install(&mut card, INTX);
    for port in [0, 1] {
        store(&mut card, port, MCR, 0x08);
        store(&mut card, port, IER, 0x01);
        store(&mut card, port, THR, 0x55);
    }
    assert_eq!(fired(&eventfd), 1);
    load(&mut card, 0, RBR);
    unmask(&mut card);
    assert_eq!(fired(&eventfd), 1, "the second port still holds it");
    load(&mut card, 1, RBR);
    unmask(&mut card);
    assert_eq!(fired(&eventfd), 0);
}

#[test]
fn the_status_register_shows_the_level_and_interrupt_disable_holds_it_back() {
    let mut card = card("mtty-1");
    let eventfd = install(&mut card, INTX);
    card.region_write(CONFIG, 0x04, &[0x01, 0x04]).unwrap();
    store(&mut card, 0, MCR, 0x08);
    store(&mut card, 0, IER, 0x01);
    store(&mut card, 0, THR, 0x55);
    assert_eq!(fired(&eventfd), 0);
    assert_eq!(config(&mut card, 0x06, 1), [0x08]);
    card.region_write(CONFIG, 0x04, &[0x01, 0x00]).unwrap();
    assert_eq!(fired(&eventfd), 1);
    load(&mut card, 0, RBR);
    assert_eq!(config(&mut card, 0x06, 1), [0x00]);
}

#[test]
fn characters_below_the_trigger_level_interrupt_after_four_character_times() {
    let mut card = card("mtty-2");
    let eventfd = install(&mut card, INTX);
    store(&mut card, 1, LCR, 0x83);
    card.region_write(1, 0, &[0x01, 0x00]).unwrap(); // 115200 baud
    store(&mut card, 1, LCR, 0x03);
    store(&mut card, 1, FCR, 0x81); // trigger level 8
    store(&mut card, 1, MCR, 0x08);
    store(&mut card, 1, IER, 0x01);
    let before = Instant::now();
    store(&mut card, 1, THR, 0x55);
    assert_eq!(fired(&eventfd), 0);
    let due = card.next_timer().expect("a timer runs");
    let wait = due.duration_since(before);
    let four = Duration::from_nanos(4 * 10 * 1_000_000_000 / 115_200);
    assert!((four..four + Duration::from_millis(50)).contains(&wait), "{wait:?} for {four:?}");
    card.run_timers(due - Duration::from_nanos(1));
    assert_eq!(fired(&eventfd), 0, "too early");
    card.run_timers(due);
    assert_eq!((fired(&eventfd), load(&mut card, 1, IIR)), (1, 0xcc));
}

#[test]
fn the_uart_outlives_its_client_and_reset_clears_it() {
    let mut card = card("mtty-1");
    store(&mut card, 0, SCR, 0x77);
    store(&mut card, 0, THR, 0x41);
    card.close();
    card.open(OpenMode::Exclusive).unwrap();
    assert_eq!((load(&mut card, 0, SCR), load(&mut card, 0, LSR)), (0x77, 0x61));
    card.reset();
    assert_eq!((load(&mut card, 0, SCR), load(&mut card, 0, LSR)), (0x00, 0x60));
}

#[test]
fn a_reset_lowers_the_level_and_keeps_the_clients_eventfd() {
    let mut card = card("mtty-1");
    let eventfd = install(&mut card, INTX);
    let fire = |card: &mut Device| {
        store(card, 0, MCR, 0x08);
        store(card, 0, IER, 0x01);
        store(card, 0, THR, 0x55);
    };
    fire(&mut card);
    assert_eq!(fired(&eventfd), 1);
    card.reset();
    unmask(&mut card);
    assert_eq!(fired(&eventfd), 0, "nothing holds after the reset");
    fire(&mut card);
    assert_eq!(fired(&eventfd), 1);
}

#[test]
fn the_command_register_is_the_samples_until_the_first_reset() {
    let mut card = card("mtty-1");
    assert_eq!(config(&mut card, 0x04, 2), [0x01, 0x00]);
    card.region_write(CONFIG, 0x04, &[0xff, 0xff]).unwrap();
    assert_eq!(config(&mut card, 0x04, 2), [0x05, 0x04], "I/O, bus master, interrupt disable");
    card.reset();
    assert_eq!(config(&mut card, 0x04, 2), [0x00, 0x00]);
    assert_eq!(config(&mut card, 0x10, 4), [0x01, 0, 0, 0], "BARs go back too");
}
