//! docs/manage.md on running guests, pasted.

use crate::guest::Plugged;
use crate::pasted::{Block, RUNNING_GUEST, Reader, blocks, section};

#[test]
fn what_manage_md_says_of_running_guests_works_when_it_is_pasted() {
    let before = blocks(&section(""));
    let blocks = blocks(&section(RUNNING_GUEST));
    let [start, talk, plug, unplug] = &blocks[..] else { panic!("{blocks:?}") };
    let mut reader = Reader::new(true);
    let [manager, types, ..] = &before[..] else { panic!("{before:?}") };
    reader.start(manager);
    reader.paste(types);
    let out = reader.paste(start);
    // QEMU's own arguments; those before them are the machine's, which the test has its own of.
    let arguments: Vec<_> = out.lines().skip_while(|line| *line != "disk.img").skip(1).collect();
    assert_eq!(out.lines().take(2).collect::<Vec<_>>(), ["-M", "q35"]);
    let mut guest = Plugged::boot(Plugged::builder().args(&arguments));

    // What it leaves behind prints what QEMU says, until that ends.
    let mut said = reader.paste(talk);
    said += &reader.paste(plug);
    guest.sh("eventually has_fb bochs-drmdrmfb");
    assert_eq!(reader.available("mbochs-large"), 3);
    said += &reader.paste(unplug);
    assert_eq!(reader.available("mbochs-large"), 4);
    guest.sh("! has_fb bochs-drmdrmfb");
    guest.power_off();

    said += &reader.paste(&Block { lines: "wait".into(), ..talk.clone() });
    assert_eq!(said.matches(r#"{"return": {}}"#).count(), 3, "{said}");
    assert_eq!(said.matches("DEVICE_DELETED").count(), 1, "{said}");
    assert!(!said.contains("error"), "{said}");
    reader.interrupt(manager);
}
