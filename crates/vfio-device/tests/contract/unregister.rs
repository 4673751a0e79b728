#![cfg(test)]
//! Unregistering: hide, ask, wait; and what no longer happens afterwards.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::mpsc::RecvTimeoutError::Timeout;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use vfio_device::{
    BarKind, Context, Device, Errno, Interest, IrqAction, IrqFlags, OpenMode, Region, SourceId,
    State, Unregister, Vfio, VfioDevice,
};

use crate::support::{Call, Log, Probe, alloc, event, opened, plain, set, set_fds, signals};

#[test]
fn a_device_that_is_unregistered_while_open_is_hidden_at_once_and_in_use_until_close() {
    let log = Log::default();
    let mut device = opened(plain(), Probe::new(&log));
    assert_eq!(device.object().state(), State::Registered);
    assert_eq!(device.unregister(), Unregister::InUse);
    assert_eq!(device.object().state(), State::Unregistering);
    assert_eq!(device.open(OpenMode::Shared), Err(Errno::NODEV), "not EBUSY: it is gone");
    assert!(device.object().try_get_registration().is_none());
    assert_eq!(device.unregister(), Unregister::InUse);
    let mut id = [0; 2];
    assert_eq!(device.region_read(7, 0, &mut id), Ok(()), "who has it open still has it");
    device.close();
    assert_eq!(device.object().state(), State::Unregistered);
    assert_eq!(device.unregister(), Unregister::Done);
    assert_eq!(log.take(), ["open", "close"]);
}

#[test]
fn users_are_asked_in_rounds_that_are_counted() {
    let log = Log::default();
    let mut device = opened(plain(), Probe::new(&log));
    assert!(!device.request(), "nobody is asked to leave a device that stays");
    device.unregister();
    assert!((0..4).all(|_| device.request()));
    device.close();
    device.unregister();
    assert!(!device.request(), "nobody is left to be asked");
    let calls = log.take();
    assert_eq!(calls, ["open", "request 0", "request 1", "request 2", "request 3", "close"]);
}

struct Silent;
impl VfioDevice for Silent {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
}

#[test]
fn a_device_that_says_nothing_asks_through_irq_index_4_if_that_is_set_up() {
    let vfio = Vfio::new();
    let mut device = vfio.alloc(|_| Ok((plain().request_irq(), Box::new(Silent)))).unwrap();
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    device.unregister();
    assert!(!device.request(), "not set up");
    let (kept, sent) = event();
    set_fds(&mut device, 4, IrqAction::Trigger, vec![sent]).unwrap();
    assert!(device.request());
    assert!(device.request());
    assert_eq!(signals(&kept), 2);
}

#[test]
fn a_registration_that_another_thread_holds_keeps_the_device_in_use() {
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&Log::default()));
    device.register().unwrap();
    let registration = device.object().try_get_registration().unwrap();
    assert_eq!(registration.device().name(), "vfio0");
    let (go, wait) = channel::<()>();
    let holder = thread::spawn(move || {
        wait.recv().unwrap();
        drop(registration);
    });
    assert_eq!(device.unregister(), Unregister::InUse);
    assert!(!device.object().wait_unregistered(Duration::from_millis(1)));
    go.send(()).unwrap();
    holder.join().unwrap();
    assert_eq!(device.unregister(), Unregister::Done);
}

#[test]
fn a_device_that_was_never_registered_has_nobody_to_wait_for() {
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&Log::default()));
    assert_eq!(device.unregister(), Unregister::Done);
    assert_eq!(device.register(), Ok(()), "and can still be registered");
    let device = alloc(&Vfio::new(), plain(), Probe::new(&Log::default()));
    let reference = device.get();
    drop(device);
    assert!(reference.wait_unregistered(Duration::ZERO));
}

#[test]
fn waiting_ends_after_the_time_given() {
    let device = opened(plain(), Probe::new(&Log::default()));
    let begin = Instant::now();
    assert!(!device.object().wait_unregistered(Duration::from_millis(20)));
    assert!(begin.elapsed() >= Duration::from_millis(20));
}

/// Has three threads wait for the end of the device's use, does `end`, and asserts that each is told.
#[track_caller]
fn all_who_wait_are_told(device: Device, timeout: Duration, end: impl FnOnce(Device)) {
    let (done, all_done) = channel();
    for _ in 0..3 {
        let (reference, done) = (device.get(), done.clone());
        thread::spawn(move || done.send(reference.wait_unregistered(timeout)));
    }
    assert_eq!(all_done.recv_timeout(Duration::from_millis(20)), Err(Timeout), "in use");
    end(device);
    for number in 1..=3 {
        let told = all_done.recv_timeout(Duration::from_secs(30));
        assert_eq!(told, Ok(true), "number {number} of three who wait for {timeout:?}");
    }
}

#[test]
fn waiting_ends_when_the_last_user_goes() {
    for timeout in [Duration::from_secs(600), Duration::MAX] {
        let mut device = opened(plain(), Probe::new(&Log::default()));
        device.unregister();
        all_who_wait_are_told(device, timeout, |mut device| device.close());
    }
}

#[test]
fn waiting_ends_when_a_device_that_was_never_registered_goes() {
    let device = alloc(&Vfio::new(), plain(), Probe::new(&Log::default()));
    all_who_wait_are_told(device, Duration::from_secs(600), drop);
}

#[test]
fn nothing_calls_a_device_that_is_unregistered_and_unused() {
    let log = Log::default();
    let probe = Probe::acting(&log, |call, cx| {
        if let Call::Open = call {
            cx.timers.start(1, Duration::ZERO);
            cx.sources.watch(1, event().1, Interest::READ);
        }
        Ok(())
    });
    let description = plain().bar(0, BarKind::Memory32, Region::trapped(16)).intx();
    let mut device = opened(description, probe);
    device.close();
    assert_eq!(device.unregister(), Unregister::Done);
    log.take();
    let mut data = [0; 4];
    assert_eq!(device.region_read(0, 0, &mut data), Err(Errno::NODEV));
    assert_eq!(device.region_read(7, 0, &mut data), Err(Errno::NODEV));
    assert_eq!(device.region_write(0, 0, &data), Err(Errno::NODEV));
    assert_eq!(set(&mut device, 0, IrqAction::Mask, 0..1), Err(Errno::NODEV));
    assert_eq!(device.next_timer(), None);
    assert_eq!(device.sources().iter().count(), 0);
    device.run_timers(Instant::now());
    device.source_ready(SourceId::Device(1), Interest::READ);
    device.reset();
    device.close();
    assert!(device.display().is_none());
    assert_eq!(log.take(), [""; 0]);
    drop(device);
    assert_eq!(log.take(), ["release"]);
}

#[test]
fn what_belongs_to_the_open_goes_at_close() {
    let log = Log::default();
    let armed = log.clone();
    let probe = Probe::acting(&log, move |call, cx| {
        if let Call::Close = call {
            armed.add(format!("armed {}", cx.irqs.is_armed(0, 0)));
        }
        Ok(())
    });
    let mut device = opened(plain().intx().irq(1, IrqFlags::MSI, 2), probe);
    let (trigger, sent) = event();
    set_fds(&mut device, 0, IrqAction::Trigger, vec![sent]).unwrap();
    assert_eq!(holders(&trigger), 2);
    set_fds(&mut device, 0, IrqAction::Unmask, vec![event().1]).unwrap();
    set(&mut device, 0, IrqAction::Mask, 0..1).unwrap();
    device.close();
    assert_eq!(log.take(), ["open", "close", "armed true"]);
    assert!(!device.irqs().is_armed(0, 0));
    assert_eq!(device.sources().iter().count(), 0);
    assert_eq!(device.take_removed_sources().len(), 1);
    assert_eq!(holders(&trigger), 1, "the device's is closed");
    // Neither the mask nor the mode is left for the next user.
    device.open(OpenMode::Exclusive).unwrap();
    let (kept, sent) = event();
    set_fds(&mut device, 1, IrqAction::Trigger, vec![sent]).unwrap();
    set(&mut device, 1, IrqAction::Trigger, 0..0).unwrap();
    let (intx, sent) = event();
    set_fds(&mut device, 0, IrqAction::Trigger, vec![sent]).unwrap();
    set(&mut device, 0, IrqAction::Trigger, 0..1).unwrap();
    assert_eq!((signals(&kept), signals(&intx)), (0, 1));
}

/// Descriptors of this process that stand for this eventfd.
fn holders(eventfd: &File) -> usize {
    let id = |fd: &str| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        info.lines().find(|line| line.starts_with("eventfd-id")).map(str::to_owned)
    };
    let ours = id(&eventfd.as_raw_fd().to_string()).unwrap();
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.filter(|fd| id(fd.as_ref().unwrap().file_name().to_str().unwrap()) == Some(ours.clone()))
        .count()
}

#[test]
fn irq_index_4_of_another_bus_asks_nobody_to_go() {
    // The default of `request` is all that this device has.
    struct Lines;
    impl VfioDevice for Lines {
        crate::support::no_registers!();
    }
    let description = vfio_device::Description::other().irq(4, IrqFlags::EVENTFD, 1);
    let mut device = Vfio::new().alloc(|_| Ok((description, Box::new(Lines)))).unwrap();
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    let (kept, sent) = event();
    set_fds(&mut device, 4, IrqAction::Trigger, vec![sent]).unwrap();
    assert_eq!(device.unregister(), Unregister::InUse);
    assert!(!device.request());
    assert_eq!(signals(&kept), 0, "it is an interrupt of the device's like any other");
}
