//! The card comes and goes while the guest runs.

use guest_kit::{Guest, Tools};

use crate::card::{Card, SOON};
use crate::served::Served;

#[test]
fn the_card_can_be_plugged_and_unplugged_while_the_guest_runs() {
    let served = Served::start("mtty-2");
    let guest = Guest::builder(&Tools::prepare().unwrap()).slot("slot-1", 0).boot().unwrap();
    let mut card = Card { guest, ports: 2 };
    card.sh(include_str!("card.sh"));
    card.sh("! find_card");

    for round in 1..=2 {
        println!("plugged in");
        card.guest.plug("card", "slot-1", &served.socket()).unwrap();
        card.sh(
            "for second in $(seq 60); do find_card && driver_is serial && break; sleep 1; done",
        );
        card.look();
        card.ports_work();

        println!("unplugged");
        card.guest.unplug("card", SOON).unwrap();
        card.sh("! find_card");
        served.wait_for_log(" has left", round);
    }
    card.power_off();
    served.end();
}
