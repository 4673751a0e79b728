#![cfg(test)]
//! What threads do to a device at the same time. Many rounds, no sleep; whichever thread is first, the same must hold.

use std::hint::spin_loop;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vfio_device::{
    Device, DeviceRef, Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent, Pool, Share,
    State, Unregister, Vfio, VfioDevice,
};

use crate::support::{Log, Probe, Walk, alloc, free_index, no_registers, plain};

const ROUNDS: u64 = 1000;
/// Longer than any round takes on a machine that is not stuck.
const LONG: Duration = Duration::from_secs(30);

fn registered(log: &Log) -> Device {
    let mut device = alloc(&Vfio::new(), plain(), Probe::new(log));
    device.register().unwrap();
    device
}

/// Waits until nobody uses the device any more, and asserts that it is told so: who is not finds out when its time is
/// over, and has the right answer all the same.
#[track_caller]
fn hears_that_it_is_unregistered(reference: &DeviceRef) {
    let begin = Instant::now();
    assert!(reference.wait_unregistered(LONG), "still in use");
    let waited = begin.elapsed();
    assert!(waited < LONG, "it was unregistered, and who waited was not told for {waited:?}");
}

/// A little work, to shift one thread against the other.
fn dawdle(turns: u32) {
    (0..turns).for_each(|_| spin_loop());
}

#[test]
fn a_registration_is_had_before_unregister_is_done_or_not_at_all() {
    let mut walk = Walk(0x1234_5678_9abc_def1);
    for _ in 0..ROUNDS {
        let mut device = registered(&Log::default());
        let (reference, start) = (device.get(), Barrier::new(3));
        let (began, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let turns = walk.small(400);
        thread::scope(|scope| {
            let take = || {
                start.wait();
                loop {
                    let late = began.load(SeqCst);
                    let Some(registration) = reference.try_get_registration() else { break };
                    assert!(!late, "it was hidden by then");
                    assert_ne!(registration.device().state(), State::Unregistered);
                    assert!(!done.load(SeqCst), "held, and yet nobody was waited for");
                    drop(registration);
                    thread::yield_now(); // or the lock may never be had by the other side
                }
                assert!(reference.state() >= State::Unregistering);
            };
            scope.spawn(take);
            scope.spawn(take);
            start.wait();
            dawdle(turns);
            while device.unregister() == Unregister::InUse {
                began.store(true, SeqCst);
                thread::yield_now();
            }
            done.store(true, SeqCst);
        });
    }
}

#[test]
fn no_open_succeeds_once_unregister_has_begun() {
    let mut walk = Walk(0x9e37_79b9_7f4a_7c15);
    for _ in 0..ROUNDS {
        let log = Log::default();
        let (device, start) = (Mutex::new(registered(&log)), Barrier::new(3));
        let (began, turns) = (AtomicBool::new(false), walk.small(400));
        let open = || {
            let mut device = device.lock().unwrap();
            let opened = device.open(OpenMode::Shared);
            // Under the lock under which unregistering begins; a user from before may still be there.
            assert!(opened.is_err() || !began.load(SeqCst));
            opened
        };
        thread::scope(|scope| {
            let user = || {
                start.wait();
                while open().map_err(|errno| assert_eq!(errno, Errno::NODEV)).is_ok() {
                    thread::yield_now();
                    device.lock().unwrap().close();
                    thread::yield_now();
                }
            };
            scope.spawn(user);
            scope.spawn(user);
            start.wait();
            dawdle(turns);
            loop {
                let mut device = device.lock().unwrap();
                began.store(true, SeqCst);
                if device.unregister() == Unregister::Done {
                    break;
                }
                drop(device);
                thread::yield_now();
            }
        });
        let calls = log.take();
        let opens = calls.iter().filter(|call| *call == "open").count();
        assert_eq!(calls, ["open", "close"].repeat(opens), "each open has its close");
    }
}

#[test]
fn who_waits_hears_of_the_last_user_whenever_it_goes() {
    let mut walk = Walk(0x0f1e_2d3c_4b5a_6978);
    for _ in 0..ROUNDS {
        let mut device = registered(&Log::default());
        device.open(OpenMode::Exclusive).unwrap();
        let (reference, start) = (device.get(), Barrier::new(3));
        let registration = device.object().try_get_registration();
        let turns = [walk.small(400), walk.small(400), walk.small(400)];
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                hears_that_it_is_unregistered(&reference);
                assert_eq!((reference.state(), reference.open_count()), (State::Unregistered, 0));
            });
            scope.spawn(|| {
                start.wait();
                dawdle(turns[0]);
                drop(registration);
            });
            start.wait();
            dawdle(turns[1]);
            assert_eq!(device.unregister(), Unregister::InUse);
            dawdle(turns[2]);
            device.close();
            hears_that_it_is_unregistered(device.object());
            assert_eq!(device.unregister(), Unregister::Done);
        });
    }
}

#[test]
fn the_thread_that_puts_last_runs_release_and_no_other_does() {
    let vfio = Vfio::new();
    for _ in 0..ROUNDS {
        let (begun, released) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (begun_there, released_there) = (Arc::clone(&begun), Arc::clone(&released));
        let probe = Probe::new(&Log::default()).at_release(move || {
            let begun = begun_there.load(SeqCst);
            released_there.lock().unwrap().push((begun, thread::current().id()));
        });
        let device = alloc(&vfio, plain(), probe);
        let (start, references) = (Barrier::new(4), [(); 3].map(|()| device.get()));
        let threads = thread::scope(|scope| {
            let put = |reference: DeviceRef| {
                let (begun, start) = (&begun, &start);
                let putter = scope.spawn(move || {
                    start.wait();
                    begun.fetch_add(1, SeqCst);
                    drop(reference);
                });
                putter.thread().id()
            };
            let threads = references.map(put);
            start.wait();
            begun.fetch_add(1, SeqCst);
            drop(device);
            let owner = thread::current().id();
            [&threads[..], &[owner]].concat()
        });
        let released = released.lock().unwrap();
        assert_eq!(released.len(), 1);
        assert_eq!(released[0].0, 4, "somebody still had a reference");
        assert!(threads.contains(&released[0].1));
        assert_eq!(free_index(&vfio), 0);
    }
}

const KIND: MdevType = MdevType { name: "race", pretty_name: "", description: None };

/// Says that it is gone, in `release`, before its share is back.
struct Card(Arc<AtomicU32>, #[expect(dead_code, reason = "held for its Drop")] Share);
impl VfioDevice for Card {
    no_registers!();
    fn release(self: Box<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

struct Driver {
    pool: Pool,
    released: Arc<AtomicU32>,
    counted: Option<u32>,
}

impl MdevDriver for Driver {
    fn types(&self) -> &[MdevType] {
        &[KIND]
    }
    fn max_instances(&self) -> Option<u32> {
        self.counted
    }
    fn init(&self, _: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let share = self.pool.reserve(1)?;
        Ok((plain(), Box::new(Card(Arc::clone(&self.released), share))))
    }
}

fn parent(vfio: &Vfio, units: u32, counted: Option<u32>) -> (Parent, Pool, Arc<AtomicU32>) {
    let (pool, released) = (Pool::new(units), Arc::default());
    let driver = Driver { pool: pool.clone(), released: Arc::clone(&released), counted };
    (Parent::register(vfio, driver), pool, released)
}

#[test]
fn a_uuid_can_be_used_again_right_after_the_release_and_not_before() {
    let vfio = Vfio::new();
    // The pool has room for two: nothing but the UUID keeps the next one out.
    let (parent, _, released) = parent(&vfio, 2, None);
    let uuid = Uuid::from_u128(1);
    let mut device = parent.create(&KIND, uuid).unwrap();
    for round in 1..=u32::try_from(ROUNDS).unwrap() {
        device.register().unwrap();
        let reference = device.get();
        assert_eq!(device.unregister(), Unregister::Done);
        drop(device);
        assert_eq!(parent.create(&KIND, uuid).map(drop), Err(Errno::EXIST));
        let start = Barrier::new(2);
        device = thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                drop(reference);
            });
            start.wait();
            loop {
                match parent.create(&KIND, uuid) {
                    Ok(device) => break device,
                    Err(errno) => assert_eq!(errno, Errno::EXIST),
                }
                thread::yield_now();
            }
        });
        assert_eq!(released.load(SeqCst), round, "the one before is released");
    }
}

#[test]
fn an_instance_can_be_had_again_right_after_the_release_and_not_before() {
    let vfio = Vfio::new();
    let (parent, pool, released) = parent(&vfio, 1, Some(1));
    let mut device = parent.create(&KIND, Uuid::from_u128(0)).unwrap();
    for round in 1..=u32::try_from(ROUNDS).unwrap() {
        let start = Barrier::new(2);
        device = thread::scope(|scope| {
            let last = device.get();
            drop(device);
            scope.spawn(|| {
                start.wait();
                drop(last);
            });
            start.wait();
            loop {
                // Never ENOSPC: the private state, and its share with it, go before the instance.
                match parent.create(&KIND, Uuid::from_u128(round.into())) {
                    Ok(device) => break device,
                    Err(errno) => assert_eq!(errno, Errno::USERS),
                }
                thread::yield_now();
            }
        });
        assert_eq!((released.load(SeqCst), pool.free()), (round, 0));
    }
}

#[test]
fn an_index_is_used_again_only_after_the_last_put() {
    let vfio = Vfio::new();
    let held: Vec<AtomicBool> = (0..32).map(|_| AtomicBool::new(false)).collect();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let (vfio, held) = (&vfio, &held);
            scope.spawn(move || {
                let mut walk = Walk(seed);
                let mut mine: Vec<DeviceRef> = Vec::new();
                for _ in 0..ROUNDS {
                    let mut device = alloc(vfio, plain(), Probe::new(&Log::default()));
                    let index = device.object().index() as usize;
                    assert!(index < 4 * 6, "not the lowest: {index}");
                    assert!(!held[index].swap(true, SeqCst), "vfio{index} is held by another");
                    device.register().unwrap();
                    device.unregister();
                    mine.push(device.get());
                    drop(device);
                    while mine.len() > walk.small(6) as usize {
                        let reference = mine.swap_remove(0);
                        held[reference.index() as usize].store(false, SeqCst);
                        drop(reference);
                    }
                }
                mine.iter().for_each(|it| held[it.index() as usize].store(false, SeqCst));
            });
        }
    });
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn nothing_is_made_once_a_parent_is_unregistered() {
    for _ in 0..ROUNDS {
        let vfio = Vfio::new();
        let (parent, pool, _) = parent(&vfio, 100_000, None);
        let (done, start) = (AtomicBool::new(false), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                for number in 0.. {
                    let after = done.load(SeqCst);
                    match parent.create(&KIND, Uuid::from_u128(number)) {
                        Ok(_) => assert!(!after),
                        Err(errno) => {
                            assert_eq!(errno, Errno::NODEV);
                            break;
                        }
                    }
                }
            });
            start.wait();
            parent.unregister();
            done.store(true, SeqCst);
        });
        assert_eq!((pool.free(), free_index(&vfio)), (100_000, 0));
    }
}
