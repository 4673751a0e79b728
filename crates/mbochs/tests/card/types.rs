//! Types, capacity, and what makes a device fail to come about.

use mbochs::Mbochs;
use uuid::Uuid;
use vfio_device::{Device, Errno, MdevType, Parent, Vfio};

use super::*;

fn parent(megabytes: u32) -> Parent {
    Parent::register(&Vfio::new(), Mbochs::new(megabytes))
}

fn create(parent: &Parent, name: &str, uuid: u128) -> Result<Device, Errno> {
    parent.create(parent.find(name).unwrap(), Uuid::from_u128(uuid))
}

fn available(parent: &Parent) -> [u32; 3] {
    ["mbochs-small", "mbochs-medium", "mbochs-large"]
        .map(|name| parent.available_instances(parent.find(name).unwrap()))
}

#[test]
fn more_memory_than_the_pool_has_is_refused_with_enospc() {
    let parent = parent(20);
    assert_eq!(create(&parent, "mbochs-large", 1).unwrap_err(), Errno::NOSPC);
    let kept = create(&parent, "mbochs-medium", 2).unwrap();
    assert_eq!(create(&parent, "mbochs-medium", 3).unwrap_err(), Errno::NOSPC);
    let last = create(&parent, "mbochs-small", 4).unwrap();
    assert_eq!(create(&parent, "mbochs-small", 5).unwrap_err(), Errno::NOSPC);
    assert_eq!(available(&parent), [0, 0, 0]);
    drop((kept, last));
    assert_eq!(available(&parent), [5, 1, 0]);
}

#[test]
fn options_that_a_type_cannot_have_are_refused_with_einval_and_take_nothing() {
    let driver = Mbochs::default();
    let [small, ..] = *driver.types() else { panic!() };
    let other = MdevType { name: "mbochs-huge", ..small };
    let wide = Options { xres: Some(1024), ..Options::default() };
    for (kind, options) in [(small, &wide), (other, &Options::default())] {
        let made = Vfio::new().alloc(|init| driver.make(&kind, options, init));
        assert_eq!(made.unwrap_err().errno(), Errno::INVAL);
    }
    assert_eq!(driver.available(&small), 64);
    assert_eq!(driver.available(&other), 0);
}

#[test]
fn the_types_are_those_of_the_sample() {
    let parent = parent(256);
    let types: Vec<_> = parent
        .types()
        .iter()
        .map(|kind| (kind.name, kind.pretty_name, kind.description.unwrap()))
        .collect();
    assert_eq!(
        types,
        [
            ("mbochs-small", "mbochs-small", "virtual display, 4 MB video memory"),
            ("mbochs-medium", "mbochs-medium", "virtual display, 16 MB video memory"),
            ("mbochs-large", "mbochs-large", "virtual display, 64 MB video memory"),
        ]
    );
}

#[test]
fn the_256_megabytes_are_shared_and_come_back_at_release() {
    let parent = Parent::register(&Vfio::new(), Mbochs::default());
    assert_eq!(available(&parent), [64, 16, 4]);
    let small = create(&parent, "mbochs-small", 1).unwrap();
    assert_eq!(available(&parent), [63, 15, 3]);
    let large = create(&parent, "mbochs-large", 2).unwrap();
    assert_eq!(available(&parent), [47, 11, 2]);
    let reference = large.get();
    drop(large);
    assert_eq!(available(&parent), [47, 11, 2], "not before the last reference goes");
    drop(reference);
    assert_eq!(available(&parent), [63, 15, 3]);
    drop(small);
    assert_eq!(available(&parent), [64, 16, 4]);
}

#[test]
fn clones_of_a_driver_share_its_pool() {
    let driver = Mbochs::new(64);
    let parent = Parent::register(&Vfio::new(), driver.clone());
    let large = create(&parent, "mbochs-large", 1).unwrap();
    assert_eq!(driver.types().iter().map(|kind| driver.available(kind)).max(), Some(0));
    drop(large);
    assert_eq!(available(&parent), [16, 4, 1]);
}
