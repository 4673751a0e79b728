#![cfg(test)]
//! i915/gvt: a part of a big parent. Needs of a core that an `init` of many stages can fail at each and undo those that
//! were reached, last first; that the id and the share of the parent's memory come back at release; and that `open` can
//! refuse, here a user without a guest and a guest that has such a device already.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use uuid::Uuid;
use vfio_device::{
    Context, Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent, Pool, Share, Vfio,
    VfioDevice,
};

use super::errno;
use crate::support::{Log, free_index, no_registers, plain};

const VGPU: MdevType = MdevType { name: "i915-GVTg_V5_4", pretty_name: "", description: Some("") };
const STAGES: [&str; 10] = [
    "mmio",
    "id",
    "resources",
    "fence",
    "opregion",
    "gtt",
    "display",
    "edid",
    "submission",
    "debugfs",
];

/// Something set up by a stage, and torn down when dropped.
struct Stage(&'static str, Log);
impl Drop for Stage {
    fn drop(&mut self) {
        self.1.add(self.0);
    }
}

/// What the parent keeps: ids in use, guests that have a device, graphics memory in MB.
#[derive(Clone)]
struct Gpu {
    ids: Arc<Mutex<BTreeSet<u32>>>,
    attached: Arc<Mutex<BTreeSet<u32>>>,
    memory: Pool,
}

/// An id of the parent's, free again when dropped.
struct Id(u32, Gpu);
impl Drop for Id {
    fn drop(&mut self) {
        self.1.ids.lock().unwrap().remove(&self.0);
    }
}

struct Vgpu {
    stages: Vec<Stage>,
    _id: Id,
    _memory: Share,
    gpu: Gpu,
    /// The guest that the next user is of; 0 is none.
    guest: Arc<Mutex<u32>>,
    attached: Option<u32>,
}

impl VfioDevice for Vgpu {
    no_registers!();

    fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
        let guest = *self.guest.lock().unwrap();
        if guest == 0 {
            return Err(Errno::SRCH);
        }
        if !self.gpu.attached.lock().unwrap().insert(guest) {
            return Err(Errno::EXIST);
        }
        self.attached = Some(guest);
        Ok(())
    }

    fn close(&mut self, _: &mut Context) {
        if let Some(guest) = self.attached.take() {
            self.gpu.attached.lock().unwrap().remove(&guest);
        }
    }

    fn release(mut self: Box<Self>) {
        unwind(&mut self.stages);
    }
}

/// The last first, where a `Vec` would drop the first first.
fn unwind(stages: &mut Vec<Stage>) {
    while let Some(stage) = stages.pop() {
        drop(stage);
    }
}

struct Gvt {
    gpu: Gpu,
    log: Log,
    fails_at: Arc<Mutex<Option<usize>>>,
    guest: Arc<Mutex<u32>>,
}

impl MdevDriver for Gvt {
    fn types(&self) -> &[MdevType] {
        &[VGPU]
    }
    fn available(&self, _: &MdevType) -> u32 {
        self.gpu.memory.free() / 64
    }
    fn init(&self, _: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let memory = self.gpu.memory.reserve(64)?;
        let id = {
            let mut ids = self.gpu.ids.lock().unwrap();
            let id = (1..).find(|id| !ids.contains(id)).unwrap_or_default();
            ids.insert(id);
            Id(id, self.gpu.clone())
        };
        let mut stages = Vec::new();
        for (number, name) in STAGES.into_iter().enumerate() {
            if *self.fails_at.lock().unwrap() == Some(number) {
                unwind(&mut stages);
                return Err(Errno::NOMEM);
            }
            stages.push(Stage(name, self.log.clone()));
        }
        let guest = Arc::clone(&self.guest);
        let gpu = self.gpu.clone();
        let vgpu = Vgpu { stages, _id: id, _memory: memory, gpu, guest, attached: None };
        Ok((plain(), Box::new(vgpu)))
    }
}

struct Rig {
    vfio: Vfio,
    parent: Parent,
    gpu: Gpu,
    log: Log,
    fails_at: Arc<Mutex<Option<usize>>>,
    guest: Arc<Mutex<u32>>,
}

fn rig() -> Rig {
    let gpu = Gpu { ids: Arc::default(), attached: Arc::default(), memory: Pool::new(128) };
    let (log, fails_at, guest): (Log, Arc<Mutex<_>>, Arc<Mutex<_>>) = Default::default();
    let gvt = Gvt {
        gpu: gpu.clone(),
        log: log.clone(),
        fails_at: Arc::clone(&fails_at),
        guest: Arc::clone(&guest),
    };
    let vfio = Vfio::new();
    let parent = Parent::register(&vfio, gvt);
    Rig { vfio, parent, gpu, log, fails_at, guest }
}

fn backwards(stages: &[&'static str]) -> Vec<&'static str> {
    stages.iter().rev().copied().collect()
}

#[test]
fn i915_an_init_that_fails_at_any_stage_undoes_those_before_it_backwards() {
    let it = rig();
    for stage in 0..STAGES.len() {
        *it.fails_at.lock().unwrap() = Some(stage);
        assert_eq!(errno(it.parent.create(&VGPU, Uuid::from_u128(1))), Errno::NOMEM);
        assert_eq!(it.log.take(), backwards(&STAGES[..stage]));
        assert_eq!((it.gpu.memory.free(), it.gpu.ids.lock().unwrap().len()), (128, 0));
        assert_eq!(free_index(&it.vfio), 0);
    }
}

#[test]
fn i915_id_and_memory_come_back_at_release() {
    let it = rig();
    let one = it.parent.create(&VGPU, Uuid::from_u128(1)).unwrap();
    let other = it.parent.create(&VGPU, Uuid::from_u128(2)).unwrap();
    assert_eq!(errno(it.parent.create(&VGPU, Uuid::from_u128(3))), Errno::NOSPC);
    let reference = one.get();
    drop(one);
    assert_eq!((it.parent.available_instances(&VGPU), it.gpu.ids.lock().unwrap().len()), (0, 2));
    drop(reference);
    assert_eq!(it.log.take(), backwards(&STAGES));
    assert_eq!((it.parent.available_instances(&VGPU), it.gpu.ids.lock().unwrap().len()), (1, 1));
    drop(other);
    assert_eq!(it.gpu.memory.free(), 128);
}

#[test]
fn i915_an_open_without_a_guest_or_by_one_that_is_attached_is_refused() {
    let it = rig();
    let make = |number| {
        let mut device = it.parent.create(&VGPU, Uuid::from_u128(number)).unwrap();
        device.register().unwrap();
        device
    };
    let (mut one, mut other) = (make(1), make(2));
    assert_eq!(one.open(OpenMode::Exclusive), Err(Errno::SRCH));
    *it.guest.lock().unwrap() = 7;
    assert_eq!(one.open(OpenMode::Exclusive), Ok(()));
    assert_eq!(other.open(OpenMode::Exclusive), Err(Errno::EXIST));
    assert_eq!(other.object().open_count(), 0);
    one.close();
    assert_eq!(other.open(OpenMode::Exclusive), Ok(()));
    drop((one, other));
    assert!(it.gpu.attached.lock().unwrap().is_empty());
}
