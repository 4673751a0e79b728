//! A guest that copies data through its serial port all the time, both ways.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use guest_kit::{Guest, Tools, vfio_user_device};
use md5::{Digest, Md5};

use crate::guest::SOON;
use crate::managed::{Made, Managed, soon};
use crate::random::Random;

/// What the guest sends, again and again.
const LENGTH: usize = 16 << 10;

/// What both threads know.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    /// The writer is to end.
    stop: AtomicBool,
    /// The reader ends when it has so many.
    all: AtomicU64,
}

pub struct Neighbour {
    guest: Guest,
    counts: Arc<Counts>,
    /// The hash of what was sent.
    writer: JoinHandle<String>,
    reader: JoinHandle<()>,
}

fn some(length: usize, random: &mut Random) -> Vec<u8> {
    (0..length).map(|_| random.next().to_le_bytes()[0]).collect()
}

impl Neighbour {
    /// A guest with this device, whose first port ends at the socket `port`; it copies when this returns.
    pub fn start(made: &Made, port: &Path, seed: u64) -> Self {
        let data = some(LENGTH, &mut Random::of(seed, 1));
        let guest = Guest::builder(&Tools::prepare().unwrap());
        let mut guest =
            guest.device(&vfio_user_device(&made.socket)).file("/data", &data).boot().unwrap();
        let begin = "exec 3<>/dev/ttyS1; stty raw -echo clocal crtscts 115200 <&3
             cat <&3 >/tmp/received & reader=$!
             (until [ -e /tmp/stop ]; do cat /data >&3 && echo >>/tmp/rounds || exit; done) & writer=$!";
        guest.check(begin, SOON).unwrap();
        let stream = UnixStream::connect(port).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let counts = Arc::new(Counts { all: AtomicU64::new(u64::MAX), ..Counts::default() });
        let (to, count) = (stream.try_clone().unwrap(), counts.clone());
        let writer = thread::spawn(move || write(to, &count, &mut Random::of(seed, 2)));
        let count = counts.clone();
        let reader = thread::spawn(move || read(stream, &count, &data));
        let neighbour = Self { guest, counts, writer, reader };
        neighbour.goes_on();
        neighbour
    }

    fn moved(&self) -> (u64, u64) {
        (self.counts.sent.load(Ordering::Acquire), self.counts.received.load(Ordering::Acquire))
    }

    /// Waits until bytes have moved both ways once more.
    #[track_caller]
    pub fn goes_on(&self) {
        let before = self.moved();
        soon("the neighbour's bytes move", || {
            assert!(!self.writer.is_finished() && !self.reader.is_finished(), "it has failed");
            let now = self.moved();
            now.0 > before.0 && now.1 > before.1
        });
    }

    /// Ends the copying. All that was sent was received, each way, and nobody has seen an error.
    #[track_caller]
    pub fn end(mut self, managed: &Managed, made: &Made) {
        self.counts.stop.store(true, Ordering::Release);
        let sum = self.writer.join().unwrap();
        let rounds = self.guest.check("touch /tmp/stop; wait $writer; wc -l </tmp/rounds", SOON);
        let rounds: u64 = rounds.unwrap().trim().parse().unwrap();
        let received = rounds * LENGTH as u64;
        self.counts.all.store(received, Ordering::Release);
        self.reader.join().unwrap();
        let sent = self.counts.sent.load(Ordering::Acquire);
        println!("the neighbour has sent {received} bytes and received {sent}");
        assert_eq!(self.counts.received.load(Ordering::Acquire), received);
        let whole = format!(
            "until [ $(stat -c %s /tmp/received) -ge {sent} ]; do usleep 10000; done
             md5sum </tmp/received; grep ^1: /proc/tty/driver/serial"
        );
        let said = self.guest.check(&whole, SOON).unwrap();
        let (found, line) = said.split_once('\n').unwrap();
        assert_eq!(found.split_whitespace().next(), Some(&*sum), "what the guest has received");
        let fields: Vec<_> = line.split_whitespace().collect();
        let exactly = [&*format!("tx:{received}"), &*format!("rx:{sent}")];
        assert!(exactly.iter().all(|it| fields.contains(it)), "{line}");
        let errors = ["oe:", "fe:", "pe:", "brk:"];
        assert!(
            !fields.iter().any(|it| errors.iter().any(|error| it.starts_with(error))),
            "{line}"
        );
        let info = managed.say(&["info", "--json", "--device", &made.uuid]).ok();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let port = &info["devices"][0]["ports"][0];
        assert_eq!(port["bytes_sent"], received);
        assert_eq!(port["bytes_received"], sent);
        assert_eq!(port["history_dropped"], 0);
        self.guest.power_off(SOON).unwrap();
        assert_eq!(self.guest.qemu_messages(), "");
    }
}

fn write(mut to: UnixStream, counts: &Counts, random: &mut Random) -> String {
    let mut sum = Md5::new();
    while !counts.stop.load(Ordering::Acquire) {
        let length = 1 + random.below(2000);
        let piece = some(length, random);
        to.write_all(&piece).unwrap();
        sum.update(&piece);
        counts.sent.fetch_add(piece.len() as u64, Ordering::Release);
    }
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each byte is compared as it comes.
fn read(mut from: UnixStream, counts: &Counts, data: &[u8]) {
    let (mut piece, mut heard) = ([0; 4096], Instant::now());
    let mut place = 0;
    while place < counts.all.load(Ordering::Acquire) {
        match from.read(&mut piece) {
            Ok(0) => panic!("the port has ended after {place} bytes"),
            Ok(length) => {
                for &byte in &piece[..length] {
                    assert_eq!(byte, data[place as usize % data.len()], "byte {place}");
                    place += 1;
                }
                counts.received.store(place, Ordering::Release);
                heard = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                assert!(heard.elapsed() < SOON, "nothing comes behind byte {place}");
            }
        }
    }
}
