#![cfg(test)]
//! amba: the second front end over the code of platform, with an allocation of its own (the device's name) that the
//! common code reads. Needs of a core that it can be made before the common `init` and freed after the common
//! `release`, and freed as well when the common `init` fails.

use vfio_device::{Context, Errno, Made, Vfio, VfioDevice};

use super::errno;
use super::platform::{Common, ResetModule, common_init};
use crate::support::{Log, free_index};

/// The extra allocation: says when it is freed.
struct Name(String, Log);

impl Name {
    fn new(id: u32, log: &Log) -> Self {
        log.add("name made");
        Self(format!("vfio-amba-{id:08x}"), log.clone())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.1.add(format!("{} freed", self.0));
    }
}

struct Amba {
    common: Box<Common>,
    name: Name,
}

impl VfioDevice for Amba {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8], cx: &mut Context) {
        self.common.region_read(region, offset, data, cx);
    }
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        self.common.region_write(region, offset, data, cx);
    }
    fn reset(&mut self, cx: &mut Context) {
        self.common.reset(cx);
    }
    fn release(self: Box<Self>) {
        let Self { common, name } = *self;
        common.release();
        drop(name);
    }
}

fn init(log: &Log, helper: Option<&ResetModule>, required: bool) -> Result<Made, Errno> {
    let name = Name::new(0x0034_1330, log);
    let (description, common) = common_init(log, helper, required)?;
    Ok((description, Box::new(Amba { common, name })))
}

#[test]
fn amba_its_allocation_is_freed_when_the_common_init_fails() {
    let (vfio, log) = (Vfio::new(), Log::default());
    assert_eq!(errno(vfio.alloc(|_| init(&log, None, true))), Errno::NOENT);
    assert_eq!(log.take(), ["name made", "common init", "vfio-amba-00341330 freed"]);
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn amba_its_allocation_outlives_the_common_release() {
    let (vfio, log, helper) = (Vfio::new(), Log::default(), ResetModule::default());
    let mut device = vfio.alloc(|_| init(&log, Some(&helper), true)).unwrap();
    device.register().unwrap();
    device.reset();
    drop(device);
    let said = log.take();
    assert_eq!(said[..3], ["name made", "common init", "reset"]);
    assert_eq!(said[3..], ["common release", "vfio-amba-00341330 freed"]);
    assert_eq!(helper.users(), 0);
}
