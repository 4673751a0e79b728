#![cfg(test)]
//! Parents, types, UUIDs and capacity (kernel: `drivers/vfio/mdev`).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use uuid::Uuid;
use vfio_device::{
    Context, Device, Errno, Init, Made, MdevDriver, MdevType, Parent, Pool, Share, Vfio, VfioDevice,
};

use crate::support::plain;

const ONE: MdevType = MdevType { name: "ports-1", pretty_name: "One", description: None };
const TWO: MdevType = MdevType { name: "ports-2", pretty_name: "Two", description: Some("2") };
const SCREEN: MdevType = MdevType { name: "screen", pretty_name: "Screen", description: None };

struct Holder(#[expect(dead_code, reason = "held for its Drop")] Option<Share>);
impl VfioDevice for Holder {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
}

/// Counts its own capacity, as mtty does.
struct Ports {
    pool: Pool,
    broken: Arc<Mutex<bool>>,
}

impl Ports {
    fn parent(vfio: &Vfio, units: u32) -> (Parent, Pool, Arc<Mutex<bool>>) {
        let (pool, broken) = (Pool::new(units), Arc::default());
        let ports = Self { pool: pool.clone(), broken: Arc::clone(&broken) };
        (Parent::register(vfio, ports), pool, broken)
    }

    fn units(kind: &MdevType) -> u32 {
        if *kind == TWO { 2 } else { 1 }
    }
}

impl MdevDriver for Ports {
    fn types(&self) -> &[MdevType] {
        &[ONE, TWO]
    }
    fn available(&self, kind: &MdevType) -> u32 {
        self.pool.free() / Self::units(kind)
    }
    fn init(&self, kind: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let share = self.pool.reserve(Self::units(kind))?;
        // What follows fails: the share goes back by itself.
        if *self.broken.lock().unwrap() {
            return Err(Errno::IO);
        }
        Ok((plain(), Box::new(Holder(Some(share)))))
    }
}

/// Has its instances counted by the core, as mdpy does.
struct Screens(Option<Errno>);
impl MdevDriver for Screens {
    fn types(&self) -> &[MdevType] {
        &[SCREEN]
    }
    fn max_instances(&self) -> Option<u32> {
        Some(2)
    }
    fn init(&self, _: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        self.0.map_or_else(|| Ok((plain(), Box::new(Holder(None)) as _)), Err)
    }
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn errno(created: Result<Device, Errno>) -> Errno {
    created.map(drop).unwrap_err()
}

#[test]
fn a_uuid_is_unique_over_all_parents_until_its_device_is_released() {
    let vfio = Vfio::new();
    let (ports, pool, _) = Ports::parent(&vfio, 24);
    let screens = Parent::register(&vfio, Screens(None));
    let device = ports.create(&ONE, uuid(1)).unwrap();
    assert_eq!(errno(ports.create(&TWO, uuid(1))), Errno::EXIST);
    assert_eq!(errno(screens.create(&SCREEN, uuid(1))), Errno::EXIST);
    assert_eq!((pool.free(), screens.available_instances(&SCREEN)), (23, 2), "nothing was taken");
    let reference = device.get();
    drop(device);
    assert_eq!(errno(screens.create(&SCREEN, uuid(1))), Errno::EXIST, "not released yet");
    drop(reference);
    screens.create(&SCREEN, uuid(1)).map(drop).unwrap();
    assert!(Ports::parent(&Vfio::new(), 1).0.create(&ONE, uuid(1)).is_ok(), "another core");
}

#[test]
fn what_the_core_counts_is_refused_with_eusers() {
    let screens = Parent::register(&Vfio::new(), Screens(None));
    assert_eq!(screens.available_instances(&SCREEN), 2);
    let first = screens.create(&SCREEN, uuid(1)).unwrap();
    assert_eq!(screens.available_instances(&SCREEN), 1);
    let second = screens.create(&SCREEN, uuid(2)).unwrap();
    assert_eq!(screens.available_instances(&SCREEN), 0);
    assert_eq!(errno(screens.create(&SCREEN, uuid(3))), Errno::USERS);
    assert_eq!(
        errno(screens.create(&SCREEN, uuid(1))),
        Errno::EXIST,
        "the UUID is looked at first"
    );
    let reference = second.get();
    drop(second);
    assert_eq!(screens.available_instances(&SCREEN), 0, "it comes back at the last put");
    assert_eq!(errno(screens.create(&SCREEN, uuid(3))), Errno::USERS);
    drop(reference);
    assert_eq!(screens.available_instances(&SCREEN), 1);
    drop(screens.create(&SCREEN, uuid(3)).unwrap());
    drop(first);
    assert_eq!(screens.available_instances(&SCREEN), 2);
}

#[test]
fn a_failed_init_costs_neither_uuid_nor_instance() {
    let screens = Parent::register(&Vfio::new(), Screens(Some(Errno::NOMEM)));
    for _ in 0..3 {
        assert_eq!(errno(screens.create(&SCREEN, uuid(1))), Errno::NOMEM);
        assert_eq!(screens.available_instances(&SCREEN), 2);
    }
}

#[test]
fn a_pool_is_refused_with_enospc_and_shared_by_the_types() {
    let (ports, _, _) = Ports::parent(&Vfio::new(), 3);
    let available = || [ports.available_instances(&ONE), ports.available_instances(&TWO)];
    assert_eq!(available(), [3, 1]);
    let two = ports.create(&TWO, uuid(1)).unwrap();
    assert_eq!(available(), [1, 0]);
    assert_eq!(errno(ports.create(&TWO, uuid(2))), Errno::NOSPC, "all or none");
    assert_eq!(available(), [1, 0]);
    let one = ports.create(&ONE, uuid(2)).unwrap();
    assert_eq!(available(), [0, 0]);
    assert_eq!(errno(ports.create(&ONE, uuid(3))), Errno::NOSPC);
    let reference = two.get();
    drop(two);
    assert_eq!(available(), [0, 0], "it comes back at the last put");
    drop(reference);
    assert_eq!(available(), [2, 1]);
    drop(one);
    assert_eq!(available(), [3, 1]);
}

#[test]
fn an_init_that_fails_half_way_gives_its_share_back() {
    let (ports, pool, broken) = Ports::parent(&Vfio::new(), 2);
    *broken.lock().unwrap() = true;
    assert_eq!(errno(ports.create(&TWO, uuid(1))), Errno::IO);
    assert_eq!(pool.free(), 2);
    *broken.lock().unwrap() = false;
    let device = ports.create(&TWO, uuid(1)).unwrap();
    assert_eq!(device.object().index(), 0);
}

#[test]
fn a_pool_that_many_threads_take_from_gives_no_more_than_it_has() {
    let pool = Pool::new(5);
    let shares: Vec<Share> = thread::scope(|scope| {
        let take = || (0..100).filter_map(|_| pool.reserve(1).ok()).collect::<Vec<_>>();
        let threads = [(); 4].map(|()| scope.spawn(take));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((shares.len(), pool.free()), (5, 0));
    drop(shares);
    assert_eq!(pool.free(), 5);
    assert_eq!(pool.reserve(6).map(drop), Err(Errno::NOSPC));
}

#[test]
fn a_type_of_another_parent_is_refused() {
    let (ports, pool, _) = Ports::parent(&Vfio::new(), 3);
    assert_eq!(errno(ports.create(&SCREEN, uuid(1))), Errno::INVAL);
    assert_eq!(pool.free(), 3);
}

#[test]
fn a_parent_that_is_unregistered_makes_no_more_devices() {
    let (ports, _, _) = Ports::parent(&Vfio::new(), 3);
    let mut device = ports.create(&ONE, uuid(1)).unwrap();
    ports.clone().unregister();
    assert_eq!(errno(ports.create(&ONE, uuid(2))), Errno::NODEV);
    assert_eq!(errno(ports.create(&ONE, uuid(1))), Errno::NODEV, "before the UUID is looked at");
    assert_eq!(device.register(), Ok(()), "what exists goes on");
}

/// Lets a test hold `init` up.
struct Slow(Mutex<(Sender<()>, Receiver<()>)>);
impl MdevDriver for Slow {
    fn types(&self) -> &[MdevType] {
        &[ONE]
    }
    fn init(&self, _: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let channels = self.0.lock().unwrap();
        channels.0.send(()).unwrap();
        channels.1.recv().unwrap();
        Ok((plain(), Box::new(Holder(None))))
    }
}

#[test]
fn unregistering_a_parent_waits_for_the_device_that_is_being_made() {
    let ((entered, has_entered), (go, may_go)) = (channel(), channel());
    let parent = Parent::register(&Vfio::new(), Slow(Mutex::new((entered, may_go))));
    thread::scope(|scope| {
        let maker = scope.spawn(|| parent.create(&ONE, uuid(1)).is_ok());
        has_entered.recv().unwrap();
        let remover = scope.spawn(|| parent.unregister());
        thread::sleep(Duration::from_millis(5));
        assert!(!remover.is_finished());
        go.send(()).unwrap();
        assert!(maker.join().unwrap());
    });
    assert_eq!(errno(parent.create(&ONE, uuid(1))), Errno::NODEV);
}

#[test]
fn types_are_found_by_name_and_devices_know_theirs() {
    let (ports, _, _) = Ports::parent(&Vfio::new(), 3);
    assert_eq!(ports.find("ports-3"), None);
    assert_eq!(ports.find("ports-2"), Some(&TWO));
    let device = ports.create(&TWO, uuid(0xabcd)).unwrap();
    let mdev = device.object().mdev().unwrap();
    assert_eq!((mdev.uuid(), mdev.kind()), (uuid(0xabcd), &TWO));
    assert_eq!(device.object().to_string(), "vfio0 (ports-2)");
    assert_eq!(vfio_device::DEVICE_API, "vfio-pci");
}

#[test]
fn a_device_with_options_is_made_by_another_init_and_counted_as_any_other() {
    let vfio = Vfio::new();
    let (parent, pool, _) = Ports::parent(&vfio, 3);
    let uuid = Uuid::from_u128(1);
    let refused = parent.create_with(&SCREEN, uuid, |_| panic!("not for another parent's type"));
    assert_eq!(refused.unwrap_err(), Errno::INVAL);
    let failed = parent.create_with(&TWO, uuid, |_| Err(Errno::NOMEM));
    assert_eq!(failed.unwrap_err(), Errno::NOMEM);
    let init = |units| {
        let pool = pool.clone();
        move |_: &mut Init<'_>| {
            Ok((plain(), Box::new(Holder(Some(pool.reserve(units)?))) as Box<dyn VfioDevice>))
        }
    };
    let device = parent.create_with(&TWO, uuid, init(3)).unwrap();
    assert_eq!(device.object().mdev().map(|it| (it.uuid(), *it.kind())), Some((uuid, TWO)));
    assert_eq!(parent.available_instances(&ONE), 0);
    assert_eq!(parent.create_with(&ONE, uuid, init(0)).unwrap_err(), Errno::EXIST);
    assert_eq!(parent.create_with(&ONE, Uuid::from_u128(2), init(1)).unwrap_err(), Errno::NOSPC);
    drop(device);
    assert_eq!((pool.free(), parent.available_instances(&TWO)), (3, 1));
}
