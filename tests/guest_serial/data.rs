//! A lot of bytes by a guest's own driver: all of them arrive, whoever stops and goes on, and whoever comes late.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::Value;

use crate::ports::{Ports, SOON, counts, soon};
use crate::random::{Random, from_environment};
use crate::served::Served;

/// Each way on each port; `cargo xtask soak serial` asks for more.
const KIB: u64 = 256;
/// What is sent and when it stops are made of it.
const SEED: u64 = 1;
/// A port that hands over no byte for so long has lost what is missing.
const SILENCE: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };

/// As md5sum prints it.
fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A host that stops reading, or writing, and goes on.
struct Stops(Random);

impl Stops {
    fn maybe(&mut self) {
        if self.0.once_in(16) {
            thread::sleep(Duration::from_millis(self.0.next() % 300));
        }
    }

    /// Reads so many bytes of `port`, in pieces of any length. When the places in `long`, which ascend, are reached, it
    /// waits until `is_stopped`.
    fn read(
        mut self,
        port: &str,
        mut from: impl Read + AsFd,
        count: usize,
        long: &[usize],
        is_stopped: impl Fn(),
    ) -> Vec<u8> {
        let (mut read, mut piece, mut long) = (Vec::new(), vec![0; 5000], long.iter().peekable());
        while read.len() < count {
            self.maybe();
            if long.next_if(|place| read.len() >= **place).is_some() {
                is_stopped();
            }
            let most = 1 + self.0.below(piece.len());
            let some = poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&SILENCE)).unwrap();
            let lacks = format!("{port} lacks {} of {count} bytes", count - read.len());
            assert_ne!(some, 0, "{lacks}: none came for {} s", SILENCE.tv_sec);
            let got =
                from.read(&mut piece[..most]).unwrap_or_else(|error| panic!("{lacks}: {error}"));
            assert_ne!(got, 0, "{lacks}: it has ended");
            read.extend(&piece[..got]);
        }
        read
    }

    fn write(mut self, mut to: impl Write, mut rest: &[u8]) {
        while !rest.is_empty() {
            self.maybe();
            let (part, behind) = rest.split_at(rest.len().min(1 + self.0.below(5000)));
            to.write_all(part).unwrap();
            rest = behind;
        }
    }
}

/// A pseudo-terminal as it is: nothing is echoed or translated.
fn raw_terminal(path: &str) -> File {
    let noctty = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
    let terminal =
        OpenOptions::new().read(true).write(true).custom_flags(noctty).open(path).unwrap();
    let mut raw = tcgetattr(&terminal).unwrap();
    raw.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &raw).unwrap();
    terminal
}

/// Ends the server when the test fails: those who wait for bytes then hear of it.
struct EndsWithTest(Pid);

impl Drop for EndsWithTest {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap()
}

/// Waits until nothing moves by `count` any more, as `line`, which has gone off, says.
#[track_caller]
fn stands_still(served: &Served, lines: &str, line: &str, count: &str) {
    let port = || served.info()["ports"][0].clone();
    soon(line, || port()[lines][line] == false);
    // What had been under way has come to rest when two looks find the same: after that nothing may move.
    let mut before = port()[count].clone();
    soon("it comes to rest", || {
        thread::sleep(Duration::from_millis(100));
        let now = port()[count].clone();
        now == std::mem::replace(&mut before, now.clone())
    });
    thread::sleep(Duration::from_millis(300));
    assert_eq!(port()[count], before, "it moves though {line} is off");
}

#[test]
fn random_bytes_each_way_on_both_ports_at_once_arrive_whole_and_crtscts_stops_either_side() {
    let count = usize::try_from(from_environment("MDEV_USER_KIB", KIB)).unwrap() << 10;
    let seed = from_environment("MDEV_USER_SEED", SEED);
    println!("MDEV_USER_KIB={} MDEV_USER_SEED={seed}", count >> 10);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("port");
    let spec = format!("unix:{}", socket.display());
    let served = Served::start_controlled("mtty-2", &["--serial0", &spec, "--serial1", "pty"]);
    let port = |number: usize| served.info()["ports"][number].clone();
    let mut guest = Ports::boot(served.guest());
    guest.open(1, "crtscts");
    guest.open(2, "-crtscts");
    let unix = UnixStream::connect(&socket).unwrap();
    let pty = raw_terminal(port(1)["address"].as_str().unwrap());
    soon("both are connected", || (0..2).all(|number| port(number)["connected"] == true));
    let before = guest.counts(1)["cts"];
    for number in 1..=2 {
        guest.sh(&format!("head -c {count} /dev/urandom >/sent{number}"));
    }

    let mut random = Random::of(seed, 0);
    // In the first half: all of it must not have gone before.
    let mut place = || 1000 + random.below(count / 2 - 1000);
    let (mut host_stops, mut guest_stops) =
        ([place(), place(), place()], [place(), place(), place()]);
    host_stops.sort_unstable();
    guest_stops.sort_unstable();
    let to_guest: Vec<Vec<u8>> = (1..=2)
        .map(|round| {
            let mut random = Random::of(seed, round);
            (0..count).map(|_| random.next().to_le_bytes()[0]).collect()
        })
        .collect();

    let start = Instant::now();
    let heard = thread::scope(|scope| {
        let _ends = EndsWithTest(Pid::from_raw(served.pid().cast_signed()).unwrap());
        let stops = |round| Stops(Random::of(seed, round));
        let (served, to_guest) = (&served, &to_guest);
        let (ours, theirs) = (unix.try_clone().unwrap(), pty.try_clone().unwrap());
        scope.spawn(move || stops(3).write(ours, &to_guest[0]));
        scope.spawn(move || stops(4).write(theirs, &to_guest[1]));
        let first = scope.spawn(move || {
            stops(5).read("port 0, unix,", unix, count, &host_stops, || {
                stands_still(served, "inputs", "cts", "bytes_sent");
            })
        });
        let second = scope.spawn(move || stops(6).read("port 1, pty,", pty, count, &[], || ()));

        for number in 1..=2 {
            let fd = number + 2;
            guest.sh(&format!(
                "head -c {count} <&{fd} >/received{number} & reader{number}=$!
                 cat /sent{number} >&{fd} & writer{number}=$!"
            ));
        }
        // Whoever reads in the guest stops too.
        for place in guest_stops {
            let behind = Duration::from_secs(120) + Duration::from_millis(count as u64);
            let deadline = Instant::now() + behind;
            while number(&port(0)["bytes_received"]) < place as u64 {
                assert!(Instant::now() < deadline, "it stands still: {}", port(0));
                thread::sleep(Duration::from_millis(100));
            }
            // Only when it has stopped does it take nothing: a read under way would have RTS on once more.
            guest.sh("kill -STOP $reader1
                 until [ $(cut -d ' ' -f 3 /proc/$reader1/stat) = T ]; do sleep 0.1; done");
            stands_still(served, "outputs", "rts", "bytes_received");
            guest.sh("kill -CONT $reader1");
        }
        let all = "wait $reader1 && wait $reader2 && wait $writer1 && wait $writer2";
        // At 2 KiB a second all together.
        let patience = Duration::from_secs(120) + Duration::from_millis(2 * count as u64);
        guest.guest.check(all, patience).unwrap();
        // What a reader misses is told by it.
        [first, second].map(|reader| reader.join().unwrap_or_else(|missed| resume_unwind(missed)))
    });
    let seconds = start.elapsed().as_secs_f32();
    println!("{seconds:.1} s, {:.1} KiB/s in all", 4.0 * (count >> 10) as f32 / seconds);

    let exactly = counts(&[("tx", count as u64), ("rx", count as u64)]);
    for number in 1..=2 {
        let sums = guest.sh(&format!("md5sum </sent{number}; md5sum </received{number}"));
        let sums: Vec<_> = sums.lines().map(|line| &line[..32]).collect();
        assert_eq!(sums, [md5(&heard[number - 1]), md5(&to_guest[number - 1])], "port {number}");
        assert_eq!(guest.driver_counts(number), exactly, "and no error");
        let info = port(number - 1);
        assert_eq!((&info["bytes_sent"], &info["bytes_received"]), (&count.into(), &count.into()));
        assert_eq!(info["history_dropped"], 0);
        let counts = guest.counts(number);
        println!("ttyS{number}: {counts:?}");
        assert_eq!(counts["buf_overrun"], 0);
        if number == 1 {
            assert!(counts["cts"] >= before + 2 * 3, "CTS went off and on three times at least");
        }
    }
    guest.power_off();
    served.end();
}

/// The lines that `seq FIRST LAST` prints.
fn sequence(first: u32, last: u32) -> String {
    (first..=last).map(|number| format!("{number}\n")).collect()
}

#[test]
fn who_comes_late_has_what_the_history_kept_and_ten_who_come_and_go_have_all_that_follows() {
    const KEPT: usize = 65536;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("port");
    let spec = format!("unix:{}", socket.display());
    let served = Served::start_controlled("mtty-1", &["--serial0", &spec]);
    let port = || served.info()["ports"][0].clone();
    let mut guest = Ports::boot(served.guest());
    guest.open(1, "");
    // Half-closed, it reads until it has all that was to be had.
    let visit = |all: &mut Vec<u8>| {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.read_to_end(all).unwrap();
    };

    let text = sequence(1, 14_000);
    let before = text.len();
    guest.sh("seq 1 14000 >&3");
    soon("all of it was sent", || port()["bytes_sent"] == text.len());
    soon("all of it is kept, or gone", || number(&port()["bytes_pending"]) == KEPT as u64);
    assert_eq!(port()["history_dropped"], text.len() - KEPT);
    let mut kept = Vec::new();
    visit(&mut kept);
    assert_eq!(String::from_utf8(kept).unwrap(), text[text.len() - KEPT..]);

    // Less than the history holds: nothing depends on who is how fast.
    let text = sequence(20_000, 29_999);
    assert!(text.len() < KEPT);
    guest.sh("seq 20000 29999 >&3 & writer=$!");
    let mut all = Vec::new();
    for client in 1..=10 {
        let is_sent = || number(&port()["bytes_sent"]) as usize == before + text.len();
        soon("there is more", || {
            let port = port();
            let pending = number(&port["bytes_pending"]) as usize;
            port["connected"] == false && (pending >= text.len() / 12 || is_sent())
        });
        visit(&mut all);
        println!("{} bytes after client {client}", all.len());
    }
    guest.sh("wait $writer");
    let deadline = Instant::now() + SOON;
    while all.len() < text.len() {
        assert!(Instant::now() < deadline, "it lacks {} bytes", text.len() - all.len());
        visit(&mut all);
    }
    assert!(String::from_utf8(all).unwrap() == text, "it is not whole");
    assert_eq!(port()["history_dropped"], before - KEPT, "and no more");
    let counts = guest.driver_counts(1);
    assert_eq!(counts["tx"] as usize, before + text.len());
    guest.power_off();
    served.end();
}
