//! Faults while QEMU makes the device.

use std::io::Write;
use std::process::Stdio;

use guest_kit::Tools;

use crate::{device, has_said, served};

/// Milliseconds that QEMU waits for an answer.
const TIMEOUT: u32 = 700;

/// Fault, whether QEMU starts, what it says.
type Case = (&'static str, bool, &'static [&'static str]);

/// What is refused, late or lost on the way.
const ANSWERS: [Case; 15] = [
    ("error,errno=EIO,command=version", false, &["version reply: Input/output error"]),
    (
        "error,errno=EIO,command=device-get-info",
        false,
        &["VFIO_USER_DEVICE_GET_INFO failed: Unknown error -5"],
    ),
    (
        "error,errno=EIO,command=device-get-region-info",
        false,
        &["failed to get region 0 info: Input/output error"],
    ),
    (
        "error,errno=EIO,command=region-read",
        false,
        &["failed to read device config space: Input/output error"],
    ),
    (
        "error,errno=EIO,command=device-set-irqs",
        false,
        &["Failed to set up TRIGGER eventfd signaling for interrupt INTX-0"],
    ),
    ("error,errno=EIO,command=device-get-irq-info", true, &[]),
    ("error,errno=EIO,command=device-reset", true, &["reset reply error 5"]),
    (
        "error,errno=EIO,command=dma-map,count=always",
        true,
        &["error reply on async request command 2 error Input/output error"],
    ),
    ("delay,ms=200,command=device-get-info", true, &[]),
    (
        "delay,ms=1000,command=device-get-info",
        false,
        &[
            "timed out waiting for reply: Connection timed out",
            "unexpected reply",
            "bad header size",
        ],
    ),
    ("stall,command=version", false, &["timed out waiting for reply: Connection timed out"]),
    (
        "stall,command=device-get-info",
        false,
        &["timed out waiting for reply: Connection timed out", "vfio_wait_reqs - timed out"],
    ),
    (
        "drop,command=device-get-region-info",
        false,
        &["vfio_user_get_region_info: timed out waiting for reply: Connection timed out"],
    ),
    (
        "disconnect,command=version",
        false,
        &["failed to read header: EOF", "timed out waiting for reply: Connection timed out"],
    ),
    (
        "disconnect,command=device-get-region-info",
        false,
        &["failed to read header: EOF", "failed to get region 0 info: Bad address"],
    ),
];

/// What is too short.
const SHORT: [Case; 7] = [
    ("short,bytes=0,command=version", false, &["short version reply"]),
    ("short,bytes=4,command=version", true, &[]),
    ("short,bytes=0,command=device-get-info", false, &["this isn't a PCI device"]),
    ("short,bytes=8,command=device-get-info", false, &["unexpected number of io regions 0"]),
    ("short,bytes=16,command=device-get-region-info", true, &[]),
    ("cut,bytes=8,command=version", false, &["short read of header"]),
    // QEMU 11.1 ends by SIGSEGV.
    ("cut,bytes=20,command=device-get-info", false, &["server closed socket"]),
];

fn is_as_expected(cases: &[Case]) {
    let tools = Tools::prepare().unwrap();
    for (fault, starts, messages) in cases {
        let served = served(fault);
        let mut qemu = tools.qemu().command();
        qemu.args(["-accel", "tcg", "-machine", "q35", "-m", "64", "-nodefaults", "-display"]);
        // The machine is made and reset, and does not run.
        qemu.args(["none", "-S", "-monitor", "stdio", "-device"]).arg(device(&served, TIMEOUT));
        qemu.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut qemu = qemu.spawn().unwrap();
        // It may have ended.
        let _ = qemu.stdin.take().unwrap().write_all(b"quit\n");
        let ended = qemu.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        println!("{fault}: {}\n{said}", ended.status);
        assert_eq!(ended.status.success(), *starts, "{fault}: {}: {said}", ended.status);
        has_said(&said, messages);
        served.wait_for_log(": fault ", 1);
    }
}

#[test]
fn answers_that_are_refused_late_or_lost() {
    is_as_expected(&ANSWERS);
}

#[test]
fn answers_that_are_too_short() {
    is_as_expected(&SHORT);
}
