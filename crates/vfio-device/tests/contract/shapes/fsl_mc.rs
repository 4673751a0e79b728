#![cfg(test)]
//! fsl-mc: a container and its children share one device set, named by the container and assigned in `init`, which can
//! still fail after that. Needs of a core that a set goes with its last released member, also when the member never
//! came to be, and that what follows `register` (the scan for children) can fail and be undone by unregister and put.

use vfio_device::{Device, Errno, OpenMode, Unregister, Vfio, VfioDevice};

use super::errno;
use crate::support::{free_index, no_registers, plain};

struct Object;
impl VfioDevice for Object {
    no_registers!();
}

const CONTAINER: u64 = 0xc0;

fn make(vfio: &Vfio, has_no_irqs: bool) -> Result<Device, Errno> {
    Ok(vfio.alloc(|init| {
        init.assign_device_set(CONTAINER);
        if has_no_irqs {
            return Err(Errno::NODEV);
        }
        Ok((plain(), Box::new(Object)))
    })?)
}

/// The driver's probe: the container is registered before its children are looked for.
fn probe(vfio: &Vfio, children: &[bool]) -> Result<(Device, Vec<Device>), Errno> {
    let mut container = make(vfio, false)?;
    container.register()?;
    let scanned: Result<Vec<_>, Errno> = children.iter().map(|fails| make(vfio, *fails)).collect();
    match scanned {
        Ok(children) => Ok((container, children)),
        Err(errno) => {
            assert_eq!(container.unregister(), Unregister::Done);
            Err(errno) // and the container is put
        }
    }
}

#[test]
fn fsl_mc_an_init_that_fails_after_it_assigned_the_set_leaves_no_set() {
    let vfio = Vfio::new();
    assert_eq!(errno(make(&vfio, true)), Errno::NODEV);
    assert_eq!((vfio.device_sets(), free_index(&vfio)), (0, 0));
    let container = make(&vfio, false).unwrap();
    assert_eq!(errno(make(&vfio, true)), Errno::NODEV);
    assert_eq!(vfio.device_sets(), 1, "the container's is not touched by a child that fails");
    drop(container);
    assert_eq!(vfio.device_sets(), 0);
}

#[test]
fn fsl_mc_a_scan_that_fails_after_register_undoes_all_of_it() {
    let vfio = Vfio::new();
    for bad in 0..3 {
        let children: Vec<bool> = (0..3).map(|child| child == bad).collect();
        assert_eq!(probe(&vfio, &children).map(drop).unwrap_err(), Errno::NODEV);
        assert_eq!((vfio.device_sets(), free_index(&vfio)), (0, 0), "child {bad}");
    }
}

#[test]
fn fsl_mc_children_go_between_unregister_and_put_of_their_container() {
    let vfio = Vfio::new();
    let (mut container, children) = probe(&vfio, &[false, false]).unwrap();
    container.open(OpenMode::Exclusive).unwrap();
    assert_eq!(container.unregister(), Unregister::InUse);
    container.close();
    assert_eq!(container.unregister(), Unregister::Done);
    drop(children);
    assert_eq!(vfio.device_sets(), 1, "the container is not released yet");
    assert_eq!(free_index(&vfio), 1);
    drop(container);
    assert_eq!((vfio.device_sets(), free_index(&vfio)), (0, 0));
}
