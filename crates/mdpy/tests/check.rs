#![cfg(test)]
//! What every device must survive: any access, resets, users that come and go.

use mdpy::Mdpy;
use vfio_device::MdevDriver;
use vfio_device::testing::Check;

#[test]
fn each_display_survives_any_access_and_a_reset_leads_back_to_where_it_began() {
    let driver = Mdpy::default();
    for kind in driver.types() {
        Check::new(|init| driver.init(kind, init)).run();
    }
}
