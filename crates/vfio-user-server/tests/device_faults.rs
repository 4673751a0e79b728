#![cfg(test)]
//! A device that panics, refuses to be opened, or is odd: its client hears of it at once, and nobody else notices.

#[path = "common/client.rs"]
mod client;
#[path = "common/server.rs"]
mod server;

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use client::command::*;
use client::errno::{EBUSY, EINVAL, EIO};
use client::{
    Client, NO_REPLY, QEMU_CAPABILITIES, Witness, access, eventfd, holders, message, version, words,
};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use server::{Ram, Server, card, made};
use vfio_device::{Context, Description, Errno, Interest, State, Vfio, VfioDevice};
use vfio_user_server::{Endpoint, Event, EventLoop};

const CONFIG: u32 = 7;
/// Offset of a register that starts the timer.
const TIMER: u64 = 0x20;
const ENXIO: u32 = 6;
/// What the device says when it panics, and the tests' hook leaves out.
const CRY: &str = "a device's fault, made on purpose";

/// Where a device breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    Read,
    Write,
    Reset,
    ConfigWritten,
    Open,
    Close,
    Request,
    Timer,
    Ready,
    Released,
    Dropped,
    CloseAndRelease,
}
use Breaks::*;

/// Panics where it is told to. Its host descriptor shows when it is gone.
struct Broken {
    breaks: &'static [Breaks],
    host: Option<OwnedFd>,
}

impl Broken {
    fn at(&self, here: Breaks) {
        assert!(!self.breaks.contains(&here), "{CRY}");
    }
}

impl VfioDevice for Broken {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {
        self.at(Read);
    }
    fn region_write(&mut self, _: u32, offset: u64, _: &[u8], cx: &mut Context) {
        if offset == TIMER {
            cx.timers.start(1, Duration::from_millis(5));
            return;
        }
        self.at(Write);
    }
    fn reset(&mut self, _: &mut Context) {
        self.at(Reset);
    }
    fn open(&mut self, cx: &mut Context) -> Result<(), Errno> {
        self.at(Open);
        if let Some(host) = &self.host {
            let host = host.try_clone().map_err(|_| Errno::MFILE)?;
            cx.sources.watch(1, host, Interest::READ);
        }
        Ok(())
    }
    fn close(&mut self, cx: &mut Context) {
        cx.sources.unwatch(1);
        self.at(Close);
        self.at(CloseAndRelease);
    }
    fn request(&mut self, _: u32, _: &mut Context) -> bool {
        self.at(Request);
        true
    }
    fn config_written(&mut self, _: u64, _: usize, _: &mut Context) {
        self.at(ConfigWritten);
    }
    fn timer(&mut self, _: u32, _: &mut Context) {
        self.at(Timer);
    }
    fn ready(&mut self, _: u32, _: Interest, _: &mut Context) {
        self.at(Ready);
    }
    fn release(self: Box<Self>) {
        self.at(Released);
        self.at(CloseAndRelease);
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // A second panic would end the process, with any language's best will.
        if !std::thread::panicking() {
            self.at(Dropped);
        }
    }
}

/// A broken device and, on the same loop, a neighbour in use.
struct Street {
    server: Server,
    neighbour: Client,
    /// The other end of the broken device's descriptor: it ends when the device is gone.
    host: UnixStream,
    descriptors: usize,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Street {
    fn new(breaks: &'static [Breaks]) -> Self {
        let one_at_a_time = quiet();
        let (host, inner) = UnixStream::pair().unwrap();
        let broken = made(move || {
            (card().request_irq(), Box::new(Broken { breaks, host: Some(inner.into()) }))
        });
        let ram = made(|| (card(), Box::new(Ram::default())));
        let server = Server::start_all(vec![broken, ram]);
        let mut neighbour = Client::negotiated(&server.path_of(1));
        neighbour.write(0, 0, &[0x5a]);
        assert_eq!(server.event(), (1, Event::ClientCame));
        let descriptors = descriptors();
        Self { server, neighbour, host, descriptors, _one_at_a_time: one_at_a_time }
    }

    /// A client of the broken device.
    fn client(&self) -> Client {
        let client = Client::negotiated(&self.server.path());
        assert_eq!(self.server.event(), (0, Event::ClientCame));
        client
    }

    /// Asserts that the broken device is gone with all that was its own, and the neighbour is well.
    #[track_caller]
    fn expect_rid_of_it(mut self) {
        assert_eq!(self.server.event(), (0, Event::Faulted));
        assert!(self.server.object(0).is_none(), "it is still served");
        assert!(!self.server.path().exists(), "its socket is left behind");
        assert!(has_ended(&self.host), "its descriptor is still open");
        // The listener, and the host's descriptor. Fewer than that: at the beginning something of an earlier test was
        // not closed yet, by a thread of its own.
        let deadline = Instant::now() + Duration::from_secs(30);
        while descriptors() > self.descriptors - 2 {
            assert!(Instant::now() < deadline, "descriptors: {}", descriptors());
            std::thread::yield_now();
        }
        assert_eq!(self.neighbour.read(0, 0, 1), [0x5a]);
        Client::connect(&self.server.path_of(1))
            .call(VERSION, &version(0, 0, QEMU_CAPABILITIES))
            .refused(EBUSY);
        self.server.is_asleep();
    }
}

/// One test at a time, since they count descriptors; and without a word of what is made on purpose.
fn quiet() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.contains(CRY)) {
                loud(panic);
            }
        }));
    });
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nobody holds the other end.
fn has_ended(end: &UnixStream) -> bool {
    end.set_nonblocking(true).unwrap();
    match (&*end).read(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

fn memfd() -> OwnedFd {
    let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, 0x1000).unwrap();
    memory
}

/// A client sets up all that can be, then sends the command that hits the fault: it is answered with EIO, then the
/// connection ends.
#[track_caller]
fn is_answered(breaks: &'static [Breaks], command: u16, body: &[u8]) {
    let street = Street::new(breaks);
    let mut client = street.client();
    let object = street.server.object(0).unwrap();
    let (line, unmask) = (eventfd(0), eventfd(0));
    let map = words(&[32, 3, 0, 0, 0, 0, 0x1000, 0]);
    client.call_with_fds(DMA_MAP, &map, &[memfd().as_fd()]).ok();
    client.set_irqs([0x24, 0, 0, 1], &[], &[line.as_fd()]).ok();
    client.set_irqs([0x14, 0, 0, 1], &[], &[unmask.as_fd()]).ok();
    assert_eq!((holders(&line), holders(&unmask), object.open_count()), (2, 2, 1));

    client.call(command, body).refused(EIO);
    client.is_closed();
    assert!(object.wait_unregistered(Duration::from_secs(5)));
    assert_eq!((object.open_count(), object.state()), (0, State::Unregistered));
    drop(client);
    street.server.ask(|_| ());
    // Whoever drops the last reference runs `release`, and has its panic.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(object)));
    assert_eq!((holders(&line), holders(&unmask)), (1, 1), "eventfds are kept");
    drop((line, unmask));
    street.expect_rid_of_it();
}

#[test]
fn a_read_that_panics_is_answered_with_an_error() {
    is_answered(&[Read], REGION_READ, &access(0, 0, 4, &[]));
}

#[test]
fn a_write_that_panics_is_answered_with_an_error() {
    is_answered(&[Write], REGION_WRITE, &access(0, 0, 4, &[1; 4]));
}

#[test]
fn a_reset_that_panics_is_answered_with_an_error() {
    is_answered(&[Reset], DEVICE_RESET, &[]);
}

#[test]
fn a_config_write_that_panics_is_answered_with_an_error() {
    is_answered(&[ConfigWritten], REGION_WRITE, &access(CONFIG, 4, 2, &[1, 0]));
}

#[test]
fn coalesced_writes_that_panic_are_answered_with_an_error() {
    // Two writes of 4 bytes to BAR 0.
    let write = [access(0, 0, 4, &[]), vec![0; 8]].concat();
    let body = [&2u64.to_le_bytes()[..], &write, &write].concat();
    is_answered(&[Write], REGION_WRITE_MULTI, &body);
}

#[test]
fn a_device_that_panics_once_more_when_it_is_let_go_harms_nobody() {
    for breaks in
        [&[Read, Close][..], &[Read, Released], &[Read, Dropped], &[Read, CloseAndRelease]]
    {
        is_answered(breaks, REGION_READ, &access(0, 0, 4, &[]));
    }
}

#[test]
fn everything_that_a_client_waits_for_is_answered_and_nothing_else() {
    let street = Street::new(&[Read]);
    let mut client = street.client();
    let witness = Witness::new();
    let bytes = [
        message(50, DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0])),
        message(51, REGION_READ, 0, &access(0, 0, 4, &[])),
        message(52, REGION_WRITE, NO_REPLY, &access(0, 0, 1, &[0])),
        message(53, DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0])),
    ]
    .concat();
    let set = message(54, DEVICE_SET_IRQS, 0, &words(&[20, 0x24, 0, 0, 1]));
    street.server.held_up(|| {
        client.send_raw(&bytes);
        client.send_raw_with_fds(&set, &[witness.fd()]);
        // And the beginning of one more.
        client.send_raw(&message(55, DEVICE_RESET, 0, &[])[..15]);
    });
    let first = client.receive().unwrap().ok();
    assert_eq!((first.id, first.body.len()), (50, 16));
    for (id, command) in [(51, REGION_READ), (53, DEVICE_GET_INFO), (54, DEVICE_SET_IRQS)] {
        let reply = client.receive().unwrap();
        assert_eq!((reply.id, reply.command), (id, command));
        reply.refused(EIO);
    }
    client.is_closed();
    witness.expect_closed();
    drop(client);
    street.expect_rid_of_it();
}

#[test]
fn a_posted_write_that_panics_is_not_answered() {
    let street = Street::new(&[Write]);
    let mut client = street.client();
    client.send(REGION_WRITE, NO_REPLY, &access(0, 0, 1, &[0]), &[]);
    client.is_closed();
    drop(client);
    street.expect_rid_of_it();
}

#[test]
fn a_timer_that_panics_ends_the_connection_at_once() {
    let street = Street::new(&[Timer]);
    let mut client = street.client();
    client.write(0, TIMER, &[1]);
    client.is_closed();
    drop(client);
    street.expect_rid_of_it();
}

#[test]
fn a_command_that_has_come_in_when_a_timer_panics_is_answered_with_an_error() {
    let street = Street::new(&[Timer]);
    let mut client = street.client();
    client.write(0, TIMER, &[1]);
    // By the time the loop looks again the timer is due, which comes first, and the command is there.
    street.server.held_up(|| {
        client.send(REGION_READ, 0, &access(0, 0, 4, &[]), &[]);
        std::thread::sleep(Duration::from_millis(10));
    });
    // The timer was faster, on a machine that is busy.
    if let Some(reply) = client.receive() {
        reply.refused(EIO);
    }
    client.is_closed();
    drop(client);
    street.expect_rid_of_it();
}

#[test]
fn a_descriptor_whose_handler_panics_ends_the_connection_at_once() {
    let street = Street::new(&[Ready]);
    let mut client = street.client();
    (&street.host).write_all(b"x").unwrap();
    client.is_closed();
    drop(client);
    street.expect_rid_of_it();
}

#[test]
fn an_open_that_panics_refuses_version_with_an_error() {
    for breaks in [&[Open][..], &[Open, Close], &[Open, Released], &[Open, Dropped]] {
        let street = Street::new(breaks);
        let mut client = Client::connect(&street.server.path());
        client.call(VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EIO);
        client.is_closed();
        drop(client);
        street.expect_rid_of_it();
    }
}

#[test]
fn a_close_that_panics_is_noticed_by_nobody_but_who_comes_next() {
    for breaks in [&[Close][..], &[CloseAndRelease], &[Close, Dropped]] {
        let street = Street::new(breaks);
        let first = street.client();
        let mut next = Client::connect(&street.server.path());
        next.send(VERSION, 0, b"", &[]);
        next.receive().unwrap().refused(EINVAL);
        next.is_closed();
        drop((first, next));
        street.expect_rid_of_it();
    }
}

#[test]
fn a_close_that_panics_while_the_next_client_waits_refuses_that_one() {
    let street = Street::new(&[Close]);
    let first = street.client();
    let mut next = Client::connect(&street.server.path());
    street.server.ask(|_| ());
    street.server.held_up(|| {
        next.send(VERSION, 0, &version(0, 0, QEMU_CAPABILITIES), &[]);
        drop(first);
    });
    next.receive().unwrap().refused(EIO);
    next.is_closed();
    drop(next);
    street.expect_rid_of_it();
}

#[test]
fn a_device_that_panics_when_it_is_taken_off_the_loop_harms_nobody() {
    for breaks in [&[Request][..], &[Close], &[Released], &[Dropped], &[Request, Released]] {
        let mut street = Street::new(breaks);
        let mut client = street.client();
        let id = street.server.ids[0];
        street.server.ask(move |event_loop| event_loop.remove(id).unwrap().shut_down());
        client.is_closed();
        assert!(!street.server.path().exists());
        assert_eq!(street.neighbour.read(0, 0, 1), [0x5a]);
        assert!(has_ended(&street.host), "its descriptor is still open");
    }
}

#[test]
fn a_loop_that_ends_releases_all_devices_even_if_several_panic() {
    let _one_at_a_time = quiet();
    let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
    let mut hosts = Vec::new();
    for breaks in [&[Released][..], &[Dropped], &[Released], &[]] {
        let (host, inner) = UnixStream::pair().unwrap();
        let broken = Box::new(Broken { breaks, host: Some(inner.into()) });
        let mut device = Vfio::new().alloc(|_| Ok((card(), broken))).unwrap();
        device.register().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        event_loop.add(Endpoint::connected(device, theirs)).unwrap();
        hosts.push((host, ours));
    }
    drop(event_loop);
    for (host, client) in hosts {
        assert!(has_ended(&host) && has_ended(&client));
    }
}

#[test]
fn an_open_that_fails_refuses_version_with_its_errno_and_is_asked_again() {
    /// Opens every second time.
    struct Moody(bool);
    impl VfioDevice for Moody {
        fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
        fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
        fn reset(&mut self, _: &mut Context) {}
        fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
            self.0 = !self.0;
            if self.0 { Err(Errno::NXIO) } else { Ok(()) }
        }
    }
    let _one_at_a_time = quiet();
    let server = Server::start(|| (card(), Box::new(Moody(false))));
    for _ in 0..3 {
        let mut refused = Client::connect(&server.path());
        refused.call(VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(ENXIO);
        refused.is_closed();
        assert_eq!(server.object(0).unwrap().open_count(), 0);
        Client::negotiated(&server.path()).still_in_step();
        assert_eq!(
            (server.event(), server.event()),
            ((0, Event::ClientCame), (0, Event::ClientLeft))
        );
    }
}

#[test]
fn a_device_of_no_region_and_no_irq_is_served_as_such() {
    let _one_at_a_time = quiet();
    let server = Server::of(Description::other);
    let mut client = Client::negotiated(&server.path());
    let info = client.call(DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
    assert_eq!((info.u32(4), info.u32(8), info.u32(12)), (1, 0, 0), "flags RESET, regions, irqs");
    for region in [0, CONFIG, u32::MAX] {
        client.region_info(region, 32).refused(EINVAL);
        client.call(REGION_READ, &access(region, 0, 0, &[])).refused(EINVAL);
        client.call(REGION_WRITE, &access(region, 0, 1, &[0])).refused(EINVAL);
        client.call(DEVICE_GET_IRQ_INFO, &words(&[16, 0, region, 0])).refused(EINVAL);
        client.set_irqs([0x21, region, 0, 0], &[], &[]).refused(EINVAL);
    }
    client.call(DEVICE_RESET, &[]).ok();
    client.still_in_step();
}

#[test]
fn a_device_may_panic_when_the_host_wants_something_of_it() {
    for breaks in [&[Request], &[Reset]] {
        let street = Street::new(breaks);
        let mut client = street.client();
        let id = street.server.ids[0];
        street.server.ask(move |event_loop| {
            event_loop.hide(id);
            event_loop.request(id);
            event_loop.reset(id);
        });
        client.is_closed();
        drop(client);
        street.expect_rid_of_it();
    }
}
