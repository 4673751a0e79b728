#![cfg(test)]
//! The PCI function as a client of the core sees it. Constants are written out here again, from the data sheet.

mod function;
mod golden;
mod hostile;
mod mmio;
mod monitor;
mod pictures;
mod types;

use mbochs::{EdidSource, Mbochs, Options};
use vfio_device::{Device, MdevDriver, OpenMode, Vfio};

const MMIO: u32 = 2;
const CONFIG: u32 = 7;
const EDID: u32 = 9;

const ID: u64 = 0x500;
const XRES: u64 = 0x502;
const YRES: u64 = 0x504;
const BPP: u64 = 0x506;
const ENABLE: u64 = 0x508;
const VIRT_WIDTH: u64 = 0x50c;
const X_OFFSET: u64 = 0x510;
const Y_OFFSET: u64 = 0x512;
const VIDEO_MEMORY_64K: u64 = 0x514;

/// A device that nobody has open.
fn made(name: &str, options: &Options) -> Device {
    let driver = Mbochs::default();
    let kind = *driver.types().iter().find(|kind| kind.name == name).unwrap();
    let mut device = Vfio::new().alloc(|init| driver.make(&kind, options, init)).unwrap();
    device.register().unwrap();
    device
}

/// A device that a client has open, and that began as the sample does: without EDID.
fn card(name: &str) -> Device {
    let mut device = made(name, &Options { edid: EdidSource::Off, ..Options::default() });
    device.open(OpenMode::Exclusive).unwrap();
    device
}

fn load<const N: usize>(device: &mut Device, region: u32, offset: u64) -> [u8; N] {
    let mut data = [0xee; N];
    device.region_read(region, offset, &mut data).unwrap();
    data
}

fn store(device: &mut Device, region: u32, offset: u64, data: &[u8]) {
    device.region_write(region, offset, data).unwrap();
}

fn get(device: &mut Device, register: u64) -> u16 {
    u16::from_le_bytes(load(device, MMIO, register))
}

fn set(device: &mut Device, register: u64, value: u16) {
    store(device, MMIO, register, &value.to_le_bytes());
}

/// Sets a mode as the guest's driver does.
fn show(device: &mut Device, width: u16, height: u16) {
    for (register, value) in [
        (ENABLE, 0),
        (BPP, 32),
        (XRES, width),
        (YRES, height),
        (VIRT_WIDTH, width),
        (X_OFFSET, 0),
        (Y_OFFSET, 0),
        (ENABLE, 0x41),
    ] {
        set(device, register, value);
    }
}
