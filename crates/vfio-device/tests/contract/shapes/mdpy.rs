#![cfg(test)]
//! mdpy: the simplest of all, a fixed picture. Needs of a core that it counts a few instances over all types, and that
//! the one buffer, made in `init`, goes with the device: no hook at open or close.

use std::sync::{Arc, Mutex};

use uuid::Uuid;
use vfio_device::{
    BarKind, Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent, Plane, Region,
    SharedMemory, Vfio, VfioDevice,
};

use super::{errno, mappings};
use crate::support::{free_index, no_registers, plain};

const VGA: MdevType = MdevType { name: "mdpy-vga", pretty_name: "", description: None };
const HD: MdevType = MdevType { name: "mdpy-hd", pretty_name: "", description: None };

struct Screen(SharedMemory);
impl VfioDevice for Screen {
    no_registers!();
    fn display(&self) -> Option<Plane> {
        let (width, height) = (640, 480);
        let (stride, memory) = (width * 4, self.0.clone());
        let size = u64::from(stride * height);
        let format = 0x3432_5258;
        let (offset, generation, mode_generation) = (0, 0, 0);
        Some(Plane {
            format,
            width,
            height,
            stride,
            offset,
            size,
            generation,
            mode_generation,
            memory,
        })
    }
}

struct Mdpy {
    /// Name of the buffers, to find them by.
    name: &'static str,
    fault: Arc<Mutex<Option<Errno>>>,
}

impl MdevDriver for Mdpy {
    fn types(&self) -> &[MdevType] {
        &[VGA, HD]
    }
    fn max_instances(&self) -> Option<u32> {
        Some(4)
    }
    fn init(&self, kind: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let size = if *kind == HD { 8 << 20 } else { 2 << 20 };
        let memory = SharedMemory::new(self.name, size)?;
        if let Some(errno) = *self.fault.lock().unwrap() {
            return Err(errno);
        }
        let description = plain().bar(0, BarKind::Prefetchable32, Region::mapped(memory.clone()));
        Ok((description, Box::new(Screen(memory))))
    }
}

#[test]
fn mdpy_a_failed_init_leaves_no_buffer_and_costs_no_instance() {
    let (vfio, name, fault) = (Vfio::new(), "mdpy-shape-failed", Arc::default());
    let parent = Parent::register(&vfio, Mdpy { name, fault: Arc::clone(&fault) });
    *fault.lock().unwrap() = Some(Errno::NOMEM);
    for number in 0..10 {
        assert_eq!(errno(parent.create(&HD, Uuid::from_u128(number))), Errno::NOMEM);
        assert_eq!((parent.available_instances(&HD), mappings(name)), (4, 0));
    }
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn mdpy_four_instances_are_shared_by_the_types_and_each_has_one_buffer() {
    let name = "mdpy-shape-four";
    let parent = Parent::register(&Vfio::new(), Mdpy { name, fault: Arc::default() });
    let create = |number| {
        let kind = if number % 2 == 0 { VGA } else { HD };
        parent.create(&kind, Uuid::from_u128(number))
    };
    let devices: Vec<_> = (0..4).map(|number| create(number).unwrap()).collect();
    assert_eq!([VGA, HD].map(|kind| parent.available_instances(&kind)), [0, 0]);
    assert_eq!((errno(create(4)), mappings(name)), (Errno::USERS, 4));
    drop(devices);
    assert_eq!([VGA, HD].map(|kind| parent.available_instances(&kind)), [4, 4]);
    assert_eq!(mappings(name), 0);
}

#[test]
fn mdpy_the_picture_is_the_same_whoever_has_the_device_open() {
    let name = "mdpy-shape-kept";
    let parent = Parent::register(&Vfio::new(), Mdpy { name, fault: Arc::default() });
    let mut device = parent.create(&VGA, Uuid::from_u128(1)).unwrap();
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    device.region_write(0, 0x1000, &[1, 2, 3]).unwrap();
    device.close();
    let plane = device.display().unwrap();
    let mut pixels = [0; 3];
    plane.memory.read(0x1000, &mut pixels).unwrap();
    assert_eq!(pixels, [1, 2, 3]);
    drop(device);
    assert_eq!(mappings(name), 1, "the viewer's");
    drop(plane);
    assert_eq!(mappings(name), 0);
}
