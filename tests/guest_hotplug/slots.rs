//! What a guest must have for a device to find room in it.

use crate::guest::Plugged;
use crate::managed::{Made, Managed, TYPES};
use crate::pasted::{RUNNING_GUEST, section};

/// The page's table: each type, and the MiB that its slot reserves.
fn reserves() -> Vec<(String, u32)> {
    let text = section(RUNNING_GUEST);
    let rows = text.lines().skip_while(|line| !line.starts_with("| type |")).skip(2);
    let mut all = Vec::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let (types, size) = row.trim_matches('|').split_once('|').unwrap();
        let size = size.trim().trim_matches('`').trim_end_matches('M');
        let size = if size == "none" { 0 } else { size.parse().unwrap() };
        all.extend(types.split('`').skip(1).step_by(2).map(|kind| (kind.to_owned(), size)));
    }
    all
}

/// The drivers have all of them, on which they have found the BARs at addresses.
#[track_caller]
fn all_work(guest: &mut Plugged, ports: usize, mdpy: usize, mbochs: usize) {
    for (what, count) in [
        // One is the guest's own.
        ("grep -c uart:16550A /proc/tty/driver/serial", ports + 1),
        ("grep -c mdpy-fb /proc/fb", mdpy),
        ("grep -c bochs-drmdrmfb /proc/fb", mbochs),
    ] {
        guest.sh(&format!("is_all() {{ [ $({what}) = {count} ]; }}; eventually is_all"));
    }
    // Where there was no room the kernel says "can't assign", and "failed to assign".
    guest.sh("! dmesg | grep -e \"can't assign\" -e 'failed to assign'");
}

#[test]
fn each_type_finds_room_in_a_slot_that_reserves_what_the_page_says() {
    let reserves = reserves();
    let mut named: Vec<_> = reserves.iter().map(|(kind, _)| &**kind).collect();
    named.sort_unstable();
    let mut types = TYPES;
    types.sort_unstable();
    assert_eq!(named, types);

    let managed = Managed::start();
    let mut builder = Plugged::builder();
    for (kind, size) in &reserves {
        builder = builder.slot(kind, *size);
    }
    let mut guest = Plugged::boot(builder);
    let all: Vec<Made> = reserves.iter().map(|(kind, _)| managed.create(&[kind])).collect();
    for (made, (kind, _)) in all.iter().zip(&reserves) {
        guest.plug(made, kind);
    }
    all_work(&mut guest, 3, 3, 3);
    all.iter().for_each(|made| guest.unplug(made));
    guest.sh("[ -z \"$(cat /proc/fb)\" ]");
    guest.power_off();
    all.iter().for_each(|made| managed.remove(made));
}

#[test]
fn the_machine_pc_needs_no_slots() {
    let managed = Managed::start();
    let mut guest = Plugged::boot(Plugged::builder().monitor().args(["-machine", "pc"]));
    let all = ["mtty-2", "mdpy-hd", "mbochs-large"].map(|kind| managed.create(&[kind]));
    all.iter().for_each(|made| guest.plug(made, "pci.0"));
    all_work(&mut guest, 2, 1, 1);
    all.iter().for_each(|made| guest.unplug(made));
    guest.power_off();
    all.iter().for_each(|made| managed.remove(made));
}
