//! A quiet client of a device, while others do to their devices and to the control socket what they can. How much of theirs
//! comes between its requests and their answers is counted in `crates/vfio-user-server/tests/fairness.rs`.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::managed::{Managed, soon};
use crate::vfio::{Client, NO_REPLY, access, command, message};

/// The scratch register of a serial port.
const SCRATCH: u64 = 7;
/// How often the quiet client asks.
const READS: usize = 300;

/// What a neighbour does until it is over.
struct Neighbour<'a> {
    over: &'a AtomicBool,
    /// Bytes that were taken from it.
    said: AtomicU64,
}

impl Neighbour<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Says it again and again. `reads`: it takes what it is told.
    fn say(&self, mut socket: &UnixStream, bytes: &[u8], reads: bool) {
        socket.set_nonblocking(true).unwrap();
        let (mut at, mut told) = (0, vec![0; 64 << 10]);
        while !self.is_over() {
            match socket.write(&bytes[at..]) {
                Ok(sent) => {
                    self.said.fetch_add(sent as u64, Ordering::Relaxed);
                    at = (at + sent) % bytes.len();
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    thread::sleep(Duration::from_micros(100));
                }
            }
            while reads && socket.read(&mut told).is_ok_and(|size| size > 0) {}
        }
    }

    fn say_to_device(&self, device: &Path, bytes: &[u8]) {
        self.say(&Client::negotiated(device).socket, bytes, false);
    }

    /// Comes, says it, and leaves.
    fn come_and_go(&self, device: &Path, bytes: &[u8]) {
        while !self.is_over() {
            let mut client = Client::negotiated(device);
            client.send_raw(bytes);
            self.said.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Ends the neighbours when the quiet client has, however it has.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn floods_and_garbage_and_who_does_not_read_keep_no_quiet_client_waiting() {
    let managed = Managed::start_with(&["--loops", "1"]);
    let made = [(); 5].map(|()| managed.create(&["mtty-1"]));
    let [quiet, stores, reads, garbage, comes] = &made;
    let control = || UnixStream::connect(managed.path("control")).unwrap();
    let store = message(1, command::REGION_WRITE, NO_REPLY, &access(0, SCRATCH, 1, &[1]));
    let read = message(1, command::REGION_READ, 0, &access(0, SCRATCH, 1, &[]));
    let nonsense = message(1, 99, NO_REPLY, &[]);
    let question = format!("{{\"verb\": \"info\", \"device\": \"{}\"}}\n", quiet.uuid);

    let over = AtomicBool::new(false);
    let neighbours = [(); 7].map(|()| Neighbour { over: &over, said: AtomicU64::default() });
    let [one, two, three, four, five, six, seven] = &neighbours;
    let mut client = Client::negotiated(&quiet.socket);
    client.write(0, SCRATCH, &[0x5a]);
    thread::scope(|scope| {
        let over = Over(&over);
        scope.spawn(|| one.say_to_device(&stores.socket, &store.repeat(500)));
        scope.spawn(|| two.say_to_device(&reads.socket, &read.repeat(500)));
        scope.spawn(|| three.say_to_device(&garbage.socket, &nonsense.repeat(500)));
        scope.spawn(|| four.come_and_go(&comes.socket, &store.repeat(500)));
        // Questions to the loop, and what is none.
        scope.spawn(|| five.say(&control(), question.repeat(50).as_bytes(), true));
        scope.spawn(|| six.say(&control(), b"garbage\n".repeat(50).as_slice(), true));
        // Whose answers nobody takes: it is let go when that has lasted.
        let unread = control();
        let mut bytes = question.repeat(2000);
        bytes.truncate(200 << 10);
        unread.set_nonblocking(true).unwrap();
        seven.said.store((&unread).write(bytes.as_bytes()).unwrap() as u64, Ordering::Relaxed);
        soon("all have begun", || neighbours.iter().all(|it| it.said.load(Ordering::Relaxed) > 0));
        for _ in 0..READS {
            assert_eq!(client.read(0, SCRATCH, 1), [0x5a]);
        }
        drop(over);
    });
    // Nor has a new one at the control socket to wait for ever.
    assert!(managed.say(&["info", "--device", &quiet.uuid]).ok().contains("mtty-1"));
}
