#![cfg(test)]
//! Interrupts that somebody has decided to lose, or to have stick.

use std::sync::{Arc, Mutex};

use vfio_device::IrqAction::{Trigger, Unmask};
use vfio_device::{Device, Firing};

use crate::irqs::device;
use crate::support::{event, set, set_fds, signals};

const INTX: u32 = 0;
const MSI: u32 = 1;

/// Register 0 states the level of INTx, register 1 that of MSI vector 0.
fn level(device: &mut Device, register: u64, high: bool) {
    device.region_write(0, register, &[u8::from(high)]).unwrap();
}

/// Index and vector of each firing that was asked about.
type Seen = Arc<Mutex<Vec<(u32, u32)>>>;

/// A device whose firings meet these ends, one after the other and then none.
fn intercepted(ends: &'static [Firing]) -> (Device, Seen) {
    let mut device = device();
    let seen = Seen::default();
    let (list, mut ends) = (seen.clone(), ends.iter());
    device.intercept_irqs(Some(Box::new(move |index, vector| {
        list.lock().unwrap().push((index, vector));
        ends.next().copied().unwrap_or(Firing::Signalled)
    })));
    (device, seen)
}

#[test]
fn a_vector_without_an_eventfd_asks_nobody() {
    let (mut device, seen) = intercepted(&[]);
    level(&mut device, 0, true);
    level(&mut device, 1, true);
    assert_eq!(*seen.lock().unwrap(), []);
}

#[test]
fn each_firing_is_asked_about_and_only_those_that_go_out_are_counted() {
    let (mut device, seen) = intercepted(&[Firing::Signalled, Firing::Lost]);
    let (msi, sent) = event();
    set_fds(&mut device, MSI, Trigger, vec![sent]).unwrap();
    for expected in [1, 0, 1] {
        level(&mut device, 1, true);
        level(&mut device, 1, false);
        assert_eq!(signals(&msi), expected);
    }
    assert_eq!(*seen.lock().unwrap(), [(MSI, 0); 3]);
    assert_eq!(device.irqs().fired(MSI, 0), 2);
}

#[test]
fn a_lost_level_does_not_mask_itself() {
    let (mut device, _) = intercepted(&[Firing::Lost, Firing::Lost]);
    let (intx, sent) = event();
    set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
    for expected in [0, 0, 1] {
        level(&mut device, 0, true);
        assert_eq!(signals(&intx), expected);
        level(&mut device, 0, false);
    }
}

#[test]
fn a_stuck_level_fires_at_the_next_unmask_and_reads_as_the_device_states_it() {
    let (mut device, _) = intercepted(&[Firing::Stuck, Firing::Stuck]);
    let (intx, sent) = event();
    set_fds(&mut device, INTX, Trigger, vec![sent]).unwrap();
    level(&mut device, 0, true);
    level(&mut device, 0, false);
    assert_eq!((signals(&intx), device.irqs().level(INTX, 0)), (1, false));
    device.repeat_stuck_irqs();
    assert_eq!(signals(&intx), 0, "a level waits for its unmask");
    for expected in [1, 1, 0] {
        set(&mut device, INTX, Unmask, 0..1).unwrap();
        assert_eq!(signals(&intx), expected);
    }
}

#[test]
fn a_stuck_edge_fires_when_it_is_asked_to() {
    let (mut device, _) = intercepted(&[Firing::Stuck, Firing::Stuck]);
    let (msi, sent) = event();
    set_fds(&mut device, MSI, Trigger, vec![sent]).unwrap();
    level(&mut device, 1, true);
    assert_eq!(signals(&msi), 1);
    for expected in [1, 1, 0] {
        device.repeat_stuck_irqs();
        assert_eq!(signals(&msi), expected);
    }
}

#[test]
fn without_anybody_to_ask_all_is_as_it_was() {
    let (mut device, seen) = intercepted(&[Firing::Lost]);
    let (msi, sent) = event();
    set_fds(&mut device, MSI, Trigger, vec![sent]).unwrap();
    device.intercept_irqs(None);
    level(&mut device, 1, true);
    assert_eq!((signals(&msi), seen.lock().unwrap().len()), (1, 0));
}
