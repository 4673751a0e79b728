#![cfg(test)]
//! When an interrupt goes out (kernel: `vfio_pci_intrs.c`).

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl};
use vfio_device::IrqAction::{Mask, Trigger, Unmask};
use vfio_device::{BarKind, Device, Errno, Interest, IrqData, IrqFlags, Region, SourceId};

use crate::support::{
    Call, Log, Probe, config_read, config_write, event, opened, plain, set, set_bytes, set_fds,
    signal, signals,
};

const INTX: u32 = 0;
const MSI: u32 = 1;

/// A device whose register 0 states the level of INTx, register 1 that of MSI vector 0; a write to 2 triggers INTx,
/// one to 3 triggers MSI vector 1; one to 4 says whether INTx is in service.
pub fn device() -> Device {
    let probe = Probe::acting(&Log::default(), |call, cx| {
        match call {
            Call::Write { offset: 0, data, .. } => cx.irqs.set_level(INTX, 0, data[0] != 0),
            Call::Write { offset: 1, data, .. } => cx.irqs.set_level(MSI, 0, data[0] != 0),
            Call::Write { offset: 2, .. } => cx.irqs.trigger(INTX, 0),
            Call::Write { offset: 3, .. } => cx.irqs.trigger(MSI, 1),
            Call::Write { offset: 4, data, .. } => cx.irqs.set_in_service(data[0] != 0),
            _ => (),
        }
        Ok(())
    });
    let bar = Region::trapped(16);
    let description = plain().bar(0, BarKind::Memory32, bar).intx().irq(MSI, IrqFlags::MSI, 4);
    opened(description.irq(2, IrqFlags::MSI, 8), probe)
}

fn level(device: &mut Device, high: bool) {
    device.region_write(0, 0, &[u8::from(high)]).unwrap();
}

fn message(device: &mut Device, high: bool) {
    device.region_write(0, 1, &[u8::from(high)]).unwrap();
}

fn trigger(device: &mut Device) {
    device.region_write(0, 2, &[1]).unwrap();
}

fn service(device: &mut Device, in_service: bool) {
    device.region_write(0, 4, &[u8::from(in_service)]).unwrap();
}

/// A device with INTx set up.
fn intx() -> (Device, File) {
    let mut device = device();
    let (kept, sent) = event();
    set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
    (device, kept)
}

#[test]
fn a_level_fires_once_and_again_at_each_unmask_while_it_holds() {
    let (mut device, intx) = intx();
    level(&mut device, true);
    assert_eq!(signals(&intx), 1);
    for _ in 0..3 {
        level(&mut device, true);
        assert_eq!(signals(&intx), 0, "masked by itself");
        set(&mut device, INTX, Unmask, 0..1).unwrap();
        assert_eq!(signals(&intx), 1);
    }
    level(&mut device, false);
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    assert_eq!(signals(&intx), 0, "it has fallen");
    level(&mut device, true);
    assert_eq!(signals(&intx), 1);
    assert_eq!(device.irqs().fired(INTX, 0), 5);
}

#[test]
fn a_level_that_fell_and_rose_while_masked_fires_once_at_unmask() {
    let (mut device, intx) = intx();
    set(&mut device, INTX, Mask, 0..1).unwrap();
    for high in [true, false, true, false, true] {
        level(&mut device, high);
    }
    assert_eq!(signals(&intx), 0);
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    assert_eq!(signals(&intx), 1);
}

#[test]
fn a_level_that_rose_and_fell_while_masked_does_not_fire() {
    let (mut device, intx) = intx();
    set_bytes(&mut device, INTX, Mask, 0..1, &[0]).unwrap();
    level(&mut device, true);
    assert_eq!(signals(&intx), 1, "a byte of 0 masks nothing");
    level(&mut device, false);
    level(&mut device, true);
    level(&mut device, false);
    set_bytes(&mut device, INTX, Unmask, 0..1, &[0]).unwrap();
    set_bytes(&mut device, INTX, Unmask, 0..1, &[0xff]).unwrap();
    assert_eq!(signals(&intx), 0);
}

#[test]
fn a_level_that_holds_already_fires_when_the_client_sets_intx_up() {
    let mut device = device();
    level(&mut device, true);
    assert!(device.irqs().level(INTX, 0));
    assert_eq!(device.irqs().fired(INTX, 0), 0);
    let (kept, sent) = event();
    set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
    assert_eq!(signals(&kept), 1);
}

#[test]
fn an_event_on_a_level_index_fires_once_and_if_masked_at_unmask() {
    let (mut device, intx) = intx();
    trigger(&mut device);
    trigger(&mut device);
    trigger(&mut device);
    assert_eq!(signals(&intx), 1);
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    assert_eq!(signals(&intx), 1);
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    assert_eq!(signals(&intx), 0);
}

#[test]
fn an_edge_index_fires_at_each_rise_and_masks_nothing() {
    let mut device = device();
    let (fds, kept): (Vec<_>, Vec<_>) =
        (0..4).map(|_| event()).map(|(kept, sent)| (sent, kept)).unzip();
    set_fds(&mut device, MSI, Trigger, fds).unwrap();
    for high in [true, true, false, true, false, false, true] {
        message(&mut device, high);
    }
    device.region_write(0, 3, &[1]).unwrap();
    let counts: Vec<_> = kept.iter().map(signals).collect();
    assert_eq!(counts, [3, 1, 0, 0]);
}

#[test]
fn a_client_fires_by_hand_what_its_bytes_or_range_pick() {
    let mut device = device();
    let (fds, kept): (Vec<_>, Vec<_>) =
        (0..4).map(|_| event()).map(|(kept, sent)| (sent, kept)).unzip();
    set_fds(&mut device, MSI, Trigger, fds).unwrap();
    set(&mut device, MSI, Trigger, 1..3).unwrap();
    set_bytes(&mut device, MSI, Trigger, 1..4, &[0, 1, 0x80]).unwrap();
    let counts: Vec<_> = kept.iter().map(signals).collect();
    assert_eq!(counts, [0, 1, 2, 1]);
}

#[test]
fn interrupt_disable_holds_intx_back_and_nothing_else() {
    let (mut device, intx) = intx();
    config_write(&mut device, 0x05, &[0x04]);
    level(&mut device, true);
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    assert_eq!(signals(&intx), 0);
    assert_eq!(config_read(&mut device, 0x06), [0x08], "the status bit is not held back");
    config_write(&mut device, 0x04, &[0x00, 0x00]);
    assert_eq!(signals(&intx), 1);
    set(&mut device, INTX, Trigger, 0..0).unwrap();
    config_write(&mut device, 0x05, &[0x04]);
    let (msi, sent) = event();
    set_fds(&mut device, MSI, Trigger, vec![sent]).unwrap();
    message(&mut device, true);
    assert_eq!(signals(&msi), 1);
}

#[test]
fn status_bit_3_follows_the_level_at_any_width() {
    let mut device = device();
    assert_eq!(config_read::<2>(&mut device, 0x06), [0, 0]);
    level(&mut device, true);
    assert_eq!(config_read::<4>(&mut device, 0x04), [0, 0, 0x08, 0]);
    assert_eq!(config_read::<3>(&mut device, 0x05), [0, 0x08, 0]);
    assert_eq!(config_read::<1>(&mut device, 0x07), [0]);
    let whole: [u8; 256] = config_read(&mut device, 0);
    assert_eq!(whole[6], 0x08);
    level(&mut device, false);
    assert_eq!(config_read::<1>(&mut device, 0x06), [0]);
}

#[test]
fn interrupts_that_nobody_has_set_up_go_nowhere_and_are_forgotten() {
    let mut device = device();
    trigger(&mut device);
    message(&mut device, true);
    device.region_write(0, 3, &[1]).unwrap();
    assert_eq!([0, 1].map(|index| device.irqs().fired(index, 0)), [0, 0]);
    let (kept, sent) = event();
    set_fds(&mut device, MSI, Trigger, vec![sent]).unwrap();
    assert_eq!(signals(&kept), 0);
}

#[test]
fn another_eventfd_takes_the_place_of_the_first_and_a_mask_stays() {
    let (mut device, first) = intx();
    level(&mut device, true);
    let (second, sent) = event();
    set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
    assert_eq!((signals(&first), signals(&second)), (1, 1), "what holds is said to the new one");
    set(&mut device, INTX, Mask, 0..1).unwrap();
    let (third, sent) = event();
    set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
    assert_eq!(signals(&third), 0, "masked by the client");
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    assert_eq!((signals(&second), signals(&third)), (0, 1));
}

#[test]
fn eventfd_data_without_a_descriptor_takes_the_descriptors_away() {
    let (mut device, intx) = intx();
    device.set_irqs(INTX, Trigger, 0..1, IrqData::Eventfd(Vec::new().into_iter())).unwrap();
    assert!(!device.irqs().is_armed(INTX, 0));
    level(&mut device, true);
    assert_eq!(signals(&intx), 0);
}

#[test]
fn an_unmask_eventfd_is_a_source_and_fires_again_while_the_level_holds() {
    let (mut device, intx) = intx();
    let (resample, sent) = event();
    let before = device.sources().generation();
    set_fds(&mut device, INTX, Unmask, vec![sent]).unwrap();
    assert_ne!(device.sources().generation(), before);
    let id = SourceId::Unmask { index: 0, vector: 0 };
    let sources: Vec<_> = device.sources().iter().map(|it| (it.id(), it.interest())).collect();
    assert_eq!(sources, [(id, Interest::READ)]);
    level(&mut device, true);
    assert_eq!(signals(&intx), 1);
    device.source_ready(id, Interest::READ);
    assert_eq!(signals(&intx), 0, "woken for nothing");
    signal(&resample, 3);
    device.source_ready(id, Interest::READ);
    assert_eq!((signals(&intx), signals(&resample)), (1, 0), "it was read");
    level(&mut device, false);
    signal(&resample, 1);
    device.source_ready(id, Interest::READ);
    assert_eq!(signals(&intx), 0);
    device.set_irqs(INTX, Unmask, 0..1, IrqData::Eventfd(Vec::new().into_iter())).unwrap();
    assert_eq!(device.sources().iter().count(), 0);
    device.source_ready(id, Interest::READ);
}

#[test]
fn an_unmask_descriptor_that_cannot_be_read_is_let_go() {
    let (mut device, _intx) = intx();
    // An epoll set looks like an eventfd from outside, and cannot be read.
    let other = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    set_fds(&mut device, INTX, Unmask, vec![other]).unwrap();
    device.source_ready(SourceId::Unmask { index: 0, vector: 0 }, Interest::BOTH);
    assert_eq!(device.sources().iter().count(), 0);
    assert_eq!(device.take_removed_sources().len(), 1);
}

#[test]
fn an_unmask_eventfd_that_blocks_and_is_empty_holds_up_nobody() {
    let (mut device, _intx) = intx();
    let (ours, sent) = event();
    set_fds(&mut device, INTX, Unmask, vec![sent]).unwrap();
    rustix::fs::fcntl_setfl(&ours, OFlags::empty()).unwrap();
    device.source_ready(SourceId::Unmask { index: 0, vector: 0 }, Interest::READ);
    assert_eq!(device.sources().iter().count(), 1, "it may count again");
}

#[test]
fn taking_intx_down_ends_its_unmask_watch() {
    let (mut device, _intx) = intx();
    set_fds(&mut device, INTX, Unmask, vec![event().1]).unwrap();
    set(&mut device, INTX, Trigger, 0..0).unwrap();
    assert_eq!(device.sources().iter().count(), 0);
}

#[test]
fn no_signal_is_lost_among_many() {
    let mut device = device();
    let (eventfd, sent) = event();
    set_fds(&mut device, MSI, Trigger, vec![sent]).unwrap();
    (0..2000).for_each(|count| message(&mut device, count % 2 == 0));
    assert_eq!((signals(&eventfd), device.irqs().fired(MSI, 0)), (1000, 1000));
}

#[test]
fn a_full_eventfd_does_not_block_even_if_the_client_made_it_blocking() {
    let mut device = device();
    let blocking = File::from(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    let sent: OwnedFd = blocking.try_clone().unwrap().into();
    set_fds(&mut device, MSI, Trigger, vec![sent]).unwrap();
    assert!(fcntl_getfl(&blocking).unwrap().contains(OFlags::NONBLOCK));
    signal(&blocking, u64::MAX - 1);
    // And again, after we have taken it over.
    rustix::fs::fcntl_setfl(&blocking, OFlags::empty()).unwrap();
    for high in [true, false, true] {
        message(&mut device, high);
    }
    assert!(signals(&blocking) >= u64::MAX - 1);
}

#[test]
fn a_reset_lowers_the_levels_and_keeps_what_the_client_set_up() {
    let (mut device, intx) = intx();
    config_write(&mut device, 0x05, &[0x04]);
    level(&mut device, true);
    device.reset();
    assert!(!device.irqs().level(INTX, 0));
    assert!(device.irqs().is_armed(INTX, 0));
    assert_eq!(signals(&intx), 0, "what held before is not said after");
    level(&mut device, true);
    assert_eq!(signals(&intx), 1, "Interrupt Disable is clear again");
    set(&mut device, INTX, Mask, 0..1).unwrap();
    level(&mut device, false);
    device.reset();
    level(&mut device, true);
    assert_eq!(signals(&intx), 0, "what the client masked stays masked");
    set(&mut device, INTX, Unmask, 0..1).unwrap();
    assert_eq!(signals(&intx), 1);
}

#[test]
fn closing_leaves_the_level_for_the_next_user() {
    let (mut device, first) = intx();
    level(&mut device, true);
    device.close();
    device.open(vfio_device::OpenMode::Exclusive).unwrap();
    let (second, sent) = event();
    set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
    assert_eq!((signals(&first), signals(&second)), (1, 1));
    assert_eq!(set(&mut device, INTX, Mask, 1..2), Err(Errno::INVAL));
}

/// Unmasks until the level, which holds, does not fire at once: the wait for a pause has begun.
fn wait_for_a_pause(device: &mut Device, line: &File) {
    level(device, true);
    assert_eq!(signals(line), 1);
    for _ in 0..16 {
        set(device, INTX, Unmask, 0..1).unwrap();
        if signals(line) == 0 {
            assert!(device.next_timer().is_some());
            return;
        }
    }
    panic!("it fires at each unmask");
}

#[test]
fn the_wait_for_a_pause_ends_with_the_set_up_and_with_a_reset() {
    for by_reset in [false, true] {
        let mut device = device();
        let (line, sent) = event();
        set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
        wait_for_a_pause(&mut device, &line);
        if by_reset {
            device.reset();
            level(&mut device, false);
        } else {
            set(&mut device, INTX, Trigger, 0..0).unwrap();
        }
        assert_eq!(device.next_timer(), None, "by a reset: {by_reset}");
        // And the count of unmasks begins anew.
        let (line, sent) = event();
        set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
        level(&mut device, true);
        assert_eq!(signals(&line), 1);
        set(&mut device, INTX, Unmask, 0..1).unwrap();
        assert_eq!((signals(&line), device.next_timer()), (1, None), "by a reset: {by_reset}");
    }
}

#[test]
fn in_service_a_level_waits_for_a_pause_or_the_end_of_the_service() {
    for pauses in [false, true] {
        let (mut device, line) = intx();
        service(&mut device, true);
        level(&mut device, true);
        set(&mut device, INTX, Unmask, 0..1).unwrap();
        assert_eq!(signals(&line), 0);
        if pauses {
            let due = device.next_timer().unwrap();
            device.run_timers(due);
        } else {
            service(&mut device, false);
        }
        assert_eq!((signals(&line), device.next_timer()), (1, None), "pauses: {pauses}");
    }
}

#[test]
fn in_service_a_level_that_falls_again_is_not_signalled() {
    let (mut device, line) = intx();
    service(&mut device, true);
    level(&mut device, true);
    level(&mut device, false);
    service(&mut device, false);
    assert_eq!((signals(&line), device.next_timer()), (0, None));
}

#[test]
fn the_end_of_an_interrupt_handler_by_eventfd_is_believed_before_the_device() {
    let (mut device, line) = intx();
    let (unmask, sent) = event();
    set_fds(&mut device, INTX, Unmask, vec![sent]).unwrap();
    level(&mut device, true);
    assert_eq!(signals(&line), 1);
    service(&mut device, true);
    signal(&unmask, 1);
    device.source_ready(SourceId::Unmask { index: INTX, vector: 0 }, Interest::READ);
    assert_eq!(signals(&line), 1, "KVM has seen the end of it, and the level holds");
}

#[test]
fn who_has_not_opened_the_device_sets_nothing_up() {
    let mut device = crate::support::alloc(
        &vfio_device::Vfio::new(),
        plain().intx(),
        Probe::new(&Log::default()),
    );
    device.register().unwrap();
    for opened in [false, true] {
        if opened {
            device.open(vfio_device::OpenMode::Exclusive).unwrap();
            device.close();
        }
        let refused = set_fds(&mut device, INTX, Trigger, vec![event().1]);
        assert_eq!(refused, Err(Errno::NODEV));
        assert!(!device.irqs().is_armed(INTX, 0));
    }
}

#[test]
fn the_indexes_of_another_bus_are_lines_like_any_other() {
    let lines = vfio_device::Description::other()
        .region(0, Region::trapped(16))
        .irq(0, IrqFlags::INTX, 1)
        .irq(1, IrqFlags::INTX, 1)
        .irq(2, IrqFlags::EVENTFD, 2)
        .irq(4, IrqFlags::EVENTFD, 1);
    let probe = Probe::acting(&Log::default(), |call, cx| {
        if let Call::Write { offset, data, .. } = call {
            cx.irqs.set_level(offset as u32, 0, data[0] != 0);
        }
        Ok(())
    });
    let mut device = opened(lines, probe);
    let heard: Vec<_> = [0, 1, 2, 4]
        .map(|index| {
            let (kept, sent) = event();
            device
                .set_irqs(index, Trigger, 0..1, IrqData::Eventfd(vec![sent].into_iter()))
                .unwrap();
            (index, kept)
        })
        .into();
    for (index, kept) in &heard {
        device.region_write(0, u64::from(*index), &[1]).unwrap();
        assert_eq!(signals(kept), 1, "all of them are set up at once: index {index}");
    }
    // No Interrupt Disable, no wait for a pause: what holds fires at each unmask.
    for _ in 0..16 {
        set(&mut device, 0, Unmask, 0..1).unwrap();
        assert_eq!((signals(&heard[0].1), device.next_timer()), (1, None));
    }
}
