#![cfg(test)]
//! A base class and a class derived from it, for the variant drivers of vfio/pci.

use vfio_device::{Context, Description, Errno, Made, VfioDevice};

use crate::support::{Log, no_registers, plain};

/// What `vfio_pci_core_device` is to its variants.
pub struct Base(Log);

impl VfioDevice for Base {
    no_registers!();
    fn release(self: Box<Self>) {
        self.0.add("base release");
    }
}

/// `vfio_pci_core_init_dev`.
pub fn base_init(log: &Log) -> Result<(Description, Box<Base>), Errno> {
    log.add("base init");
    Ok((plain(), Box::new(Base(log.clone()))))
}

/// A variant: the base class and what it adds.
pub struct Derived {
    base: Box<Base>,
    log: Log,
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

impl Derived {
    pub fn new(base: Box<Base>, log: &Log) -> Self {
        Self { base, log: log.clone() }
    }
}

/// The derived part can fail after the base has been made: it unwinds the base itself.
pub fn derived_init(log: &Log, fails: bool) -> Result<Made, Errno> {
    let (description, base) = base_init(log)?;
    if fails {
        base.release();
        return Err(Errno::OPNOTSUPP);
    }
    log.add("derived init");
    Ok((description, Box::new(Derived::new(base, log))))
}
