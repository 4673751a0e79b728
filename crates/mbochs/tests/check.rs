#![cfg(test)]
//! What every device must survive: any access, resets, users that come and go.

use mbochs::{EdidSource, Mbochs, Options};
use vfio_device::MdevDriver;
use vfio_device::testing::Check;

/// The EDID as the guest sees it and the EDID region: both outlive a reset.
const MMIO: u32 = 2;
const EDID: u32 = 9;

#[test]
fn all_sizes_survive_any_access_and_a_reset_leads_back_to_where_they_began() {
    let driver = Mbochs::default();
    for kind in driver.types() {
        for edid in [EdidSource::Auto, EdidSource::Off] {
            let options = Options { edid, ..Options::default() };
            let before = driver.available(kind);
            Check::new(|init| driver.make(kind, &options, init))
                .ignoring(MMIO, 0..0x400)
                .ignoring(EDID, 0..0x1000)
                .run();
            assert_eq!(driver.available(kind), before, "{}", kind.name);
        }
    }
}
