//! Which cards can be made.

use vfio_device::{Errno, Parent, Uuid, Vfio};

use super::*;

fn errno(driver: &Mtty, kind: &MdevType, lines: usize) -> Option<Errno> {
    let lines = (0..lines).map(|_| plug()).collect();
    Vfio::new().alloc(|init| driver.make(kind, lines, init)).err().map(|error| error.errno())
}

#[test]
fn a_card_has_as_many_lines_as_ports() {
    let driver = Mtty::default();
    for (ports, lines) in [(1, 0), (1, 2), (2, 0), (2, 1), (2, 3)] {
        assert_eq!(errno(&driver, &kind(ports), lines), Some(Errno::INVAL), "{ports}, {lines}");
    }
    assert_eq!([1, 2].map(|ports| errno(&driver, &kind(ports), ports)), [None; 2]);
    assert_eq!([1, 2].map(|ports| Mtty::ports(&kind(ports))), [1, 2]);
}

#[test]
fn only_types_of_ours_are_made() {
    let other = MdevType { name: "mdpy-vga", ..kind(1) };
    assert_eq!(errno(&Mtty::default(), &other, 1), Some(Errno::INVAL));
}

#[test]
fn a_pool_without_ports_makes_no_card() {
    assert_eq!(errno(&Mtty::new(1), &kind(2), 2), Some(Errno::NOSPC));
}

#[test]
fn an_mdev_of_one_type_is_not_made_as_another() {
    struct Wrong(Mtty);
    impl MdevDriver for Wrong {
        fn types(&self) -> &[MdevType] {
            self.0.types()
        }
        fn available(&self, kind: &MdevType) -> u32 {
            self.0.available(kind)
        }
        fn init(
            &self,
            _: &MdevType,
            init: &mut vfio_device::Init<'_>,
        ) -> Result<vfio_device::Made, Errno> {
            self.0.make(&kind(2), vec![plug(), plug()], init)
        }
    }
    let parent = Parent::register(&Vfio::new(), Wrong(Mtty::default()));
    let create = |name| {
        let made = parent.create(parent.find(name).unwrap(), Uuid::from_u128(1));
        made.map(drop)
    };
    assert_eq!([create("mtty-1"), create("mtty-2")], [Err(Errno::INVAL), Ok(())]);
}

#[test]
fn clones_of_a_driver_share_its_pool() {
    let driver = Mtty::new(3);
    let lines = vec![plug(), plug()];
    let card = Vfio::new().alloc(|init| driver.clone().make(&kind(2), lines, init)).unwrap();
    assert_eq!(driver.available(&kind(1)), 1);
    drop(card);
    assert_eq!(driver.available(&kind(1)), 3);
}
