#![cfg(test)]
//! Failure at every step of making, registering and opening a device: what is and that nothing is left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use uuid::Uuid;
use vfio_device::{
    BarKind, Context, Device, DeviceRef, Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent,
    Pool, Region, Share, State, Unregister, Vfio, VfioDevice,
};

use crate::support::{Call, Log, Probe, alloc, free_index, no_registers, plain};

const ONE: MdevType = MdevType { name: "f-1", pretty_name: "", description: None };
const TWO: MdevType = MdevType { name: "f-2", pretty_name: "", description: None };
const ELSEWHERE: MdevType = MdevType { name: "other", pretty_name: "", description: None };

/// Where a driver's `init` fails, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nowhere,
    /// before it has taken anything
    AtOnce,
    /// with a device set
    AfterSet,
    /// with a device set and a share of the pool
    AfterShare,
    /// with all of it, by a panic
    Panic,
    /// after it has succeeded: what it says of the device is refused
    Description,
}

/// The private state: counted, and holds a share.
struct Card {
    log: Log,
    _alive: Arc<()>,
    _share: Share,
}

impl VfioDevice for Card {
    no_registers!();
    fn release(self: Box<Self>) {
        self.log.add("release");
    }
}

/// Counts by a pool and, if told so, by the core.
struct Driver {
    pool: Pool,
    counted: Option<u32>,
    fault: Arc<Mutex<Fault>>,
    log: Log,
    alive: Arc<()>,
}

impl MdevDriver for Driver {
    fn types(&self) -> &[MdevType] {
        &[ONE, TWO]
    }
    fn max_instances(&self) -> Option<u32> {
        self.counted
    }
    fn available(&self, kind: &MdevType) -> u32 {
        self.pool.free() / if *kind == TWO { 2 } else { 1 }
    }
    fn init(&self, kind: &MdevType, init: &mut Init<'_>) -> Result<Made, Errno> {
        self.log.add("init");
        let fault = *self.fault.lock().unwrap();
        let fails = |at| if fault == at { Err(Errno::IO) } else { Ok(()) };
        fails(Fault::AtOnce)?;
        init.assign_device_set(5);
        fails(Fault::AfterSet)?;
        let share = self.pool.reserve(if *kind == TWO { 2 } else { 1 })?;
        fails(Fault::AfterShare)?;
        assert!(fault != Fault::Panic, "a driver's fault");
        let alive = Arc::clone(&self.alive);
        let card = Card { log: self.log.clone(), _alive: alive, _share: share };
        let description = match fault {
            Fault::Description => plain().bar(0, BarKind::Io, Region::trapped(3)),
            _ => plain(),
        };
        Ok((description, Box::new(card)))
    }
}

struct Rig {
    vfio: Vfio,
    parent: Parent,
    pool: Pool,
    fault: Arc<Mutex<Fault>>,
    log: Log,
    alive: Arc<()>,
}

/// What can be left behind: index, set, units, instances, private states.
type Books = (u32, usize, u32, [u32; 2], usize);

impl Rig {
    fn new(units: u32, counted: Option<u32>) -> Self {
        let (vfio, pool) = (Vfio::new(), Pool::new(units));
        let (log, alive) = (Log::default(), Arc::default());
        let fault = Arc::new(Mutex::new(Fault::Nowhere));
        let driver = Driver {
            pool: pool.clone(),
            counted,
            fault: Arc::clone(&fault),
            log: log.clone(),
            alive: Arc::clone(&alive),
        };
        let parent = Parent::register(&vfio, driver);
        Self { vfio, parent, pool, fault, log, alive }
    }

    fn create(&self, kind: &MdevType, number: u128) -> Result<Device, Errno> {
        self.parent.create(kind, Uuid::from_u128(number))
    }

    fn books(&self) -> Books {
        let instances = [ONE, TWO].map(|kind| self.parent.available_instances(&kind));
        let sets = self.vfio.device_sets();
        let alive = Arc::strong_count(&self.alive) - 2;
        (free_index(&self.vfio), sets, self.pool.free(), instances, alive)
    }

    /// A creation that fails and leaves everything as it was, its UUID too.
    fn refused(&self, kind: &MdevType, number: u128, errno: Errno) {
        let before = self.books();
        assert_eq!(self.create(kind, number).map(drop), Err(errno));
        assert_eq!(self.books(), before);
    }
}

#[test]
fn a_creation_that_fails_at_any_step_leaves_nothing_behind() {
    for counted in [None, Some(3)] {
        let it = Rig::new(9, counted);
        let resident = it.create(&ONE, 0xff).unwrap();
        it.log.take();
        for (fault, errno, calls) in [
            (Fault::AtOnce, Errno::IO, &["init"][..]),
            (Fault::AfterSet, Errno::IO, &["init"]),
            (Fault::AfterShare, Errno::IO, &["init"]),
            (Fault::Description, Errno::INVAL, &["init", "release"]),
        ] {
            *it.fault.lock().unwrap() = fault;
            it.refused(&TWO, 1, errno);
            assert_eq!(it.log.take(), calls, "{fault:?}");
        }
        *it.fault.lock().unwrap() = Fault::Panic;
        let before = it.books();
        assert!(catch_unwind(AssertUnwindSafe(|| it.create(&TWO, 1))).is_err());
        assert_eq!(it.books(), before);
        assert_eq!(it.log.take(), ["init"]);
        *it.fault.lock().unwrap() = Fault::Nowhere;
        let device = it.create(&TWO, 1).unwrap();
        assert_eq!(device.object().index(), 1);
        assert_eq!(it.books().4, 2);
        drop((resident, device));
        assert_eq!(it.log.take(), ["init", "release", "release"]);
        assert_eq!((it.books().0, it.books().1, it.books().4), (0, 0, 0));
    }
}

#[test]
fn what_is_refused_before_init_does_not_reach_the_driver() {
    let it = Rig::new(9, Some(1));
    let device = it.create(&ONE, 1).unwrap();
    it.log.take();
    it.refused(&ELSEWHERE, 2, Errno::INVAL);
    it.refused(&ONE, 1, Errno::EXIST);
    it.refused(&TWO, 2, Errno::USERS);
    it.parent.unregister();
    it.refused(&ONE, 2, Errno::NODEV);
    assert_eq!(it.log.take(), [""; 0]);
    drop(device);
    it.refused(&ONE, 1, Errno::NODEV);
}

#[test]
fn the_core_s_count_is_refused_with_eusers_and_the_driver_s_own_with_enospc() {
    let by_driver = Rig::new(3, None);
    let held = by_driver.create(&TWO, 1).unwrap();
    by_driver.refused(&TWO, 2, Errno::NOSPC);
    let by_core = Rig::new(3, Some(1));
    let other = by_core.create(&ONE, 1).unwrap();
    by_core.refused(&ONE, 2, Errno::USERS);
    // Both count: the core is asked first, and the pool's refusal gives the core's instance back.
    let by_both = Rig::new(1, Some(2));
    by_both.refused(&TWO, 1, Errno::NOSPC);
    drop((held, other));
    drop(by_core.create(&ONE, 2).unwrap());
    drop(by_driver.create(&TWO, 2).unwrap());
}

#[test]
fn a_failed_register_leaves_the_object_to_be_put() {
    let log = Log::default();
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(&log));
    device.register().unwrap();
    device.open(OpenMode::Shared).unwrap();
    assert_eq!(device.register(), Err(Errno::INVAL));
    let (state, users) = (device.object().state(), device.object().open_count());
    assert_eq!((state, users), (State::Registered, 1), "as it was");
    assert_eq!(device.unregister(), Unregister::InUse, "and with no registration too many");
    assert_eq!(device.register(), Err(Errno::INVAL));
    device.close();
    assert_eq!(device.unregister(), Unregister::Done);
    assert_eq!(device.register(), Err(Errno::INVAL));
    drop(device);
    assert_eq!(log.take(), ["open", "close", "release"]);
}

/// A device that tells the open count which others see while `open` and `close` run. It has a reference to itself, and is
/// not released before that is taken.
fn counting(log: &Log, refuse: &Arc<Mutex<bool>>) -> (Device, Arc<Mutex<Option<DeviceRef>>>) {
    let object = Arc::<Mutex<Option<DeviceRef>>>::default();
    let (seen, counts, refuses) = (Arc::clone(&object), log.clone(), Arc::clone(refuse));
    let probe = Probe::acting(log, move |call, _: &mut Context| {
        if let (Call::Open | Call::Close, Some(object)) = (call, &*seen.lock().unwrap()) {
            counts.add(format!("count {}", object.open_count()));
        }
        if *refuses.lock().unwrap() { Err(Errno::NXIO) } else { Ok(()) }
    });
    let device = alloc(&Vfio::new(), plain(), probe);
    *object.lock().unwrap() = Some(device.get());
    (device, object)
}

#[test]
fn open_and_close_run_while_the_count_is_one() {
    let log = Log::default();
    let (mut device, itself) = counting(&log, &Arc::default());
    device.register().unwrap();
    for _ in 0..2 {
        device.open(OpenMode::Shared).unwrap();
        device.open(OpenMode::Shared).unwrap();
        device.close();
        device.close();
        assert_eq!(device.object().open_count(), 0);
        assert_eq!(log.take(), ["open", "count 1", "close", "count 1"]);
    }
    drop(device);
    assert_eq!(log.take(), [""; 0]);
    drop(itself.lock().unwrap().take());
    assert_eq!(log.take(), ["release"]);
}

#[test]
fn an_open_that_fails_gives_its_count_and_its_registration_back_each_time() {
    let (log, refuse) = (Log::default(), Arc::new(Mutex::new(true)));
    let (mut device, itself) = counting(&log, &refuse);
    device.register().unwrap();
    for mode in [OpenMode::Exclusive, OpenMode::Shared, OpenMode::Exclusive] {
        assert_eq!(device.open(mode), Err(Errno::NXIO));
        assert_eq!(device.object().open_count(), 0);
        assert_eq!(log.take(), ["open", "count 1"], "and no close");
    }
    *refuse.lock().unwrap() = false;
    device.open(OpenMode::Exclusive).unwrap();
    *refuse.lock().unwrap() = true;
    assert_eq!(device.open(OpenMode::Shared), Err(Errno::BUSY));
    assert_eq!(device.object().open_count(), 1, "a refused user costs the first nothing");
    device.close();
    assert_eq!(device.unregister(), Unregister::Done);
    drop(itself.lock().unwrap().take());
}

#[test]
fn a_release_that_panics_still_gives_back_what_the_core_holds() {
    let (vfio, log) = (Vfio::new(), Log::default());
    let probe = Probe::new(&log).at_release(|| panic!("a driver's fault"));
    let mut held = Some(probe);
    let device = vfio.alloc(|init| {
        init.assign_device_set(1);
        Ok((plain(), Box::new(held.take().unwrap())))
    });
    assert!(catch_unwind(AssertUnwindSafe(|| drop(device))).is_err());
    assert_eq!(log.take(), ["release"]);
    assert_eq!((vfio.device_sets(), free_index(&vfio)), (0, 0));
}

#[test]
fn assigning_another_set_leaves_the_first() {
    let vfio = Vfio::new();
    let device = vfio.alloc(|init| {
        init.assign_device_set(1);
        init.assign_device_set(2);
        assert_eq!(vfio.device_sets(), 1);
        Ok((plain(), Box::new(Probe::new(&Log::default()))))
    });
    assert_eq!(vfio.device_sets(), 1);
    drop(device.unwrap());
    assert_eq!(vfio.device_sets(), 0);
}
