//! `mdev-user run`: QEMU and its devices in one command.

use std::fs;
use std::path::PathBuf;

use guest_kit::{Error, Guest, Tools};

use crate::card::{Card, SOON};

#[test]
fn run_serves_qemu_its_devices_passes_its_status_on_and_leaves_nothing_behind() {
    let runtime = tempfile::tempdir().unwrap();
    let left: fn(&PathBuf) -> usize = |dir| fs::read_dir(dir).unwrap().count();
    let directory = runtime.path().to_owned();
    let variable = format!("XDG_RUNTIME_DIR={}", runtime.path().display());
    let run = [env!("CARGO_BIN_EXE_mdev-user"), "--log-level", "debug", "run", "mtty-2", "--"];
    let guest = Guest::builder(&Tools::prepare().unwrap())
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .launched_by(["env", &variable].into_iter().chain(run));
    let mut card = Card::boot(guest, 2);
    assert_eq!(left(&directory), 1, "a directory with the sockets");
    card.ports_work();

    // QEMU's device makes 2 * 3 + 1 of it.
    // It ends a moment later: the shell must not be the first to answer.
    let end = "printf '\\003' | dd of=/dev/port bs=1 seek=244; sleep 60";
    let ended = card.guest.run(end, SOON).unwrap_err();
    assert!(
        matches!(&ended, Error::QemuEnded { status, .. } if status == "exit status: 7"),
        "{ended}"
    );
    assert_eq!(left(&directory), 0, "nothing is left");
    let messages = card.guest.qemu_messages();
    println!("{messages}");
    // All of them are the program's own log.
    assert!(messages.lines().all(|line| line.contains(" INFO ") || line.contains(" DEBUG ")));
    assert!(!messages.contains(crate::served::REFUSED));
}
