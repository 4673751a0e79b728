#![cfg(test)]
//! mbochs: a display whose video memory is counted in MB and made page by page, when it is touched, for as long as the
//! device is open. Needs of a core a weighted capacity, a `close` that frees what open brought, and that a picture given
//! to somebody else may outlive the open, and the device too.

use std::collections::BTreeMap;

use uuid::Uuid;
use vfio_device::{
    BarKind, Context, Errno, Init, Made, MdevDriver, MdevType, OpenMode, Parent, Plane, Pool,
    Region, Share, SharedMemory, Vfio, VfioDevice,
};

use super::{errno, mappings};
use crate::support::{plain, read};

const SMALL: MdevType = MdevType { name: "mbochs-small", pretty_name: "", description: None };
const LARGE: MdevType = MdevType { name: "mbochs-large", pretty_name: "", description: None };
const PAGE: u64 = 4096;

fn megabytes(kind: &MdevType) -> u32 {
    if *kind == LARGE { 64 } else { 4 }
}

struct Display {
    name: &'static str,
    pages: BTreeMap<u64, SharedMemory>,
    generation: u64,
    _share: Share,
}

impl Display {
    /// The page with this offset, made if it is the first time.
    fn page(&mut self, offset: u64) -> Result<&SharedMemory, Errno> {
        let number = offset / PAGE;
        if !self.pages.contains_key(&number) {
            self.pages.insert(number, SharedMemory::new(self.name, PAGE)?);
        }
        self.pages.get(&number).ok_or(Errno::FAULT)
    }
}

impl VfioDevice for Display {
    fn region_read(&mut self, _: u32, offset: u64, data: &mut [u8], _: &mut Context) {
        let _ = self.page(offset).and_then(|page| page.read(offset % PAGE, data));
    }
    fn region_write(&mut self, _: u32, offset: u64, data: &[u8], _: &mut Context) {
        let _ = self.page(offset).and_then(|page| page.write(offset % PAGE, data));
    }
    fn reset(&mut self, _: &mut Context) {}
    fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
        self.generation += 1;
        Ok(())
    }
    fn close(&mut self, _: &mut Context) {
        self.pages.clear();
    }
    fn display(&self) -> Option<Plane> {
        let (width, height, generation) = (32, 32, self.generation);
        let (stride, size, format) = (width * 4, PAGE, 0x3432_5258);
        let memory = self.pages.get(&0)?.clone();
        let (offset, mode_generation) = (0, generation);
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

struct Mbochs(Pool, &'static str);

impl MdevDriver for Mbochs {
    fn types(&self) -> &[MdevType] {
        &[SMALL, LARGE]
    }
    fn available(&self, kind: &MdevType) -> u32 {
        self.0.free() / megabytes(kind)
    }
    fn init(&self, kind: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        let share = self.0.reserve(megabytes(kind))?;
        let size = u64::from(megabytes(kind)) << 20;
        let description = plain().bar(0, BarKind::Prefetchable32, Region::trapped(size));
        let (pages, name) = (BTreeMap::new(), self.1);
        Ok((description, Box::new(Display { name, pages, generation: 0, _share: share })))
    }
}

#[test]
fn mbochs_megabytes_are_shared_by_the_types() {
    let (pool, name) = (Pool::new(132), "mbochs-shape-capacity");
    let parent = Parent::register(&Vfio::new(), Mbochs(pool.clone(), name));
    let create = |kind, number| parent.create(kind, Uuid::from_u128(number));
    let large = [1, 2].map(|number| create(&LARGE, number).unwrap());
    assert_eq!(errno(create(&LARGE, 3)), Errno::NOSPC);
    assert_eq!([&SMALL, &LARGE].map(|kind| parent.available_instances(kind)), [1, 0]);
    let small = create(&SMALL, 3).unwrap();
    assert_eq!((errno(create(&SMALL, 4)), pool.free()), (Errno::NOSPC, 0));
    drop((large, small));
    assert_eq!((pool.free(), mappings(name)), (132, 0), "no page was touched");
}

#[test]
fn mbochs_pages_are_made_when_touched_and_live_while_it_is_open() {
    let name = "mbochs-shape-pages";
    let parent = Parent::register(&Vfio::new(), Mbochs(Pool::new(4), name));
    let mut device = parent.create(&SMALL, Uuid::from_u128(1)).unwrap();
    device.register().unwrap();
    for _ in 0..3 {
        device.open(OpenMode::Exclusive).unwrap();
        assert_eq!(mappings(name), 0);
        assert_eq!(read::<1>(&mut device, 0, 5 * PAGE), [0], "nothing of the last user's");
        device.region_write(0, 5 * PAGE, &[9]).unwrap();
        device.region_write(0, 7 * PAGE, &[9]).unwrap();
        assert_eq!(mappings(name), 2);
        device.close();
        assert_eq!(mappings(name), 0);
    }
}

#[test]
fn mbochs_a_picture_that_was_handed_out_outlives_close_and_device() {
    let (pool, name) = (Pool::new(4), "mbochs-shape-exported");
    let parent = Parent::register(&Vfio::new(), Mbochs(pool.clone(), name));
    let mut device = parent.create(&SMALL, Uuid::from_u128(1)).unwrap();
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    assert!(device.display().is_none(), "nothing has been drawn");
    device.region_write(0, 16, &[1, 2, 3, 4]).unwrap();
    let plane = device.display().unwrap();
    device.close();
    assert!(device.display().is_none());
    device.open(OpenMode::Exclusive).unwrap();
    device.region_write(0, 16, &[5]).unwrap();
    assert!(device.display().unwrap().generation > plane.generation, "another picture");
    drop(device);
    assert_eq!((pool.free(), mappings(name)), (4, 1), "the device is gone, the picture is not");
    let mut pixel = [0; 4];
    plane.memory.read(16, &mut pixel).unwrap();
    assert_eq!(pixel, [1, 2, 3, 4]);
    drop(plane);
    assert_eq!(mappings(name), 0);
}
