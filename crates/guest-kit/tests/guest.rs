#![cfg(test)]
//! A guest with a card of QEMU's own.

use std::path::PathBuf;
use std::time::Duration;

use guest_kit::{Error, Guest, Tools};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_guest_boots_runs_scripts_reboots_and_powers_off() {
    let tools = Tools::prepare().unwrap();
    let mut guest = Guest::builder(&tools)
        .args(["-chardev", "null,id=one", "-chardev", "null,id=two"])
        .device("pci-serial-2x,chardev1=one,chardev2=two")
        .file("/opt/hello", b"#!/bin/sh\necho hello from a file\n")
        .reboots()
        .boot()
        .unwrap();

    let ports = guest.check("cat /proc/tty/driver/serial", SOON).unwrap();
    assert_eq!(
        ports.lines().filter(|line| line.contains("uart:16550A port:")).count(),
        3,
        "{ports}"
    );
    assert_eq!(guest.check("/opt/hello", SOON).unwrap(), "hello from a file\n");
    let refused = guest.plug("card", "slot", "/nowhere".as_ref()).unwrap_err();
    assert!(matches!(refused, Error::NoMonitor), "{refused}");

    // Longer than a terminal's line.
    let long = "x".repeat(20_000);
    assert_eq!(guest.check(&format!("printf %s {long}"), SOON).unwrap(), long);

    guest.check("kept=yes", SOON).unwrap();
    assert_eq!(guest.run("echo $kept; exit 3", SOON).unwrap().status, 3);
    assert_eq!(guest.check("echo \"<$kept>\"", SOON).unwrap(), "<>\n", "exit ends the shell");

    let running = guest.start("echo begun; sleep 1; echo done").unwrap();
    guest.expect("begun\n", SOON).unwrap();
    assert_eq!(guest.finish(running, SOON).unwrap().text, "done\n");

    let late = guest.run("echo slow; sleep 3", Duration::from_millis(500)).unwrap_err();
    assert!(
        matches!(&late, Error::TimedOut { console, .. } if console.ends_with("slow")),
        "{late}"
    );
    assert_eq!(guest.check("echo next", SOON).unwrap(), "next\n");

    guest.check("touch /tmp/here", SOON).unwrap();
    guest.reboot(SOON * 3).unwrap();
    assert_eq!(guest.check("ls /tmp", SOON).unwrap(), "");
    guest.power_off(SOON).unwrap();
    assert_eq!(guest.qemu_messages(), "");

    let ended = guest.run("true", SOON).unwrap_err();
    assert!(matches!(ended, Error::QemuEnded { .. }), "{ended}");
}

#[test]
fn a_console_on_a_port_that_is_not_there_is_refused_when_the_guest_is_up() {
    let guest = Guest::builder(&Tools::prepare().unwrap()).console("ttyS2".parse().unwrap());
    let refused = guest.boot().unwrap_err();
    assert!(matches!(refused, Error::NoConsole { .. }), "{refused}");
    assert!(refused.to_string().contains(" ttyS2"), "{refused}");
}

#[test]
fn a_guest_that_is_dropped_leaves_no_qemu() {
    let mut guest = Guest::builder(&Tools::prepare().unwrap()).boot().unwrap();
    guest.start("while :; do :; done").map(drop).unwrap();
    let process = PathBuf::from(format!("/proc/{}", guest.pid()));
    assert!(process.exists());
    drop(guest);
    assert!(!process.exists());
}

#[test]
fn a_device_comes_and_goes_while_the_guest_runs_and_what_qemu_refuses_is_told() {
    let tools = Tools::prepare().unwrap();
    let mut guest =
        Guest::builder(&tools).slot("one", 0).args(["-chardev", "null,id=null"]).boot().unwrap();
    let count = "ls -d /sys/bus/pci/devices/* | wc -l";
    let before = guest.check(count, SOON).unwrap();
    let card = json!({ "driver": "pci-serial", "id": "card", "bus": "one", "chardev": "null" });
    for _ in 0..2 {
        assert_eq!(guest.execute("device_add", &card).unwrap(), json!({}));
        guest
            .check(
                &format!("until [ $({count}) -gt {} ]; do usleep 10000; done", before.trim()),
                SOON,
            )
            .unwrap();
        guest.unplug("card", SOON).unwrap();
        assert_eq!(guest.check(count, SOON).unwrap(), before);
    }

    let nobody = guest.plug("card", "one", "/nowhere".as_ref()).unwrap_err().to_string();
    assert!(nobody.contains("device_add") && nobody.contains("/nowhere"), "{nobody}");
    let gone = guest.unplug("card", SOON).unwrap_err().to_string();
    assert!(gone.contains("device_del") && gone.contains("not found"), "{gone}");
    let soon = Duration::from_millis(100);
    let late = guest.wait_for_event("DEVICE_DELETED", "card", soon).unwrap_err();
    assert!(matches!(late, Error::TimedOut { .. }), "{late}");
    guest.power_off(SOON).unwrap();
    let ended = guest.execute("query-status", &json!({})).unwrap_err();
    assert!(matches!(ended, Error::QemuEnded { .. }), "{ended}");
}
