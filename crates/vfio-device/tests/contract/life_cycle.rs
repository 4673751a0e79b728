#![cfg(test)]
//! alloc, init, register, open, close, put, release (kernel: `vfio_main.c`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use vfio_device::{
    AllocError, BarKind, Errno, IrqAction, OpenMode, Region, State, Unregister, Vfio,
};

use crate::support::{Call, Log, Probe, alloc, event, free_index, plain, set_fds};

#[test]
fn a_failed_init_leaves_nothing_behind() {
    let vfio = Vfio::new();
    let failed = vfio.alloc(|init| {
        assert_eq!(init.index(), 0);
        init.assign_device_set(7);
        Err(Errno::NOMEM)
    });
    assert_eq!(failed.unwrap_err(), AllocError::Errno(Errno::NOMEM));
    assert_eq!(vfio.device_sets(), 0);
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn an_init_that_panics_leaves_nothing_behind() {
    let vfio = Vfio::new();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        vfio.alloc(|init| {
            init.assign_device_set(7);
            panic!("a driver's fault")
        })
    }));
    assert!(failed.is_err());
    assert_eq!(vfio.device_sets(), 0);
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn a_private_state_whose_description_is_refused_is_released_once() {
    let (vfio, log) = (Vfio::new(), Log::default());
    let failed = vfio.alloc(|init| {
        init.assign_device_set(7);
        let bad = plain().bar(0, BarKind::Memory32, Region::trapped(100));
        Ok((bad, Box::new(Probe::new(&log))))
    });
    let error = failed.unwrap_err();
    assert_eq!(error.errno(), Errno::INVAL);
    assert!(error.to_string().contains("BAR 0 cannot be 100 bytes"), "{error}");
    assert_eq!(log.take(), ["release"]);
    assert_eq!(vfio.device_sets(), 0);
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn registering_twice_is_refused() {
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&Log::default()));
    assert_eq!(device.register(), Ok(()));
    assert_eq!(device.register(), Err(Errno::INVAL));
    device.unregister();
    assert_eq!(device.register(), Err(Errno::INVAL), "nor again after it was unregistered");
}

#[test]
fn a_device_cannot_be_opened_before_it_is_registered_nor_after() {
    let log = Log::default();
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&log));
    assert_eq!(device.open(OpenMode::Shared), Err(Errno::NODEV));
    assert!(device.object().try_get_registration().is_none());
    device.register().unwrap();
    assert_eq!(device.unregister(), Unregister::Done);
    assert_eq!(device.open(OpenMode::Exclusive), Err(Errno::NODEV));
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_device_that_one_user_wants_for_itself_has_no_second_user() {
    use OpenMode::{Exclusive, Shared};
    for (first, second) in [(Exclusive, Exclusive), (Exclusive, Shared), (Shared, Exclusive)] {
        let log = Log::default();
        let mut device = alloc(&Vfio::new(), plain(), Probe::new(&log));
        device.register().unwrap();
        device.open(first).unwrap();
        assert_eq!(device.open(second), Err(Errno::BUSY), "{first:?}, then {second:?}");
        assert_eq!(device.object().open_count(), 1);
        device.close();
        assert_eq!(device.open(second), Ok(()), "{second:?} after {first:?} has left");
        assert_eq!(log.take(), ["open", "close", "open"]);
    }
}

#[test]
fn the_device_hears_of_the_first_open_and_of_the_last_close_only() {
    let log = Log::default();
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&log));
    device.register().unwrap();
    for count in 1..=3 {
        device.open(OpenMode::Shared).unwrap();
        assert_eq!(device.object().open_count(), count);
    }
    assert_eq!(log.take(), ["open"]);
    for count in [2, 1] {
        device.close();
        assert_eq!(device.object().open_count(), count);
    }
    assert_eq!(log.take(), [""; 0]);
    device.close();
    assert_eq!(log.take(), ["close"]);
    device.close();
    assert_eq!(device.object().open_count(), 0);
    assert_eq!(log.take(), [""; 0], "closing what is not open does nothing");
}

#[test]
fn a_failed_open_is_undone() {
    let (log, refuse) = (Log::default(), Arc::new(AtomicBool::new(true)));
    let refuses = Arc::clone(&refuse);
    let probe = Probe::acting(&log, move |call, _| match call {
        Call::Open if refuses.load(Ordering::Relaxed) => Err(Errno::NXIO),
        _ => Ok(()),
    });
    let mut device = alloc(&Vfio::new(), plain(), probe);
    device.register().unwrap();
    assert_eq!(device.open(OpenMode::Exclusive), Err(Errno::NXIO));
    assert_eq!(device.object().open_count(), 0);
    device.close();
    refuse.store(false, Ordering::Relaxed);
    assert_eq!(device.open(OpenMode::Shared), Ok(()), "it is free, and not exclusive either");
    assert_eq!(device.open(OpenMode::Shared), Ok(()));
    refuse.store(true, Ordering::Relaxed);
    device.close();
    device.close();
    assert_eq!(device.open(OpenMode::Shared), Err(Errno::NXIO));
    assert_eq!(device.unregister(), Unregister::Done, "no registration is left of it");
    assert_eq!(log.take(), ["open", "open", "close", "open"]);
}

#[test]
fn a_device_keeps_its_state_over_close_and_open() {
    let mut state = 0;
    let probe = Probe::acting(&Log::default(), move |call, _| {
        match call {
            Call::Write { data, .. } => state = data[0],
            Call::Read { data, .. } => data[0] = state,
            _ => (),
        }
        Ok(())
    });
    let description = plain().bar(0, BarKind::Memory32, Region::trapped(16));
    let mut device = crate::support::opened(description, probe);
    device.region_write(0, 0, &[0x5a]).unwrap();
    device.region_write(7, 0x04, &[0x02]).unwrap();
    device.close();
    device.open(OpenMode::Exclusive).unwrap();
    assert_eq!(crate::support::read::<1>(&mut device, 0, 0), [0x5a]);
    assert_eq!(crate::support::config_read::<1>(&mut device, 0x04), [0x02]);
}

#[test]
fn release_runs_once_when_the_last_reference_goes() {
    let log = Log::default();
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&log));
    let (one, other) = (device.get(), device.get().clone());
    device.register().unwrap();
    device.unregister();
    drop(device);
    drop(one);
    assert_eq!(log.take(), [""; 0]);
    assert_eq!(other.state(), State::Unregistered);
    assert!(other.try_get_registration().is_none());
    drop(other);
    assert_eq!(log.take(), ["release"]);
}

#[test]
fn release_runs_in_the_thread_that_drops_the_last_reference() {
    let (sender, receiver) = channel();
    let probe = Probe::new(&Log::default())
        .at_release(move || sender.send(thread::current().id()).unwrap());
    let device = alloc(&Vfio::new(), plain(), probe);
    let reference = device.get();
    drop(device);
    assert!(receiver.try_recv().is_err());
    let last = thread::spawn(move || {
        drop(reference);
        thread::current().id()
    });
    assert_eq!(receiver.recv().unwrap(), last.join().unwrap());
    assert!(receiver.recv().is_err(), "once");
}

#[test]
fn device_set_and_index_are_given_back_before_release_runs() {
    let vfio = Vfio::new();
    let (sender, receiver) = channel();
    let seen = vfio.clone();
    let probe = Probe::new(&Log::default())
        .at_release(move || sender.send((seen.device_sets(), free_index(&seen))).unwrap());
    let device = vfio.alloc(|init| {
        init.assign_device_set(3);
        Ok((plain(), Box::new(probe)))
    });
    assert_eq!(vfio.device_sets(), 1);
    drop(device.unwrap());
    assert_eq!(receiver.recv().unwrap(), (0, 0));
}

#[test]
fn dropping_an_open_device_closes_and_unregisters_it_first() {
    let log = Log::default();
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&log));
    device.register().unwrap();
    device.open(OpenMode::Shared).unwrap();
    device.open(OpenMode::Shared).unwrap();
    let reference = device.get();
    drop(device);
    assert_eq!(log.take(), ["open", "close"]);
    assert_eq!((reference.state(), reference.open_count()), (State::Unregistered, 0));
    drop(reference);
    assert_eq!(log.take(), ["release"]);
}

#[test]
fn a_close_that_panics_while_its_owner_goes_does_not_take_release_away() {
    let log = Log::default();
    let probe = Probe::acting(&log, |call, _| {
        if let Call::Close = call {
            panic!("close");
        }
        Ok(())
    });
    let mut device = alloc(&Vfio::new(), plain(), probe);
    device.register().unwrap();
    device.open(OpenMode::Shared).unwrap();
    let reference = device.get();
    drop(device);
    assert_eq!(log.take(), ["open", "close"]);
    assert_eq!((reference.state(), reference.open_count()), (State::Unregistered, 0));
    drop(reference);
    assert_eq!(log.take(), ["release"]);
}

#[test]
fn a_close_and_a_release_that_both_panic_while_the_owner_goes_are_one_panic() {
    let log = Log::default();
    let probe = Probe::acting(&log, |call, _| {
        if let Call::Close = call {
            panic!("close");
        }
        Ok(())
    });
    let mut device = alloc(&Vfio::new(), plain(), probe.at_release(|| panic!("release")));
    device.register().unwrap();
    device.open(OpenMode::Shared).unwrap();
    // Two at once would end the process.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(device)));
    assert_eq!(dropped.unwrap_err().downcast_ref(), Some(&"release"));
    assert_eq!(log.take(), ["open", "close", "release"]);
}

#[test]
fn a_registration_holds_the_object_after_its_owner_has_gone() {
    let log = Log::default();
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&log));
    device.register().unwrap();
    let registration = device.object().try_get_registration().unwrap();
    drop(device);
    assert_eq!(registration.device().state(), State::Unregistering);
    assert!(!registration.device().wait_unregistered(Duration::ZERO));
    assert_eq!(log.take(), [""; 0]);
    drop(registration);
    assert_eq!(log.take(), ["release"]);
}

#[test]
fn a_device_gets_the_lowest_index_that_is_free_and_holds_it_until_its_last_reference_goes() {
    let vfio = Vfio::new();
    let make = || alloc(&vfio, plain(), Probe::new(&Log::default()));
    let (zero, one, two) = (make(), make(), make());
    assert_eq!([zero.object().name(), one.object().name()], ["vfio0", "vfio1"]);
    assert_eq!(two.object().index(), 2);
    let held = one.get();
    drop(one);
    let three = make();
    assert_eq!(three.object().index(), 3, "1 is held by a reference");
    drop(held);
    assert_eq!(make().object().name(), "vfio1");
    drop((zero, two));
    let zero = make();
    assert_eq!((zero.object().index(), make().object().index()), (0, 1));
    assert_eq!(free_index(&Vfio::new()), 0, "another core counts for itself");
}

#[test]
fn a_device_set_lasts_until_its_last_member_is_released() {
    let vfio = Vfio::new();
    let make = |key| {
        let device = vfio.alloc(|init| {
            init.assign_device_set(key);
            Ok((plain(), Box::new(Probe::new(&Log::default()))))
        });
        device.unwrap()
    };
    let (mut one, other) = (make(1), make(1));
    assert_eq!(vfio.device_sets(), 1);
    let apart = make(2);
    assert_eq!(vfio.device_sets(), 2);
    drop((other, apart));
    one.register().unwrap();
    one.unregister();
    let reference = one.get();
    drop(one);
    assert_eq!(vfio.device_sets(), 1, "unregistered, but not released");
    drop(reference);
    assert_eq!(vfio.device_sets(), 0);
}

#[test]
fn open_and_close_of_a_device_set_do_not_overlap() {
    let vfio = Vfio::new();
    let inside = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let inside = Arc::clone(&inside);
            let probe = Probe::acting(&Log::default(), move |_, _| {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::sleep(Duration::from_millis(2));
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            });
            let mut device = vfio
                .alloc(|init| {
                    init.assign_device_set(9);
                    Ok((plain(), Box::new(probe)))
                })
                .unwrap();
            thread::spawn(move || {
                device.register().unwrap();
                for _ in 0..5 {
                    device.open(OpenMode::Exclusive).unwrap();
                    device.close();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn devices_without_a_common_set_open_at_the_same_time() {
    let (vfio, both) = (Vfio::new(), Arc::new(Barrier::new(2)));
    let threads = [(); 2].map(|()| {
        let both = Arc::clone(&both);
        let probe = Probe::acting(&Log::default(), move |call, _| {
            if let Call::Open = call {
                both.wait(); // would wait for ever if the other were kept out
            }
            Ok(())
        });
        let mut device = alloc(&vfio, plain(), probe);
        thread::spawn(move || {
            device.register().unwrap();
            device.open(OpenMode::Exclusive).unwrap();
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_device_that_is_abandoned_is_released_and_otherwise_left_alone() {
    let (vfio, log) = (Vfio::new(), Log::default());
    let mut device = alloc(&vfio, plain().intx(), Probe::new(&log));
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    let (ours, given) = event();
    set_fds(&mut device, 0, IrqAction::Trigger, vec![given]).unwrap();
    log.take();
    let object = device.get();

    device.abandon();
    assert_eq!((object.open_count(), object.state()), (0, State::Unregistered));
    assert!(object.wait_unregistered(Duration::ZERO));
    assert!(!device.irqs().is_armed(0, 0), "the eventfd is kept");
    assert_eq!(device.region_read(0, 0, &mut [0]), Err(Errno::NODEV));
    assert_eq!(device.open(OpenMode::Shared), Err(Errno::NODEV));
    device.reset();
    device.close();
    device.abandon();
    drop((device, ours));
    assert_eq!(log.take(), [""; 0], "nothing is called");
    drop(object);
    assert_eq!(log.take(), ["release"]);
    assert_eq!(free_index(&vfio), 0);
}
