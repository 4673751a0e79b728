#![cfg(test)]
//! ccw: the state lives in a block that the parent owns, made long before and used again and again, and there is one
//! instance of it. Needs of a core that `release` hands the block back clean, in whatever thread, that the parent can
//! wait for that, and that an `init` which fails gives block and instance back.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use uuid::Uuid;
use vfio_device::{
    Description, Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent, Unregister, Vfio,
    VfioDevice,
};

use super::errno;
use crate::support::{free_index, no_registers};

const SUBCHANNEL: MdevType =
    MdevType { name: "vfio_ccw-io", pretty_name: "I/O subchannel (Non-QDIO)", description: None };

/// What the parent allocated.
type Block = Box<[u8; 16]>;

struct Subchannel {
    block: Option<Block>,
    completion: Sender<Block>,
}

impl Subchannel {
    fn give_back(&mut self) {
        if let Some(mut block) = self.block.take() {
            block.fill(0); // the next device finds it as the first did
            let _ = self.completion.send(block); // a parent that is gone frees it
        }
    }
}

impl VfioDevice for Subchannel {
    no_registers!();
    fn release(mut self: Box<Self>) {
        self.give_back();
    }
}

/// The parent's driver: the block, while nobody has it, and what is the matter with the subchannel.
struct Css {
    completion: Sender<Block>,
    completed: Mutex<Receiver<Block>>,
    fault: Arc<Mutex<Option<Errno>>>,
}

impl Css {
    fn new(fault: &Arc<Mutex<Option<Errno>>>) -> Self {
        let (completion, completed) = channel();
        completion.send(Block::default()).unwrap();
        Self { completion, completed: Mutex::new(completed), fault: Arc::clone(fault) }
    }
}

impl MdevDriver for Css {
    fn types(&self) -> &[MdevType] {
        &[SUBCHANNEL]
    }
    fn max_instances(&self) -> Option<u32> {
        Some(1)
    }
    fn init(&self, _: &MdevType, init: &mut Init<'_>) -> Result<Made, Errno> {
        init.assign_device_set(0xccc);
        // Of the one instance there is one block, and it is back before the instance is.
        let block = self.completed.lock().unwrap().try_recv().expect("the block is there");
        assert_eq!(*block, [0; 16]);
        let completion = self.completion.clone();
        let mut subchannel = Subchannel { block: Some(block), completion };
        if let Some(errno) = *self.fault.lock().unwrap() {
            subchannel.give_back();
            return Err(errno);
        }
        subchannel.block.iter_mut().for_each(|block| block.fill(7));
        Ok((Description::other(), Box::new(subchannel)))
    }
}

fn parent(vfio: &Vfio) -> (Parent, Arc<Mutex<Option<Errno>>>) {
    let fault = Arc::default();
    (Parent::register(vfio, Css::new(&fault)), fault)
}

#[test]
fn ccw_an_instance_that_a_failed_init_had_taken_comes_back() {
    let vfio = Vfio::new();
    let (parent, fault) = parent(&vfio);
    for number in 0..5 {
        *fault.lock().unwrap() = Some(Errno::IO);
        assert_eq!(errno(parent.create(&SUBCHANNEL, Uuid::from_u128(number))), Errno::IO);
        assert_eq!(parent.available_instances(&SUBCHANNEL), 1);
        assert_eq!((vfio.device_sets(), free_index(&vfio)), (0, 0));
    }
    *fault.lock().unwrap() = None;
    let device = parent.create(&SUBCHANNEL, Uuid::from_u128(0)).unwrap();
    assert_eq!(parent.available_instances(&SUBCHANNEL), 0);
    assert_eq!(errno(parent.create(&SUBCHANNEL, Uuid::from_u128(1))), Errno::USERS);
    drop(device);
    assert_eq!(parent.available_instances(&SUBCHANNEL), 1);
}

#[test]
fn ccw_the_same_block_serves_one_device_after_the_other() {
    let (parent, _) = parent(&Vfio::new());
    for number in 0..3 {
        let mut device = parent.create(&SUBCHANNEL, Uuid::from_u128(number)).unwrap();
        device.register().unwrap();
        device.open(OpenMode::Exclusive).unwrap();
        assert_eq!(device.unregister(), Unregister::InUse);
        device.close();
        assert_eq!(device.unregister(), Unregister::Done);
        let reference = device.get();
        drop(device);
        assert_eq!(parent.available_instances(&SUBCHANNEL), 0, "somebody holds a reference");
        drop(reference);
    }
}

#[test]
fn ccw_a_parent_waits_for_its_block_while_another_thread_has_the_last_reference() {
    let (vfio, (completion, completed)) = (Vfio::new(), channel());
    let mut block = Block::default();
    for _ in 0..100 {
        let address = block.as_ptr();
        block.fill(7);
        let subchannel = Subchannel { block: Some(block), completion: completion.clone() };
        let mut device = vfio.alloc(|_| Ok((Description::other(), Box::new(subchannel)))).unwrap();
        device.register().unwrap();
        let reference = device.get();
        assert_eq!(device.unregister(), Unregister::Done);
        drop(device);
        assert!(completed.try_recv().is_err());
        let other = thread::spawn(move || drop(reference));
        block = completed.recv().unwrap();
        other.join().unwrap();
        assert_eq!((*block, block.as_ptr()), ([0; 16], address));
    }
}
