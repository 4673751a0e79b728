#![cfg(test)]
//! What SET_IRQS refuses, and that nothing has changed then.

use std::fs::File;
use std::os::fd::OwnedFd;

use vfio_device::IrqAction::{Mask, Trigger, Unmask};
use vfio_device::{Errno, IrqData, IrqFlags};

use crate::irqs::device;
use crate::support::{event, set, set_bytes, set_fds, signals};

#[test]
fn an_index_or_range_that_does_not_exist_is_refused() {
    let mut device = device();
    set_fds(&mut device, 1, Trigger, vec![event().1]).unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "a client can say that")]
    let backwards = 3..1;
    for (name, index, range) in [
        ("index 5", 5, 0..1),
        ("index far out", u32::MAX, 0..0),
        ("one too many", 1, 0..5),
        ("past the end", 1, 4..5),
        ("up to the last number", 1, 0..u32::MAX),
        ("backwards", 1, backwards),
        ("an index without vectors", 4, 0..1),
        ("nothing from 1 on", 1, 1..1),
    ] {
        for action in [Mask, Unmask, Trigger] {
            let answer = set(&mut device, index, action, range.clone());
            assert_eq!(answer, Err(Errno::INVAL), "{name}: {action:?}");
        }
    }
}

#[test]
fn an_empty_range_means_something_only_to_take_an_index_down() {
    let mut device = device();
    let none = || Vec::<OwnedFd>::new().into_iter();
    for action in [Mask, Unmask] {
        assert_eq!(set(&mut device, 0, action, 0..0), Err(Errno::INVAL), "{action:?}");
    }
    for action in [Mask, Unmask, Trigger] {
        assert_eq!(set_bytes(&mut device, 0, action, 0..0, &[]), Err(Errno::INVAL));
        let answer = device.set_irqs(0, action, 0..0, IrqData::Eventfd(none()));
        assert_eq!(answer, Err(Errno::INVAL), "{action:?}");
    }
    assert_eq!(set(&mut device, 0, Trigger, 0..0), Ok(()), "also if it was not set up");
    assert_eq!(set(&mut device, 4, Trigger, 0..0), Ok(()));
}

#[test]
fn an_index_that_cannot_be_masked_refuses_it() {
    let mut device = device();
    set_fds(&mut device, 1, Trigger, vec![event().1]).unwrap();
    for index in [1, 3] {
        for action in [Mask, Unmask] {
            assert_eq!(set(&mut device, index, action, 0..1), Err(Errno::INVAL));
            assert_eq!(set_bytes(&mut device, index, action, 0..1, &[1]), Err(Errno::INVAL));
            assert_eq!(set_fds(&mut device, index, action, vec![event().1]), Err(Errno::INVAL));
        }
    }
}

#[test]
fn masking_takes_no_eventfd() {
    assert_eq!(set_fds(&mut device(), 0, Mask, vec![event().1]), Err(Errno::INVAL));
}

#[test]
fn bytes_and_descriptors_must_be_as_many_as_the_vectors() {
    let mut device = device();
    let (kept, sent) = event();
    set_fds(&mut device, 1, Trigger, vec![sent]).unwrap();
    for bytes in [&[][..], &[1], &[1, 1, 1]] {
        assert_eq!(set_bytes(&mut device, 1, Trigger, 0..2, bytes), Err(Errno::INVAL));
    }
    for (index, action) in [(1, Trigger), (0, Unmask)] {
        let fds = || vec![event().1, event().1, event().1].into_iter();
        for range in [0..1, 0..2] {
            let answer = device.set_irqs(index, action, range, IrqData::Eventfd(fds()));
            assert_eq!(answer, Err(Errno::INVAL), "{action:?}");
        }
    }
    assert_eq!(signals(&kept), 0);
    set(&mut device, 1, Trigger, 0..1).unwrap();
    assert_eq!(signals(&kept), 1, "what was set up before still is");
}

#[test]
fn nothing_is_fired_by_hand_on_an_index_that_is_not_set_up() {
    let mut device = device();
    for index in [0, 1, 2, 3] {
        assert_eq!(set(&mut device, index, Trigger, 0..1), Err(Errno::INVAL), "{index}");
        assert_eq!(set_bytes(&mut device, index, Trigger, 0..1, &[1]), Err(Errno::INVAL));
    }
}

#[test]
fn intx_msi_and_msix_exclude_each_other() {
    for first in 0..3 {
        for second in (0..3).filter(|second| *second != first) {
            let mut device = device();
            let (kept, sent) = event();
            set_fds(&mut device, first, Trigger, vec![sent]).unwrap();
            let answer = set_fds(&mut device, second, Trigger, vec![event().1]);
            assert_eq!(answer, Err(Errno::INVAL), "{second} beside {first}");
            assert!(!device.irqs().is_armed(second, 0));
            set(&mut device, first, Trigger, 0..1).unwrap();
            assert_eq!(signals(&kept), 1, "{first} is as before");
            set(&mut device, first, Trigger, 0..0).unwrap();
            assert_eq!(set_fds(&mut device, second, Trigger, vec![event().1]), Ok(()));
        }
    }
}

#[test]
fn err_and_req_go_along_with_any_of_them() {
    let mut device = device();
    set_fds(&mut device, 0, Trigger, vec![event().1]).unwrap();
    assert_eq!(set_fds(&mut device, 3, Trigger, vec![event().1]), Ok(()));
}

#[test]
fn what_is_not_an_eventfd_is_refused_as_a_write_to_it_can_block() {
    let mut device = device();
    let (kept, sent) = event();
    set_fds(&mut device, 1, Trigger, vec![sent]).unwrap();
    let file = |name: &str| OwnedFd::from(File::open(name).unwrap());
    let others: [fn() -> OwnedFd; 3] = [
        || std::io::pipe().unwrap().0.into(),
        || std::io::pipe().unwrap().1.into(),
        || std::os::unix::net::UnixStream::pair().unwrap().0.into(),
    ];
    let files = ["/dev/null", "/proc/self/exe", "/"].map(file);
    for (number, bad) in files.into_iter().chain(others.map(|make| make())).enumerate() {
        for (index, action) in [(1, Trigger), (0, Unmask)] {
            let bad = || bad.try_clone().unwrap();
            let answer = set_fds(&mut device, index, action, vec![event().1, bad()]);
            assert!(answer.is_err(), "number {number}: {action:?} of two");
            let answer = set_fds(&mut device, index, action, vec![bad()]);
            assert_eq!(answer, Err(Errno::BADF), "number {number}: {action:?}");
        }
    }
    assert_eq!(device.sources().iter().count(), 0);
    set(&mut device, 1, Trigger, 0..1).unwrap();
    assert_eq!(signals(&kept), 1, "all or nothing");
}

#[test]
fn irq_indexes_say_what_they_are() {
    let device = device();
    let info = |index| device.irqs().info(index).map(|info| (info.flags.bits(), info.count));
    assert_eq!(device.irqs().num_irqs(), 5);
    let all = [Some((7, 1)), Some((9, 4)), Some((9, 8)), Some((9, 1)), Some((0, 0)), None];
    assert_eq!([0, 1, 2, 3, 4, 5].map(info), all);
    assert_eq!((IrqFlags::EVENTFD | IrqFlags::NORESIZE).bits(), 9);
    assert!(IrqFlags::INTX.contains(IrqFlags::MASKABLE | IrqFlags::AUTOMASKED));
    assert!(!IrqFlags::MSI.contains(IrqFlags::MASKABLE));
}

#[test]
fn vectors_that_do_not_exist_are_ignored_when_a_device_states_them() {
    let device = device();
    for (index, vector) in [(0, 1), (4, 0), (9, 0), (u32::MAX, u32::MAX)] {
        assert!(!device.irqs().level(index, vector));
        assert!(!device.irqs().is_armed(index, vector));
        assert_eq!(device.irqs().fired(index, vector), 0);
    }
}
