#![cfg(test)]
//! platform: a front end over code that it shares with amba. Needs of a core a place for an optional helper (the reset
//! module), taken in `init` and let go of in `release`, and room between unregister and put, where runtime power
//! management is ended while the object is still there.

use std::sync::Arc;

use vfio_device::{
    Context, Description, Device, Errno, Made, OpenMode, Region, Unregister, Vfio, VfioDevice,
};

use super::errno;
use crate::support::{Log, free_index};

/// The reset module: how many hold it is what keeps it from being unloaded.
#[derive(Clone, Default)]
pub struct ResetModule(Arc<()>);

impl ResetModule {
    pub fn users(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// `vfio_platform_device`: what both front ends have in common.
pub struct Common {
    pub log: Log,
    helper: Option<ResetModule>,
}

impl VfioDevice for Common {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {
        self.log.add(if self.helper.is_some() { "reset" } else { "no way to reset" });
    }
    fn release(self: Box<Self>) {
        self.log.add("common release");
    }
}

/// `vfio_platform_init_common`: finds the helper, which may be required.
pub fn common_init(
    log: &Log,
    helper: Option<&ResetModule>,
    required: bool,
) -> Result<(Description, Box<Common>), Errno> {
    log.add("common init");
    if required && helper.is_none() {
        return Err(Errno::NOENT);
    }
    let description = Description::other().region(0, Region::trapped(0x100));
    let description = if helper.is_some() { description } else { description.without_reset_flag() };
    Ok((description, Box::new(Common { log: log.clone(), helper: helper.cloned() })))
}

fn init(log: &Log, helper: Option<&ResetModule>, required: bool) -> Result<Made, Errno> {
    let (description, common) = common_init(log, helper, required)?;
    Ok((description, common))
}

/// The driver as the bus sees it.
struct Bound(Device, Log);

impl Bound {
    fn probe(vfio: &Vfio, log: &Log) -> Result<Self, Errno> {
        let mut device = vfio.alloc(|_| init(log, None, false))?;
        device.register()?;
        log.add("power management on");
        Ok(Self(device, log.clone()))
    }

    fn remove(mut self) {
        assert_eq!(self.0.unregister(), Unregister::Done);
        self.1.add("power management off");
    }
}

#[test]
fn platform_a_helper_that_is_required_and_missing_fails_the_init() {
    let (vfio, log) = (Vfio::new(), Log::default());
    assert_eq!(errno(vfio.alloc(|_| init(&log, None, true))), Errno::NOENT);
    assert_eq!(log.take(), ["common init"], "and nothing is released");
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn platform_a_helper_is_held_from_init_until_the_last_put() {
    let (vfio, log, helper) = (Vfio::new(), Log::default(), ResetModule::default());
    let mut device = vfio.alloc(|_| init(&log, Some(&helper), true)).unwrap();
    assert_eq!(helper.users(), 1);
    assert!(device.can_reset());
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    device.reset();
    device.close();
    assert_eq!(device.unregister(), Unregister::Done);
    let reference = device.get();
    drop(device);
    assert_eq!(helper.users(), 1, "unregistered is not released");
    drop(reference);
    assert_eq!(helper.users(), 0);
    assert_eq!(log.take(), ["common init", "reset", "common release"]);
}

#[test]
fn platform_without_the_helper_the_device_does_not_say_that_it_can_be_reset() {
    let (vfio, log) = (Vfio::new(), Log::default());
    let mut device = vfio.alloc(|_| init(&log, None, false)).unwrap();
    assert!(!device.can_reset());
    device.reset();
    assert_eq!(log.take(), ["common init", "no way to reset"]);
}

#[test]
fn platform_power_management_ends_between_unregister_and_put() {
    let (vfio, log) = (Vfio::new(), Log::default());
    let bound = Bound::probe(&vfio, &log).unwrap();
    bound.remove();
    let said = log.take();
    assert_eq!(
        said,
        ["common init", "power management on", "power management off", "common release"]
    );
}
