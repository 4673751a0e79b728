//! Faults while QEMU makes the device.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;

use guest_kit::Tools;

use crate::{DOCUMENT, device, has_said, served};

/// Milliseconds that QEMU waits for an answer.
const TIMEOUT: u32 = 700;

/// What becomes of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Starts,
    /// It gives up, with a status of its own.
    Refuses,
    /// A signal ends it: which one is not looked at, and another version may have mended it.
    Dies,
    /// Either of the latter two: its threads race.
    RefusesOrDies,
}
use Outcome::{Dies, Refuses, RefusesOrDies, Starts};

/// Fault, what becomes of QEMU, what it says.
type Case = (&'static str, Outcome, &'static [&'static str]);

/// What is refused, late or lost on the way.
const ANSWERS: [Case; 18] = [
    ("error,errno=EIO,command=version", Refuses, &["version reply: Input/output error"]),
    (
        "error,errno=EIO,command=device-get-info",
        Refuses,
        &["VFIO_USER_DEVICE_GET_INFO failed: Unknown error -5"],
    ),
    (
        "error,errno=EIO,command=device-get-region-info",
        Refuses,
        &["failed to get region 0 info: Input/output error"],
    ),
    (
        "error,errno=EIO,command=region-read",
        Refuses,
        &["failed to read device config space: Input/output error"],
    ),
    (
        "error,errno=EIO,command=device-set-irqs",
        Refuses,
        &["Failed to set up TRIGGER eventfd signaling for interrupt INTX-0"],
    ),
    ("error,errno=EIO,command=device-get-irq-info", Starts, &[]),
    ("error,errno=EIO,command=device-reset", Starts, &["reset reply error 5"]),
    (
        "error,errno=EIO,command=dma-map,count=always",
        Starts,
        &["error reply on async request command 2 error Input/output error"],
    ),
    ("delay,ms=200,command=device-get-info", Starts, &[]),
    (
        "delay,ms=1000,command=device-get-info",
        Refuses,
        &[
            "timed out waiting for reply: Connection timed out",
            "unexpected reply",
            "bad header size",
        ],
    ),
    ("stall,command=version", Refuses, &["timed out waiting for reply: Connection timed out"]),
    (
        "stall,command=device-get-info",
        Refuses,
        &["timed out waiting for reply: Connection timed out", "vfio_wait_reqs - timed out"],
    ),
    (
        "drop,command=device-get-region-info",
        Refuses,
        &["vfio_user_get_region_info: timed out waiting for reply: Connection timed out"],
    ),
    (
        "disconnect,command=version",
        Refuses,
        &["failed to read header: EOF", "timed out waiting for reply: Connection timed out"],
    ),
    (
        "disconnect,command=device-get-region-info",
        Refuses,
        &["failed to read header: EOF", "failed to get region 0 info: Bad address"],
    ),
    (
        "stall,command=region-read",
        Refuses,
        &["failed to read device config space: Bad address", "vfio_wait_reqs - timed out"],
    ),
    (
        "disconnect,command=region-read",
        Refuses,
        &["failed to read header: EOF", "failed to read device config space: Bad address"],
    ),
    (
        "disconnect,command=device-set-irqs",
        Refuses,
        &[
            "failed to read header: EOF",
            "Failed to set up TRIGGER eventfd signaling for interrupt INTX-0",
        ],
    ),
];

/// What is too short.
const SHORT: [Case; 10] = [
    ("short,bytes=0,command=version", Refuses, &["short version reply"]),
    ("short,bytes=4,command=version", Starts, &[]),
    ("short,bytes=0,command=device-get-info", Refuses, &["this isn't a PCI device"]),
    ("short,bytes=8,command=device-get-info", Refuses, &["unexpected number of io regions 0"]),
    ("short,bytes=16,command=device-get-region-info", Starts, &[]),
    ("cut,bytes=8,command=version", Refuses, &["short read of header"]),
    ("cut,bytes=20,command=version", RefusesOrDies, &["server closed socket"]),
    ("cut,bytes=20,command=device-get-info", RefusesOrDies, &["server closed socket"]),
    ("cut,bytes=20,command=device-get-region-info", RefusesOrDies, &["server closed socket"]),
    ("cut,bytes=20,command=region-read", RefusesOrDies, &["server closed socket"]),
];

/// Writes to configuration space.
const WRITES: [Case; 6] = [
    ("error,errno=EIO,command=region-write", Starts, &["ROM access failed"]),
    (
        "stall,command=region-write",
        Dies,
        &[
            "vfio_user_device_io_region_write: timed out waiting for reply: Connection timed out",
            "ROM access failed",
            "vfio: Failed to read BAR 0: Bad address",
        ],
    ),
    (
        "drop,command=region-write",
        Starts,
        &[
            "vfio_user_device_io_region_write: timed out waiting for reply: Connection timed out",
            "ROM access failed",
        ],
    ),
    (
        "disconnect,command=region-write",
        Dies,
        &[
            "failed to read header: EOF",
            "ROM access failed",
            "vfio: Failed to read BAR 0: Bad address",
        ],
    ),
    (
        "cut,bytes=8,command=region-write",
        Dies,
        &["short read of header", "ROM access failed", "vfio: Failed to read BAR 0: Bad address"],
    ),
    ("cut,bytes=20,command=region-write", RefusesOrDies, &["server closed socket"]),
];

/// The reset that comes last.
const RESETS: [Case; 5] = [
    (
        "stall,command=device-reset",
        Starts,
        &[
            "vfio_user_device_reset: timed out waiting for reply: Connection timed out",
            "reset bar 5 failed: Bad address",
        ],
    ),
    (
        "drop,command=device-reset",
        Starts,
        &["vfio_user_device_reset: timed out waiting for reply: Connection timed out"],
    ),
    (
        "disconnect,command=device-reset",
        Dies,
        &[
            "failed to read header: EOF",
            "hardware error: vfio: DMA mapping failed, unable to continue",
        ],
    ),
    (
        "cut,bytes=8,command=device-reset",
        Dies,
        &["short read of header", "hardware error: vfio: DMA mapping failed, unable to continue"],
    ),
    // What it says depends on which thread is first.
    ("cut,bytes=20,command=device-reset", RefusesOrDies, &[]),
];

/// What the table has.
#[track_caller]
fn documented(fault: &str) -> Outcome {
    let begin = format!("| `{fault}`");
    let row = DOCUMENT.lines().find(|line| line.starts_with(&begin)).expect(fault);
    match row.split(" | ").nth(1).unwrap() {
        effect if effect.starts_with("starts") => Starts,
        effect if effect.starts_with("**ends by SIG") => Dies,
        effect if effect.contains("**may end by SIG") => RefusesOrDies,
        effect if effect.starts_with("does not start") => Refuses,
        effect => panic!("{fault}: {effect}"),
    }
}

fn is_as_expected(cases: &[Case]) {
    let tools = Tools::prepare().unwrap();
    // They wait for most of their time. More at once could be late for answers that are not.
    for cases in cases.chunks(4) {
        thread::scope(|scope| {
            cases.iter().for_each(|case| _ = scope.spawn(|| try_one(&tools, case)));
        });
    }
}

fn try_one(tools: &Tools, (fault, outcome, messages): &Case) {
    let version = tools.qemu().version();
    let is_known = (version.major, version.minor) == (11, 1);
    assert_eq!(&documented(fault), outcome, "docs/faults.md on {fault}");
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
    let as_expected = match outcome {
        Starts => ended.status.success(),
        Refuses => ended.status.code() == Some(1),
        Dies => !is_known || ended.status.signal().is_some(),
        RefusesOrDies => !is_known || !ended.status.success(),
    };
    assert!(as_expected, "{fault}: {outcome:?}: {}: {said}", ended.status);
    if *outcome != RefusesOrDies || !messages.is_empty() {
        has_said(&said, messages);
    }
    served.wait_for_log(": fault ", 1);
}

#[test]
fn answers_that_are_refused_late_or_lost() {
    is_as_expected(&ANSWERS);
}

#[test]
fn answers_that_are_too_short() {
    is_as_expected(&SHORT);
}

#[test]
fn writes_that_fail() {
    is_as_expected(&WRITES);
}

#[test]
fn a_reset_that_fails() {
    is_as_expected(&RESETS);
}
