//! The ports work after whatever happens to the driver, the card, the guest or QEMU.

use crate::card::{Card, SOON};
use crate::served::Served;

/// Rebinding, opening and closing, removal from the bus and a new scan of it.
fn survives_its_driver(kind: &str, ports: usize) {
    let served = Served::start(kind);
    let mut card = Card::boot(served.guest(), ports);

    println!("20 times unbound and bound");
    card.sh("for round in $(seq 20); do unbind && bind || break; done");
    card.look();
    card.ports_work();

    println!("200 times opened and closed");
    for port in 1..=ports {
        card.sh(&format!("for round in $(seq 200); do open_and_close {port} || break; done"));
    }
    card.ports_work();

    println!("removed and found again");
    card.sh("echo 1 >$card/remove; ! find_card && echo 1 >/sys/bus/pci/rescan");
    card.look();
    card.ports_work();

    card.power_off();
    served.end();
}

#[test]
fn the_ports_of_mtty_2_survive_rebinding_opening_and_removal() {
    survives_its_driver("mtty-2", 2);
}

#[test]
fn the_port_of_mtty_1_survives_rebinding_opening_and_removal() {
    survives_its_driver("mtty-1", 1);
}

#[test]
fn the_ports_survive_a_reboot_and_a_killed_qemu() {
    let served = Served::start("mtty-2");
    let mut card = Card::boot(served.guest().reboots(), 2);
    card.ports_work();

    println!("the guest reboots");
    card.guest.reboot(SOON).unwrap();
    card.look();
    card.ports_work();

    println!("the machine is reset while bytes are under way");
    card.sh("exec 3<>/dev/$(tty 1); stty raw -echo 115200 <&3; head -c 4096 /dev/urandom >&3");
    card.guest.reboot(SOON).unwrap();
    card.look();
    card.ports_work();

    println!("QEMU is killed while bytes are under way");
    card.sh("exec 3<>/dev/$(tty 2); stty raw -echo 115200 <&3; head -c 4096 /dev/urandom >&3");
    card.guest.kill();
    assert_eq!(card.guest.qemu_messages(), "");
    served.wait_for_log(" has left", 1);

    println!("the next QEMU");
    let mut card = Card::boot(served.guest(), 2);
    card.ports_work();
    card.power_off();
    served.wait_for_log(" has left", 2);
    served.end();
}
