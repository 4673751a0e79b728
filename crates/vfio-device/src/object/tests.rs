//! What no test from outside can reach: a million devices at once.

use super::*;
use crate::{Description, Init, Made, MdevDriver, MdevType, Parent};

const KIND: MdevType = MdevType { name: "one", pretty_name: "", description: None };

struct Nothing;
impl VfioDevice for Nothing {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut crate::Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut crate::Context) {}
    fn reset(&mut self, _: &mut crate::Context) {}
}

impl MdevDriver for Nothing {
    fn types(&self) -> &[MdevType] {
        &[KIND]
    }
    fn max_instances(&self) -> Option<u32> {
        Some(1)
    }
    fn init(&self, _: &MdevType, _: &mut Init<'_>) -> Result<Made, Errno> {
        Ok((Description::other(), Box::new(Self)))
    }
}

#[test]
fn when_all_indexes_are_held_nothing_is_made_and_nothing_left_behind() {
    let vfio = Vfio::new();
    let parent = Parent::register(&vfio, Nothing);
    lock(&vfio.tables).indexes.extend(0..=0x000f_ffff);
    assert!(vfio.alloc(|_| unreachable!("there is no index to tell it")).is_err());
    assert_eq!(parent.create(&KIND, Uuid::nil()).map(drop), Err(Errno::NOSPC));
    assert_eq!(parent.available_instances(&KIND), 1);
    for free in [0x000f_ffff, 0x8_0000, 0] {
        lock(&vfio.tables).indexes.remove(&free);
        let device = parent.create(&KIND, Uuid::nil()).unwrap();
        assert_eq!(device.object().index(), free);
    }
}
