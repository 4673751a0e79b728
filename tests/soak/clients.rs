//! Clients that use a device and leave it, in order or not.

use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use crate::managed::{Launched, Made, end, soon};
use crate::random::Random;
use crate::stage::Turn;
use crate::vfio::{self, Client, command, errno, eventfd, version, words};

pub const BAR0: u32 = 0;
pub const CONFIG: u32 = 7;
/// Interrupts of a manager's device by which its client is asked to go.
const REQ: u32 = 4;
/// Of SET_IRQS: eventfds that are signalled.
const EVENTFD_TRIGGER: u32 = 0x24;
/// After whom the place is free when the server has noticed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the child finds what it uses.
const SOCKET: &str = "MDEV_USER_SOAK_SOCKET";

pub const KINDS: [&str; 8] = [
    "mtty-1",
    "mtty-2",
    "mtty-1,serial0=pty",
    "mdpy-vga",
    "mdpy-hd",
    "mbochs-small",
    "mbochs-medium,xres=1024,yres=768",
    "mbochs-large,edid=off",
];

/// Some clients at a device, one after the other.
pub fn act(turn: &mut Turn<'_>) {
    let kind = turn.random.pick(&KINDS);
    let made = turn.create(kind);
    for _ in 0..1 + turn.random.below(8) {
        if turn.random.once_in(6) {
            killed(turn, &made);
        } else {
            let mut client = arrive(&made.socket);
            turn.stage.did("clients", 1);
            let maps = work(turn, &mut client, kind.starts_with("mtty"));
            leave(turn, client);
            // Memory that it has mapped is its own for as long as it likes.
            for map in maps {
                map.as_volatile_slice().write_obj(7u32, 0).unwrap();
            }
        }
        turn.rest(50);
    }
    match turn.random.below(3) {
        0 => turn.remove(&made),
        1 => asked_to_go(turn, &made),
        _ => sent_away(turn, &made),
    }
}

/// Connects, as soon as whoever was there is gone.
pub fn arrive(socket: &Path) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::connect(socket);
        let hello = version(0, 0, vfio::QEMU_CAPABILITIES);
        let hello = vfio::message(1, command::VERSION, 0, &hello);
        let answer = match client.socket.write_all(&hello) {
            Ok(()) => client.receive(),
            Err(_) => None,
        };
        match answer {
            Some(reply) if reply.error == 0 => return client,
            Some(reply) => assert_eq!(reply.error, errno::EBUSY, "{reply:?}"),
            None => {}
        }
        assert!(Instant::now() < deadline, "nobody is let in");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Looks at all that there is, and uses some of it; the memory that it has mapped.
fn work(turn: &mut Turn<'_>, client: &mut Client, is_card: bool) -> Vec<MmapRegion> {
    client.still_in_step();
    let mut maps = Vec::new();
    for region in 0..9 {
        let reply = client.region_info(region, 32).ok();
        let size = reply.u64(16);
        for memory in reply.fds {
            let map = MmapRegion::from_file(FileOffset::new(memory.into(), 0), size as usize);
            maps.push(map.unwrap());
        }
    }
    for map in &maps {
        for _ in 0..1 + turn.random.below(200) {
            let (at, value) = (turn.random.below(map.size() / 4) * 4, turn.random.next() as u32);
            map.as_volatile_slice().store(value, at, std::sync::atomic::Ordering::Relaxed).unwrap();
            // The server sees the same bytes.
            if turn.random.once_in(20) {
                assert_eq!(client.read(BAR0, at as u64, 4), value.to_le_bytes(), "at {at:#x}");
            }
        }
    }
    let eventfds = [eventfd(0), eventfd(0)];
    client.set_irqs([EVENTFD_TRIGGER, REQ, 0, 1], &[], &[eventfds[0].as_fd()]).ok();
    if is_card {
        client.set_irqs([EVENTFD_TRIGGER, 0, 0, 1], &[], &[eventfds[1].as_fd()]).ok();
    }
    for _ in 0..turn.random.below(300) {
        let offset = turn.random.below(64) as u64 * 4;
        let config = client.read(CONFIG, offset, 4);
        assert_eq!(config.len(), 4);
        if is_card {
            let value = turn.random.next() as u8;
            client.write(BAR0, 7, &[value]);
            assert_eq!(client.read(BAR0, 7, 1), [value], "the scratch register");
        }
    }
    let guest = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&guest, 1 << 20).unwrap();
    for number in 0..turn.random.below(5) as u32 {
        // argsz, flags: readable and writable; offset, address, size.
        let address = u64::from(number) << 20;
        let mut map = words(&[32, 3]);
        [0, address, 1 << 20].iter().for_each(|word: &u64| map.extend(word.to_ne_bytes()));
        client.call_with_fds(command::DMA_MAP, &map, &[guest.as_fd()]).ok();
    }
    if turn.random.once_in(3) {
        client.call(command::DEVICE_RESET, &[]).ok();
    }
    maps
}

fn leave(turn: &mut Turn<'_>, mut client: Client) {
    let read = vfio::message(9, command::REGION_READ, 0, &vfio::access(CONFIG, 0, 256, &[]));
    match turn.random.below(5) {
        // In the middle of a message, or of many answers.
        0 => {
            let some = turn.random.below(read.len());
            client.socket.write_all(&read[..some]).unwrap();
        }
        1 => client.socket.write_all(&read.repeat(50)).unwrap(),
        // It says that it says no more, and reads to the end.
        2 => {
            client.socket.write_all(&read).unwrap();
            client.socket.shutdown(Shutdown::Write).unwrap();
            let reply = client.receive().expect("an answer").ok();
            assert_eq!(reply.body.len(), 16 + 256);
            client.is_closed_within(PATIENCE);
        }
        _ => {}
    }
}

/// A process of its own, which does not expect it.
fn killed(turn: &mut Turn<'_>, made: &Made) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "clients::a_client_that_is_killed"]);
    command.env(SOCKET, &made.socket).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Launched::spawn(&mut command);
    let place = format!("devices/{}/vfio-dev/{}/client", made.uuid, made.node());
    soon("a client is there", || turn.managed().path(&place).exists());
    turn.rest(100);
    child.kill().unwrap();
    child.wait().unwrap();
    turn.stage.did("clients killed", 1);
}

/// Not a test: what [`killed`] starts.
#[test]
#[ignore = "a part of the soak"]
fn a_client_that_is_killed() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let mut client = arrive(Path::new(&socket));
    let mut random = Random::of(1, 1);
    let infos: Vec<_> = (0..9).map(|region| client.region_info(region, 32).ok()).collect();
    loop {
        client.read(CONFIG, random.below(64) as u64 * 4, 4);
        assert_eq!(infos.len(), 9);
    }
}

/// The device is removed while it is used: who uses it is asked to go, and goes.
fn asked_to_go(turn: &mut Turn<'_>, made: &Made) {
    let mut client = arrive(&made.socket);
    let asked = eventfd(0);
    client.set_irqs([EVENTFD_TRIGGER, REQ, 0, 1], &[], &[asked.as_fd()]).ok();
    turn.forget(made);
    let removing = turn.managed().begin(&["remove", &made.uuid]);
    soon("it is asked to go", || vfio::count(&asked) != 0);
    client.still_in_step();
    drop(client);
    end(removing).ok();
    turn.stage.did("removed in use", 1);
}

fn sent_away(turn: &mut Turn<'_>, made: &Made) {
    let mut client = arrive(&made.socket);
    turn.forget(made);
    turn.managed().say(&["remove", &made.uuid, "--force-after", "50ms"]).ok();
    client.is_closed_within(PATIENCE);
    turn.stage.did("removed by force", 1);
}

/// A socket that has not said anything yet.
pub fn stream(socket: &Path) -> Option<UnixStream> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    Some(stream)
}

/// Descriptors to give away.
pub fn junk() -> File {
    File::open("/dev/null").unwrap()
}
