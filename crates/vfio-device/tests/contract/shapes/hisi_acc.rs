#![cfg(test)]
//! hisi_acc: the hardware is probed before the device is made, and says which of two operation tables it gets: one with
//! migration, which keeps the half of BAR 2 that serves it to itself, or one without. Needs of a core that the choice is
//! made in `init`, for one and the same driver.

use vfio_device::{BAR0, BarKind, Device, Errno, Region, Vfio, VfioDevice};

use super::layers::{Derived, base_init};
use crate::support::{Log, free_index};

const BAR2: u32 = BAR0 + 2;

fn probe(vfio: &Vfio, log: &Log, hardware: Result<bool, Errno>) -> Result<Device, Errno> {
    let migrates = hardware?;
    Ok(vfio.alloc(|_| {
        let (description, base) = base_init(log)?;
        let size = if migrates { 0x8000 } else { 0x1_0000 };
        let ops: Box<dyn VfioDevice> =
            if migrates { Box::new(Derived::new(base, log)) } else { base };
        Ok((description.bar(2, BarKind::Memory32, Region::trapped(size)), ops))
    })?)
}

#[test]
fn hisi_acc_which_operations_a_device_has_is_chosen_when_it_is_made() {
    let (vfio, log) = (Vfio::new(), Log::default());
    assert_eq!(probe(&vfio, &log, Err(Errno::NODEV)).map(drop), Err(Errno::NODEV));
    assert_eq!((log.take().len(), free_index(&vfio)), (0, 0));
    let mut with = probe(&vfio, &log, Ok(true)).unwrap();
    let mut without = probe(&vfio, &log, Ok(false)).unwrap();
    let mut data = [0; 1];
    assert_eq!(with.region_read(BAR2, 0x8000, &mut data), Err(Errno::INVAL));
    assert_eq!(without.region_read(BAR2, 0x8000, &mut data), Ok(()));
    log.take();
    drop(with);
    assert_eq!(log.take(), ["derived release", "base release"]);
    drop(without);
    assert_eq!(log.take(), ["base release"]);
}
