//! What a guest draws is not copied: while nobody looks, the server has nothing to do with it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use guest_kit::{FLIP, Tools, program};

use crate::display::Display;
use crate::picture::Picture;
use crate::served::Served;

/// How often the server's threads were given a processor and gave it back by themselves, and the clock ticks that they
/// had it for.
fn activity(served: &Served) -> (u64, u64) {
    let pid = served.pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // utime and stime, fields 14 and 15; the second is the program's name in parentheses.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let count = |line: &str| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok();
        switches += status.lines().find_map(count).unwrap_or(0_u64);
    }
    (switches, ticks)
}

/// Asserts that, while the guest draws, the server gets no message, and that in 15 seconds none of its threads runs.
/// Before that one may: for what the question has led to, or because the time is up that QEMU had to say VERSION.
#[track_caller]
fn nothing_happens(served: &Served) {
    let counters = || {
        let counters = &served.info()["counters"];
        (counters["messages"].clone(), counters["bytes_received"].clone())
    };
    let before = counters();
    thread::sleep(Duration::from_secs(6));
    let start = activity(served);
    thread::sleep(Duration::from_secs(15));
    assert_eq!(activity(served), start, "switches and ticks");
    assert_eq!(counters(), before);
}

/// Waits until the picture has changed twice.
#[track_caller]
fn is_drawn_upon(served: &Served) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut last = Picture::seen(served);
    for _ in 0..2 {
        let before = last.clone();
        while last == before {
            assert!(Instant::now() < deadline, "the picture does not change");
            last = Picture::seen(served);
        }
    }
}

#[test]
fn drawing_on_mdpy_costs_the_server_nothing() {
    let size = (1024, 768);
    let served = Served::start_controlled("mdpy-xga", &[]);
    let tools = Tools::prepare().unwrap().with_mdpy_fb().unwrap();
    let guest = served.guest_with(&tools).kernel_module("mdpy-fb").kernel_argument("fbcon=map:1");
    let picture = Picture::random(size, 6);
    let mut display = Display::boot(guest, "1b36:000f", &picture);
    display.sh("load mdpy-fb; while :; do draw /picture; echo >>/tmp/drawn; done &");
    display.sh("eventually [ -s /tmp/drawn ]");
    let drawn = |display: &mut Display| display.line("wc -c </tmp/drawn").parse::<u32>().unwrap();
    let before = drawn(&mut display);
    nothing_happens(&served);
    let times = drawn(&mut display) - before;
    println!("meanwhile the guest has drawn {times} pictures");
    assert_ne!(times, 0);
    picture.is_seen(&served);
    display.power_off();
    served.end();
}

#[test]
fn drawing_on_mbochs_costs_the_server_nothing() {
    let served = Served::start_controlled("mbochs-medium", &[]);
    let guest = served.guest();
    let guest = guest.kernel_module("bochs").file("/bin/flip", &program(FLIP).unwrap());
    let mut display = Display::boot(guest, "1234:1111", &Picture::random((1, 1), 0));
    display.sh("load bochs; free_console; flip 1280x800 2 7 3600 >/tmp/flip 2>&1 &");
    display.sh("eventually grep -q 'buffer 1' /tmp/flip");
    is_drawn_upon(&served);
    nothing_happens(&served);
    is_drawn_upon(&served);
    display.power_off();
    served.end();
}
