//! Faults at a guest's accesses: a register of each of many cards, which nobody but the test touches.

use std::time::{Duration, Instant};

use guest_kit::{Error, Guest, Tools};

use crate::{SOON, device, has_said, served};

const SHELL: &str = include_str!("../guest_mtty/card.sh");

struct Case {
    fault: &'static str,
    /// How long QEMU waits for an answer, ms.
    timeout: u32,
    /// What is run in the guest, and what it prints.
    script: &'static str,
    prints: &'static str,
    messages: &'static [&'static str],
}

/// Writes the scratch register and reads it three times.
const READ: &str = "outb 7 5b; echo $(inb 7) $(inb 7) $(inb 7)";
/// Writes it and reads it, twice.
const WRITE: &str = "outb 7 5b; inb 7; echo; outb 7 5c; inb 7";

const BRIEF: u32 = 700;

const CASES: [Case; 15] = [
    Case {
        fault: "delay,ms=200,command=region-read,region=0,offset=7",
        timeout: 5000,
        script: READ,
        prints: "5b 5b 5b",
        messages: &[],
    },
    Case {
        fault: "delay,ms=1500,command=region-read,region=0,offset=7",
        timeout: 1000,
        script: READ,
        prints: "ff ff ff",
        messages: &[
            "vfio_user_device_io_region_read: timed out waiting for reply: Connection timed out",
            "unexpected reply",
            "bad header size",
        ],
    },
    Case {
        fault: "stall,command=region-read,region=0,offset=7",
        timeout: BRIEF,
        script: READ,
        prints: "ff ff ff",
        messages: &[
            "vfio_user_device_io_region_read: timed out waiting for reply: Connection timed out",
            "region0+0x7, 1) failed: Bad address",
        ],
    },
    Case {
        fault: "drop,command=region-read,region=0,offset=7",
        timeout: BRIEF,
        script: READ,
        prints: "ff 5b 5b",
        messages: &[
            "vfio_user_device_io_region_read: timed out waiting for reply: Connection timed out",
            "region0+0x7, 1) failed: Bad address",
        ],
    },
    Case {
        fault: "drop,command=region-write,region=0,offset=7",
        timeout: BRIEF,
        script: WRITE,
        prints: "5b\n5c",
        messages: &[
            "vfio_user_device_io_region_write: timed out waiting for reply: Connection timed out",
        ],
    },
    Case {
        fault: "error,errno=EIO,command=region-read,region=0,offset=7",
        timeout: 5000,
        script: READ,
        prints: "ff 5b 5b",
        messages: &["region0+0x7, 1) failed: Input/output error"],
    },
    Case {
        fault: "error,errno=EIO,command=region-read,region=0,offset=7,at=2,count=always",
        timeout: 5000,
        script: READ,
        prints: "5b ff ff",
        messages: &["region0+0x7, 1) failed: Input/output error"],
    },
    // The example of the help.
    Case {
        fault: "error,errno=EIO,command=region-read,region=bar0,offset=7,at=3",
        timeout: 5000,
        script: "outb 7 5b; echo $(inb 7) $(inb 7) $(inb 7) $(inb 7)",
        prints: "5b 5b ff 5b",
        messages: &["region0+0x7, 1) failed: Input/output error"],
    },
    Case {
        fault: "error,errno=EIO,command=region-write,region=0,offset=7",
        timeout: 5000,
        script: WRITE,
        prints: "00\n5c",
        messages: &["region0+0x7, 0x5b,1) failed: Input/output error"],
    },
    Case {
        fault: "error,errno=EIO,command=region-read,region=7,offset=0x40",
        timeout: 5000,
        script: "for n in 1 2; do dd if=$card/config bs=4 skip=16 count=1 2>/dev/null | hex; echo; done",
        prints: "ffffffff\n23000080",
        messages: &[", 0x40, 0x4) failed: Input/output error"],
    },
    Case {
        fault: "short,bytes=16,command=region-read,region=0,offset=7",
        timeout: 5000,
        script: "outb 7 5b; [ $(inb 7) != 5b ] && inb 7",
        prints: "5b",
        messages: &[],
    },
    Case {
        fault: "cut,bytes=8,command=region-read,region=0,offset=7",
        timeout: BRIEF,
        script: READ,
        prints: "ff ff ff",
        messages: &["short read of header", "Unable to write to socket: Broken pipe"],
    },
    Case {
        fault: "disconnect,command=region-read,region=0,offset=7",
        timeout: BRIEF,
        script: READ,
        prints: "ff ff ff",
        messages: &["failed to read header: EOF", "Unable to write to socket: Broken pipe"],
    },
    Case {
        fault: "disconnect,command=region-write,region=0,offset=7",
        timeout: BRIEF,
        script: WRITE,
        prints: "ff\nff",
        messages: &["failed to read header: EOF", "Unable to write to socket: Broken pipe"],
    },
    // The last one, since QEMU 11.1 may end by SIGSEGV.
    Case {
        fault: "cut,bytes=20,command=region-read,region=0,offset=7",
        timeout: 5000,
        script: READ,
        prints: "ff ff ff",
        messages: &["server closed socket"],
    },
];

#[test]
fn the_guest_goes_on_whatever_happens_to_its_accesses() {
    let tools = Tools::prepare().unwrap();
    let cards: Vec<_> = CASES.iter().map(|case| served(case.fault)).collect();
    let mut guest = Guest::builder(&tools);
    for (case, card) in CASES.iter().zip(&cards) {
        guest = guest.device(&device(card, case.timeout));
    }
    let mut guest = guest.boot().unwrap();
    assert_eq!(guest.qemu_messages(), "", "nothing has happened yet");
    guest.check(SHELL, SOON).unwrap();
    for (number, (case, card)) in CASES.iter().zip(&cards).enumerate() {
        // In the order of the command line, which is that of the bus.
        let choose = format!(
            "set -- $(grep -l 0x4348 /sys/bus/pci/devices/*/vendor); shift {number}; card=$(dirname $1)"
        );
        let said = guest.qemu_messages().len();
        let begin = Instant::now();
        let printed = match guest.check(&format!("{choose}; {}", case.script), SOON) {
            Err(Error::QemuEnded { qemu, .. }) if case.fault.starts_with("cut,bytes=20") => {
                println!("{}: QEMU has ended\n{}", case.fault, &qemu[said..]);
                has_said(&qemu[said..], case.messages);
                return;
            }
            printed => printed.unwrap(),
        };
        let took = begin.elapsed();
        println!(
            "{}: {} in {took:?}\n{}",
            case.fault,
            printed.trim(),
            &guest.qemu_messages()[said..]
        );
        assert_eq!(printed.trim(), case.prints, "{}", case.fault);
        has_said(&guest.qemu_messages()[said..], case.messages);
        card.wait_for_log(": fault ", 1);
        if case.fault.starts_with("delay") {
            assert!(took >= Duration::from_millis(200), "{took:?}");
        }
    }
    guest.power_off(SOON).unwrap();
}
