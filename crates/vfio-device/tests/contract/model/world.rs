#![cfg(test)]
//! The core, with a driver that counts what is called of it.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use uuid::Uuid;
use vfio_device::{
    BarKind, Context, Device, DeviceRef, Errno, Init, Made, MdevDriver, MdevType, Parent, Pool,
    Region, Registration, Share, Vfio, VfioDevice,
};

use super::machine::{Calls, Fault, Wish};
use crate::support::plain;

pub const ONE: MdevType = MdevType { name: "model-1", pretty_name: "", description: None };
pub const TWO: MdevType = MdevType { name: "model-2", pretty_name: "", description: None };
/// A type that only the parents have whose instances the core counts.
pub const SPECIAL: MdevType = MdevType { name: "model-s", pretty_name: "", description: None };

/// What a card shares with the test.
#[derive(Clone, Default)]
pub struct Shared {
    pub calls: Arc<Mutex<Calls>>,
    pub refuses: Arc<AtomicBool>,
}

struct Card {
    shared: Shared,
    is_open: bool,
    releases: Arc<Mutex<u32>>,
    _alive: Arc<()>,
    _share: Share,
}

impl Card {
    /// No panic in a call: some are made while a test that has failed unwinds.
    fn expect(&self, holds: bool) {
        self.shared.calls.lock().unwrap().wrong += u32::from(!holds);
    }
}

impl VfioDevice for Card {
    fn region_read(&mut self, _: u32, _: u64, data: &mut [u8], _: &mut Context) {
        data.fill(0x5a);
    }
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
    fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
        self.expect(!self.is_open);
        self.shared.calls.lock().unwrap().open += 1;
        if self.shared.refuses.load(SeqCst) {
            return Err(Errno::NXIO);
        }
        self.is_open = true;
        Ok(())
    }
    fn close(&mut self, _: &mut Context) {
        self.expect(self.is_open);
        self.is_open = false;
        self.shared.calls.lock().unwrap().close += 1;
    }
    fn request(&mut self, count: u32, _: &mut Context) -> bool {
        let expected = self.shared.calls.lock().unwrap().request;
        self.expect(count == expected);
        self.shared.calls.lock().unwrap().request += 1;
        count.is_multiple_of(2)
    }
    fn release(self: Box<Self>) {
        // What the model does not foretell at all, if it is open.
        *self.releases.lock().unwrap() += if self.is_open { 1000 } else { 1 };
    }
}

/// Makes cards as the next wish says.
#[derive(Clone)]
struct Maker {
    pool: Pool,
    releases: Arc<Mutex<u32>>,
    alive: Arc<()>,
    next: Arc<Mutex<Option<(Wish, Shared)>>>,
}

impl Maker {
    fn init(&self, init: &mut Init<'_>) -> Result<Made, Errno> {
        let (wish, shared) = self.next.lock().unwrap().take().unwrap();
        if let Some(key) = wish.set {
            init.assign_device_set(key);
        }
        let fails = |at| if wish.fault == at { Err(Errno::IO) } else { Ok(()) };
        fails(Fault::BeforeShare)?;
        let share = self.pool.reserve(wish.units)?;
        fails(Fault::AfterShare)?;
        let releases = Arc::clone(&self.releases);
        let alive = Arc::clone(&self.alive);
        let size = if wish.fault == Fault::Description { 3 } else { 4 };
        let description = plain().bar(0, BarKind::Io, Region::trapped(size));
        let card = Card { shared, is_open: false, releases, _alive: alive, _share: share };
        Ok((description, Box::new(card)))
    }
}

struct Driver(Maker, Option<u32>);

impl MdevDriver for Driver {
    fn types(&self) -> &[MdevType] {
        if self.1.is_some() { &[ONE, TWO, SPECIAL] } else { &[ONE, TWO] }
    }
    fn max_instances(&self) -> Option<u32> {
        self.1
    }
    fn available(&self, kind: &MdevType) -> u32 {
        self.0.pool.free() / if *kind == TWO { 2 } else { 1 }
    }
    fn init(&self, _: &MdevType, init: &mut Init<'_>) -> Result<Made, Errno> {
        self.0.init(init)
    }
}

/// All that somebody holds of one device.
#[derive(Default)]
pub struct Handles {
    pub device: Option<Device>,
    pub references: Vec<DeviceRef>,
    pub registrations: Vec<Registration>,
    pub shared: Shared,
}

impl Handles {
    /// Any way to the object.
    pub fn object(&self) -> &DeviceRef {
        let device = self.device.iter().map(Device::object);
        let registrations = self.registrations.iter().map(Registration::device);
        device.chain(&self.references).chain(registrations).next().unwrap()
    }
}

pub struct World {
    pub vfio: Vfio,
    pub pool: Pool,
    pub slots: Vec<Handles>,
    pub parents: Vec<Parent>,
    maker: Maker,
}

impl World {
    pub fn new(slots: usize, units: u32) -> Self {
        let (vfio, pool) = (Vfio::new(), Pool::new(units));
        let maker = Maker {
            pool: pool.clone(),
            releases: Arc::default(),
            alive: Arc::default(),
            next: Arc::default(),
        };
        let slots = (0..slots).map(|_| Handles::default()).collect();
        Self { vfio, pool, slots, parents: Vec::new(), maker }
    }

    pub fn add_parent(&mut self, counted: Option<u32>) {
        let parent = Parent::register(&self.vfio, Driver(self.maker.clone(), counted));
        self.parents.push(parent);
    }

    /// Private states that have not been freed.
    pub fn alive(&self) -> usize {
        // One is the maker's here, and each parent's driver has another.
        Arc::strong_count(&self.maker.alive) - 1 - self.parents.len()
    }

    pub fn releases(&self) -> u32 {
        *self.maker.releases.lock().unwrap()
    }

    pub fn make(&mut self, slot: usize, wish: Wish) -> Result<(), Errno> {
        let shared = Shared::default();
        *self.maker.next.lock().unwrap() = Some((wish, shared.clone()));
        let made = match wish.mdev {
            None => self.vfio.alloc(|init| self.maker.init(init)).map_err(Errno::from),
            Some((parent, uuid)) => {
                let kind = match (wish.special, wish.units) {
                    (true, _) => SPECIAL,
                    (false, 2) => TWO,
                    (false, _) => ONE,
                };
                self.parents[parent].create(&kind, Uuid::from_u128(uuid))
            }
        };
        self.slots[slot] = Handles { device: Some(made?), shared, ..Handles::default() };
        Ok(())
    }
}
