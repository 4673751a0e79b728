#![cfg(test)]
//! mlx5: a class derived from vfio/pci. Needs of a core that `init` can make the base first and then what it adds, which
//! may fail, and that `release` can take both down in the opposite order.

use vfio_device::{Errno, Vfio};

use super::errno;
use super::layers::derived_init;
use crate::support::{Log, free_index};

#[test]
fn mlx5_a_derived_part_that_fails_unwinds_its_base() {
    let (vfio, log) = (Vfio::new(), Log::default());
    assert_eq!(errno(vfio.alloc(|_| derived_init(&log, true))), Errno::OPNOTSUPP);
    assert_eq!(log.take(), ["base init", "base release"]);
    assert_eq!(free_index(&vfio), 0);
}

#[test]
fn mlx5_layers_are_made_base_first_and_released_base_last() {
    let (vfio, log) = (Vfio::new(), Log::default());
    drop(vfio.alloc(|_| derived_init(&log, false)).unwrap());
    assert_eq!(log.take(), ["base init", "derived init", "derived release", "base release"]);
}
