#![cfg(test)]
//! A small device for each shape of driver that the kernel's series converted, written as its author would write it: on
//! the public API alone.

mod amba;
mod ap;
mod ccw;
mod fsl_mc;
mod hisi_acc;
mod i915;
mod layers;
mod mbochs;
mod mdpy;
mod mlx5;
mod mtty;
mod pci;
mod platform;

use vfio_device::{Device, Errno};

/// Why a device was not made.
fn errno<E: Into<Errno>>(made: Result<Device, E>) -> Errno {
    made.map(drop).map_err(Into::into).unwrap_err()
}

/// How many mappings of [`SharedMemory`](vfio_device::SharedMemory) with this name there are.
fn mappings(name: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&format!("/memfd:{name} "))).count()
}
