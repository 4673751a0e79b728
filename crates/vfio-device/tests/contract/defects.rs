#![cfg(test)]
//! What the kernel's series had wrong in its second version, put to our core: the release of mtty and mbochs returned
//! capacity by fields of a device that it had freed. (The other defect, an instance of ccw that was lost when making the
//! device failed, is in `shapes/ccw.rs`.)

use std::sync::{Arc, Mutex};
use std::thread;

use uuid::Uuid;
use vfio_device::{
    Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent, Pool, Share, Unregister, Vfio,
    VfioDevice,
};

use crate::support::{Log, free_index, no_registers, plain};

const fn kind(name: &'static str) -> MdevType {
    MdevType { name, pretty_name: "", description: None }
}

const TYPES: [MdevType; 5] =
    [kind("mtty-1"), kind("mtty-2"), kind("mbochs-4"), kind("mbochs-16"), kind("mbochs-64")];

fn units(kind: &MdevType) -> u32 {
    kind.name.rsplit('-').next().unwrap().parse().unwrap()
}

/// A device's share, given back by what is written in the device.
struct Capacity {
    units: u32,
    share: Option<Share>,
    log: Log,
}

impl Drop for Capacity {
    fn drop(&mut self) {
        self.share = None;
        self.log.add(format!("{} back", self.units));
    }
}

type Look = Arc<Mutex<Option<Box<dyn FnOnce() -> String + Send>>>>;

struct Card {
    /// Looked at when the device goes: it must be what `init` wrote.
    registers: Vec<u8>,
    capacity: Capacity,
    at_release: Look,
    log: Log,
}

impl VfioDevice for Card {
    no_registers!();
    fn release(self: Box<Self>) {
        // No panic here: this may run while a test that has failed unwinds.
        let look = self.at_release.lock().unwrap().take();
        self.log.add(look.map_or("release out of turn".to_owned(), |look| look()));
        if self.registers != vec![0x5a; self.capacity.units as usize] {
            self.log.add("and the state is not what it was");
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.log.add("state freed");
    }
}

struct Driver {
    pool: Pool,
    log: Log,
    at_release: Look,
}

impl MdevDriver for Driver {
    fn types(&self) -> &[MdevType] {
        &TYPES
    }
    fn available(&self, kind: &MdevType) -> u32 {
        self.pool.free() / units(kind)
    }
    fn init(&self, kind: &MdevType, init: &mut Init<'_>) -> Result<Made, Errno> {
        init.assign_device_set(1);
        let units = units(kind);
        let share = Some(self.pool.reserve(units)?);
        let (log, at_release) = (self.log.clone(), Arc::clone(&self.at_release));
        let capacity = Capacity { units, share, log: log.clone() };
        let registers = vec![0x5a; units as usize];
        Ok((plain(), Box::new(Card { registers, capacity, at_release, log })))
    }
}

#[test]
fn release_comes_after_set_and_index_and_before_state_capacity_and_uuid() {
    const TOTAL: u32 = 100;
    for kind in &TYPES {
        let (vfio, pool, log) = (Vfio::new(), Pool::new(TOTAL), Log::default());
        let at_release = Look::default();
        let driver =
            Driver { pool: pool.clone(), log: log.clone(), at_release: Arc::clone(&at_release) };
        let (parent, uuid) = (Parent::register(&vfio, driver), Uuid::from_u128(1));
        let mut device = parent.create(kind, uuid).unwrap();
        device.register().unwrap();
        device.open(OpenMode::Exclusive).unwrap();
        device.close();
        assert_eq!(device.unregister(), Unregister::Done);
        assert_eq!((vfio.device_sets(), free_index(&vfio)), (1, 1), "all of it is held yet");

        let (seen, of, units_then, kind_then) = (vfio.clone(), parent.clone(), pool.clone(), *kind);
        let look = move || {
            let gone = (seen.device_sets(), free_index(&seen));
            let again = of.create(&kind_then, uuid).map(drop);
            format!("release: {gone:?}, {} units, {again:?}", units_then.free())
        };
        *at_release.lock().unwrap() = Some(Box::new(look));
        let last = device.get();
        drop(device);
        assert_eq!((log.take(), pool.free()), (Vec::new(), TOTAL - units(kind)));
        thread::spawn(move || drop(last)).join().unwrap();

        let held = TOTAL - units(kind);
        let in_release = format!("release: (0, 0), {held} units, {:?}", Err::<(), _>(Errno::EXIST));
        let back = format!("{} back", units(kind));
        assert_eq!(log.take(), [&in_release, "state freed", &back]);
        assert_eq!(pool.free(), TOTAL, "once");
        assert!(at_release.lock().unwrap().is_none());
        // Refused or not, nothing is left that the next device would miss.
        *at_release.lock().unwrap() = Some(Box::new(String::new));
        let next = parent.create(kind, uuid).unwrap();
        assert_eq!((next.object().index(), vfio.device_sets()), (0, 1));
    }
}

/// The same where the core counts: the instance comes back after release too.
struct Counted(Look);
impl MdevDriver for Counted {
    fn types(&self) -> &[MdevType] {
        &TYPES[..1]
    }
    fn max_instances(&self) -> Option<u32> {
        Some(1)
    }
    fn init(&self, _: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let (log, at_release) = (Log::default(), Arc::clone(&self.0));
        let capacity = Capacity { units: 0, share: None, log: log.clone() };
        Ok((plain(), Box::new(Card { registers: Vec::new(), capacity, at_release, log })))
    }
}

#[test]
fn an_instance_that_the_core_counts_comes_back_after_release_and_once() {
    let (vfio, at_release) = (Vfio::new(), Look::default());
    let parent = Parent::register(&vfio, Counted(Arc::clone(&at_release)));
    let device = parent.create(&TYPES[0], Uuid::from_u128(1)).unwrap();
    let (seen, of) = (Arc::new(Mutex::new(Vec::new())), parent.clone());
    let shown = Arc::clone(&seen);
    *at_release.lock().unwrap() = Some(Box::new(move || {
        let again = of.create(&TYPES[0], Uuid::from_u128(2)).map(drop);
        shown.lock().unwrap().push((of.available_instances(&TYPES[0]), again));
        String::new()
    }));
    drop(device);
    assert_eq!(*seen.lock().unwrap(), [(0, Err(Errno::USERS))]);
    assert_eq!(parent.available_instances(&TYPES[0]), 1);
}
