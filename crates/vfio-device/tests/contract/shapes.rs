#![cfg(test)]
//! Shapes of drivers that the kernel's series converted and that we do not ship: each must be expressible.

use std::sync::mpsc::{Sender, channel};

use vfio_device::{
    Context, Description, Device, Errno, Made, OpenMode, Unregister, Vfio, VfioDevice,
};

use crate::support::{Log, plain};

/// ccw: the state lives in a block that the parent owns, uses again, and waits for.
struct Borrowed {
    block: Option<Box<[u8; 16]>>,
    completion: Sender<Box<[u8; 16]>>,
}

impl VfioDevice for Borrowed {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
    fn release(mut self: Box<Self>) {
        if let Some(mut block) = self.block.take() {
            block.fill(0); // the next device finds it as the first did
            self.completion.send(block).unwrap();
        }
    }
}

#[test]
fn ccw_a_parent_gets_its_block_back_when_all_references_are_gone() {
    let (vfio, (completion, completed)) = (Vfio::new(), channel());
    let mut block = Box::new([0; 16]);
    for round in 0..3 {
        assert_eq!(*block, [0; 16]);
        let address = block.as_ptr();
        block.fill(7);
        let completion = completion.clone();
        let mut device = vfio
            .alloc(|_| {
                let state = Borrowed { block: Some(block), completion };
                Ok((Description::other(), Box::new(state)))
            })
            .unwrap();
        device.register().unwrap();
        let reference = device.get();
        assert_eq!(device.unregister(), Unregister::Done);
        drop(device);
        assert!(completed.try_recv().is_err(), "somebody still holds a reference");
        drop(reference);
        block = completed.try_recv().unwrap();
        assert_eq!(block.as_ptr(), address, "round {round}: the same block");
    }
}

/// mlx5 over pci: a derived class around a base class.
struct Base(Log);
struct Derived {
    base: Box<Base>,
    log: Log,
}

impl VfioDevice for Base {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
    fn release(self: Box<Self>) {
        self.0.add("base release");
    }
}

impl VfioDevice for Derived {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], cx: &mut Context) {
        self.base.region_read(region, offset, data, cx);
    }
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        self.base.region_write(region, offset, data, cx);
    }
    fn reset(&mut self, cx: &mut Context) {
        self.base.reset(cx);
    }
    fn release(self: Box<Self>) {
        self.log.add("derived release");
        self.base.release();
    }
}

fn base_init(log: &Log) -> Result<(Description, Box<Base>), Errno> {
    log.add("base init");
    Ok((plain(), Box::new(Base(log.clone()))))
}

/// The derived part can fail after the base has been made: it unwinds the base itself.
fn derived_init(log: &Log, fails: bool) -> Result<Made, Errno> {
    let (description, base) = base_init(log)?;
    if fails {
        base.release();
        return Err(Errno::OPNOTSUPP);
    }
    log.add("derived init");
    Ok((description, Box::new(Derived { base, log: log.clone() })))
}

#[test]
fn mlx5_layers_are_made_base_first_and_released_base_last() {
    let (vfio, log) = (Vfio::new(), Log::default());
    drop(vfio.alloc(|_| derived_init(&log, false)).unwrap());
    assert_eq!(log.take(), ["base init", "derived init", "derived release", "base release"]);
    let error = vfio.alloc(|_| derived_init(&log, true)).unwrap_err();
    assert_eq!(error.errno(), Errno::OPNOTSUPP);
    assert_eq!(log.take(), ["base init", "base release"]);
}

#[test]
fn hisi_acc_which_ops_a_device_has_is_chosen_when_it_is_made() {
    let (vfio, log) = (Vfio::new(), Log::default());
    for (migrates, releases) in
        [(true, &["derived release", "base release"][..]), (false, &["base release"])]
    {
        let device = vfio.alloc(|_| {
            let (description, base) = base_init(&log)?;
            let ops: Box<dyn VfioDevice> =
                if migrates { Box::new(Derived { base, log: log.clone() }) } else { base };
            Ok((description, ops))
        });
        log.take();
        drop(device.unwrap());
        assert_eq!(log.take(), releases);
    }
}

#[test]
fn fsl_mc_a_container_and_its_children_share_a_set_and_a_failing_child_leaves_it() {
    let vfio = Vfio::new();
    let make = |fails: bool| -> Result<Device, Errno> {
        vfio.alloc(|init| {
            init.assign_device_set(0xc0);
            if fails { Err(Errno::NODEV) } else { derived_init(&Log::default(), false) }
        })
        .map_err(Errno::from)
    };
    assert_eq!(make(true).unwrap_err(), Errno::NODEV);
    assert_eq!(vfio.device_sets(), 0);
    let mut container = make(false).unwrap();
    container.register().unwrap();
    let child = make(false).unwrap();
    assert_eq!(make(true).unwrap_err(), Errno::NODEV);
    assert_eq!(vfio.device_sets(), 1);
    // What follows registering fails: unregister, then put.
    assert_eq!(container.unregister(), Unregister::Done);
    drop(child);
    assert_eq!(vfio.device_sets(), 1);
    drop(container);
    assert_eq!(vfio.device_sets(), 0);
}

/// ap: a front end that keeps its devices in a list of its own, published after they are registered.
#[test]
fn ap_a_published_reference_does_not_keep_a_device_in_use() {
    let vfio = Vfio::new();
    let log = Log::default();
    let mut device = vfio.alloc(|_| derived_init(&log, false)).unwrap();
    device.register().unwrap();
    let published = vec![device.get()];
    device.open(OpenMode::Exclusive).unwrap();
    device.close();
    assert_eq!(device.unregister(), Unregister::Done);
    drop(device);
    log.take();
    drop(published);
    assert_eq!(log.take(), ["derived release", "base release"]);
}
