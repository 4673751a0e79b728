#![cfg(test)]
//! A random walk through the life of a dozen devices, each step foretold by a model: what it answers, and afterwards the
//! state of everything.
//!
//! `VFIO_DEVICE_SEED=number` walks another way. A walk that fails says its seed and its last steps.

mod machine;
mod world;

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use vfio_device::OpenMode;

use crate::support::{Walk, free_index};
use machine::{Fault, Model, Wish};
use world::{ONE, Shared, World};

const STEPS: usize = 20_000;
const SLOTS: u64 = 12;
const UNITS: u32 = 9;
const INSTANCES: u32 = 3;
/// Parents that are still asked: two that make devices, and two that have been unregistered.
const PARENTS: usize = 4;

/// Told if the walk fails.
struct Tail {
    seed: u64,
    steps: VecDeque<String>,
}

impl Tail {
    fn add(&mut self, step: String) {
        if self.steps.len() == 25 {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("VFIO_DEVICE_SEED={}, and the last steps:", self.seed);
            self.steps.iter().for_each(|step| eprintln!("  {step}"));
        }
    }
}

struct Run {
    walk: Walk,
    model: Model,
    world: World,
    tail: Tail,
}

/// Drops it here, or now and then in another thread.
fn drop_somewhere<T: Send>(walk: &mut Walk, it: T) {
    if walk.small(64) == 0 {
        thread::scope(|scope| _ = scope.spawn(|| drop(it)));
    } else {
        drop(it);
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut model = Model { units: UNITS, ..Model::default() };
        model.objects.resize(SLOTS as usize, None);
        let world = World::new(SLOTS as usize, UNITS);
        let tail = Tail { seed, steps: VecDeque::new() };
        let mut run = Self { walk: Walk(seed), model, world, tail };
        run.add_parent(None);
        run.add_parent(Some(INSTANCES));
        run
    }

    fn add_parent(&mut self, counted: Option<u32>) {
        self.world.add_parent(counted);
        let special = counted.is_some();
        self.model.parents.push(machine::Parent { free: counted, special, gone: false });
    }

    fn wish(&mut self) -> Wish {
        let walk = &mut self.walk;
        let last = self.model.parents.len();
        let parent = last - 1 - walk.small(last.min(PARENTS) as u64) as usize;
        let special = walk.small(6) == 0;
        Wish {
            mdev: (walk.small(5) != 0).then(|| (parent, walk.small(6).into())),
            units: if special { 1 } else { 1 + walk.small(2) },
            special,
            set: (walk.small(2) == 0).then(|| walk.small(3).into()),
            fault: [Fault::BeforeShare, Fault::AfterShare, Fault::Description]
                .get(walk.small(16) as usize)
                .copied()
                .unwrap_or(Fault::Nowhere),
        }
    }

    /// Something that needs the device's owner. `None` if it makes no sense now.
    fn with_owner(&mut self, slot: usize, what: u32) -> Option<String> {
        let (model, handles) = (self.model.at(slot), &mut self.world.slots[slot]);
        let device = handles.device.as_mut()?;
        Some(match what {
            0 => {
                let answer = device.register();
                assert_eq!(answer, model.register());
                format!("register: {answer:?}")
            }
            1..=3 => {
                let exclusive = what == 1;
                let mode = if exclusive { OpenMode::Exclusive } else { OpenMode::Shared };
                let answer = device.open(mode);
                assert_eq!(answer, model.open(exclusive));
                format!("open {mode:?}: {answer:?}")
            }
            4..=5 => {
                device.close();
                model.close();
                "close".into()
            }
            6 => {
                let answer = device.unregister();
                assert_eq!(answer, model.unregister());
                format!("unregister: {answer:?}")
            }
            7 => {
                let answer = device.request();
                assert_eq!(answer, model.request());
                format!("request: {answer}")
            }
            8 => {
                let refuses = !model.refuses;
                model.refuses = refuses;
                handles.shared.refuses.store(refuses, std::sync::atomic::Ordering::SeqCst);
                format!("its open refuses: {refuses}")
            }
            9 => {
                let mut data = [0; 2];
                let answer = device.region_read(0, 1, &mut data);
                assert_eq!(answer.is_ok(), !model.retired);
                assert_eq!(data, if model.retired { [0; 2] } else { [0x5a; 2] });
                format!("read: {answer:?}")
            }
            _ => {
                let device = handles.device.take();
                drop_somewhere(&mut self.walk, device);
                model.drop_owner();
                self.model.settle(slot);
                "drop the owner".into()
            }
        })
    }

    /// Something that anybody can do who has a way to the object.
    fn with_object(&mut self, slot: usize, what: u32) -> Option<String> {
        let (model, handles) = (self.model.at(slot), &mut self.world.slots[slot]);
        Some(match what {
            0..=1 => {
                let reference = handles.object().clone();
                handles.references.push(reference);
                model.references += 1;
                "get".into()
            }
            2..=4 => {
                let one = self.walk.small(handles.references.len().max(1) as u64) as usize;
                let reference = (one < handles.references.len())
                    .then(|| handles.references.swap_remove(one))?;
                drop_somewhere(&mut self.walk, reference);
                model.references -= 1;
                self.model.settle(slot);
                "put".into()
            }
            5..=6 => {
                let registration = handles.object().try_get_registration();
                assert_eq!(registration.is_some(), model.register_user());
                let answer = registration.is_some();
                handles.registrations.extend(registration);
                format!("registration: {answer}")
            }
            7..=9 => {
                let registration = handles.registrations.pop()?;
                drop_somewhere(&mut self.walk, registration);
                model.drop_registration();
                self.model.settle(slot);
                "drop a registration".into()
            }
            _ => {
                let answer = handles.object().wait_unregistered(Duration::ZERO);
                assert_eq!(answer, model.state == vfio_device::State::Unregistered);
                format!("unregistered: {answer}")
            }
        })
    }

    fn step(&mut self) -> Option<String> {
        let slot = self.walk.small(SLOTS) as usize;
        if self.model.objects[slot].is_some() {
            let what = self.walk.small(11);
            let owner = self.walk.small(2) == 0;
            let step =
                if owner { self.with_owner(slot, what) } else { self.with_object(slot, what) };
            return step.map(|step| format!("{slot}: {step}"));
        }
        if self.walk.small(100) == 0 {
            let number = self.model.parents.len() - 2;
            let counted = self.model.parents[number].free.map(|_| INSTANCES);
            self.model.parents[number].gone = true;
            self.world.parents[number].unregister();
            self.add_parent(counted);
            return Some(format!("parent {number} is unregistered"));
        }
        let wish = self.wish();
        let answer = self.world.make(slot, wish);
        assert_eq!(answer, self.model.make(slot, wish), "{wish:?}");
        Some(format!("{slot}: make {wish:?}: {answer:?}"))
    }

    /// Compares everything that can be seen.
    fn check(&mut self) {
        for (object, handles) in self.model.objects.iter().zip(&mut self.world.slots) {
            let Some(object) = object else {
                handles.shared = Shared::default();
                continue;
            };
            let real = handles.object();
            let state = (real.index(), real.state(), real.open_count());
            assert_eq!(state, (object.index, object.state, object.opens));
            let calls = *handles.shared.calls.lock().unwrap();
            assert_eq!(calls, object.calls, "vfio{}", state.0);
        }
        let (model, world) = (&self.model, &self.world);
        let counts = (world.alive(), world.releases(), world.pool.free(), world.vfio.device_sets());
        assert_eq!(counts, (model.alive(), model.releases, model.units, model.sets()));
        for (parent, real) in model.parents.iter().zip(&world.parents).rev().take(PARENTS) {
            assert_eq!(real.available_instances(&ONE), parent.free.unwrap_or(model.units));
        }
        assert_eq!(free_index(&world.vfio), model.lowest_free_index());
    }

    /// Lets go of everything, in any order.
    fn end(mut self) {
        while self.model.alive() > 0 {
            let slot = self.walk.small(SLOTS) as usize;
            if self.model.objects[slot].is_some() {
                let step = match self.walk.small(3) {
                    0 => self.with_owner(slot, 10),
                    1 => self.with_object(slot, 2),
                    _ => self.with_object(slot, 7),
                };
                self.tail.add(format!("{slot}: {step:?}"));
                self.check();
            }
        }
        let (world, model) = (&mut self.world, &mut self.model);
        assert_eq!((world.alive(), world.pool.free()), (0, UNITS));
        assert_eq!((world.vfio.device_sets(), free_index(&world.vfio)), (0, 0));
        // Every UUID can be had.
        let parent = (model.parents.iter()).position(|it| it.free.is_none() && !it.gone).unwrap();
        for number in 0..6 {
            let mdev = Some((parent, number));
            let wish = Wish { mdev, units: 1, special: false, set: None, fault: Fault::Nowhere };
            assert_eq!(world.make(usize::try_from(number).unwrap(), wish), Ok(()));
        }
    }
}

#[test]
fn a_long_random_life_goes_as_the_model_says() {
    let given =
        std::env::var("VFIO_DEVICE_SEED").ok().map(|seed| seed.parse::<u64>().unwrap().max(1));
    let seeds = given.map_or_else(|| vec![1, 0x9e37_79b9_7f4a_7c15, 20_220_901], |seed| vec![seed]);
    for seed in seeds {
        let mut run = Run::new(seed);
        let mut steps = 0;
        while steps < STEPS {
            if let Some(step) = run.step() {
                run.tail.add(step);
                run.check();
                steps += 1;
            }
        }
        run.end();
    }
}
