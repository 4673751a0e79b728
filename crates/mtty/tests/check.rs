#![cfg(test)]
//! What every device must survive: any access, resets, users that come and go.

use mtty::Mtty;
use vfio_device::MdevDriver;
use vfio_device::testing::Check;

#[test]
fn both_cards_survive_any_access_and_a_reset_leads_back_to_where_they_began() {
    let driver = Mtty::default();
    for kind in driver.types() {
        let before = driver.available(kind);
        Check::new(|init| driver.init(kind, init)).run();
        assert_eq!(driver.available(kind), before, "{}", kind.name);
    }
}
