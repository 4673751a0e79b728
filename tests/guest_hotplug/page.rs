//! docs/manage.md on running guests, pasted.

use crate::guest::Plugged;
use crate::managed::{Managed, end};
use crate::pasted::{RUNNING_GUEST, Shell, blocks, section};

#[test]
fn what_manage_md_says_of_running_guests_works_when_it_is_pasted() {
    let blocks = blocks(&section(RUNNING_GUEST));
    let [start, talk, plug, unplug] = &blocks[..] else { panic!("{blocks:?}") };
    let managed = Managed::start();
    let mut shell = Shell::new(&managed);
    let out = shell.paste(start).ok();
    // QEMU's own arguments; those before them are the machine's, which the test has its own of.
    let arguments: Vec<_> = out.lines().skip_while(|line| *line != "disk.img").skip(1).collect();
    assert_eq!(out.lines().take(2).collect::<Vec<_>>(), ["-M", "q35"]);
    let mut guest = Plugged::boot(Plugged::builder().args(&arguments));

    // What it leaves behind prints what QEMU says, until that ends.
    let talking = shell.begin(talk);
    shell.variables += &format!("\n{}", talk.lines().next().unwrap());
    let out = shell.paste(&format!("{plug}\necho \"uuid='$uuid'\"")).ok();
    shell.variables += &format!("\n{out}");
    guest.sh("eventually has_fb bochs-drmdrmfb");
    assert_eq!(managed.available("mbochs-large"), 3);
    assert_eq!(shell.paste(unplug).ok(), "");
    assert_eq!(managed.available("mbochs-large"), 4);
    guest.sh("! has_fb bochs-drmdrmfb");
    guest.power_off();

    let said = end(talking).ok();
    assert_eq!(said.matches(r#"{"return": {}}"#).count(), 3, "{said}");
    assert_eq!(said.matches("DEVICE_DELETED").count(), 1, "{said}");
    assert!(!said.contains("error"), "{said}");
}
