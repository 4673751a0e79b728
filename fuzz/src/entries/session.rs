//! What a client says, byte for byte and descriptor for descriptor, to a server in this process.

use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use mbochs::Mbochs;
use mdpy::Mdpy;
use mtty::Mtty;
use vfio_device::{Device, MdevDriver, Vfio};
use vfio_user_server::{Endpoint, Event, EventLoop, LoopHandle};

use super::client::{QEMU_CAPABILITIES, message, version};
use super::conversation::{KINDS, Kind, Samples};
use super::counting;
use super::input::Input;
use super::judge::{expected, judge, last};
use super::pump::{Sending, exchange_on};
use super::{engine, quiet, rich};

/// Messages and pieces of them.
const MOST: usize = 200;
/// The largest single allocation that a message of max_data_xfer_size may cost: the buffer that it is gathered in, which
/// doubles as it grows.
const LARGEST: u64 = 2_621_440;

/// The server, which all inputs have in common.
struct Server {
    handle: LoopHandle,
    samples: Samples,
    /// A device has panicked.
    faulted: AtomicBool,
}

impl Server {
    fn start() -> Self {
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || {
            let mut event_loop = EventLoop::new(Duration::ZERO).expect("a loop");
            event_loop.stay();
            sender.send(event_loop.handle()).expect("it is waited for");
            counting::count(true);
            let told = |_, event| {
                if event == Event::Faulted {
                    server().faulted.store(true, Ordering::SeqCst);
                }
            };
            event_loop.run(told).expect("the loop");
        });
        let handle = receiver.recv().expect("the loop has begun");
        Self { handle, samples: Samples::new(), faulted: AtomicBool::new(false) }
    }

    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut EventLoop) -> T + Send + 'static) -> T {
        let (sender, receiver) = sync_channel(1);
        self.handle.post(move |event_loop| _ = sender.send(what(event_loop)));
        patiently(|| receiver.recv_timeout(Duration::from_secs(1)).ok()).expect("the loop answers")
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

fn device(number: u8) -> Device {
    let (mtty, mbochs, mdpy) = (Mtty::default(), Mbochs::default(), Mdpy::default());
    let made = match number % 5 {
        0 => Vfio::new().alloc(|_| Ok(rich::rich())),
        1 => Vfio::new().alloc(|init| mtty.init(&mtty.types()[1], init)),
        2 => Vfio::new().alloc(|init| mbochs.init(&mbochs.types()[0], init)),
        3 => Vfio::new().alloc(|_| Ok(engine::made())),
        _ => Vfio::new().alloc(|init| mdpy.init(&mdpy.types()[0], init)),
    };
    let mut device = made.expect("a device");
    device.register().expect("it can be registered");
    device
}

/// After one byte of settings: pieces, each with a byte that says what it is.
fn sendings(input: &mut Input<'_>, greets: bool) -> Vec<Sending> {
    let mut all = Vec::new();
    if greets {
        let bytes = message(1, 1, 0, &version(0, 0, QEMU_CAPABILITIES));
        all.push(Sending { bytes, fds: Vec::new() });
    }
    for id in 2..MOST as u16 {
        if input.is_empty() {
            break;
        }
        let what = input.byte();
        // What is not cut stands in a message of its own, whose header is right.
        let command = if what & 1 == 0 { Some(input.byte()) } else { None };
        let count = [0, 0, 0, 1, 1, 2, 16, 17][usize::from(what >> 1 & 7)];
        let kinds = if count == 0 { 0 } else { input.byte() };
        let kind = |at: u8| KINDS[usize::from(kinds.wrapping_add(at & kinds >> 4)) % KINDS.len()];
        let fds: Vec<Kind> = (0..count).map(kind).collect();
        let length = match input.byte() {
            255 => usize::from(input.half()),
            length => usize::from(length),
        };
        let body = input.bytes(length);
        let bytes = match command {
            // The upper bits: no reply is wanted; what was said of no known length is long.
            Some(command) => {
                let flags = if command & 0x20 != 0 { 0x10 } else { 0 };
                let mut body = body.to_vec();
                body.resize(body.len() + [0, 70_000][usize::from(command >> 7)], 0);
                message(id, (command & 0x1f).into(), flags, &body)
            }
            None => body.to_vec(),
        };
        match all.last_mut() {
            Some(Sending { bytes: before, .. }) if what & 0x10 != 0 && fds.is_empty() => {
                before.extend(bytes);
            }
            _ if what & 0x20 != 0 && bytes.len() > 1 => {
                let (head, tail) =
                    bytes.split_at(1 + usize::from(what >> 6) * (bytes.len() - 1) / 4);
                all.push(Sending { bytes: head.to_vec(), fds });
                all.push(Sending { bytes: tail.to_vec(), fds: Vec::new() });
            }
            _ => all.push(Sending { bytes, fds }),
        }
    }
    // A descriptor needs a byte to go with.
    all.retain(|it| !it.bytes.is_empty());
    all
}

/// A whole connection, from its first byte to its last.
pub fn session(data: &[u8]) {
    quiet::start();
    let server = server();
    let mut input = Input(data);
    let settings = input.byte();
    let mut sendings = sendings(&mut input, settings & 0x80 == 0);
    let mut stream: Vec<u8> = sendings.iter().flat_map(|it| it.bytes.clone()).collect();
    let length = stream.len();
    let mut wanted = expected(&mut stream);
    if stream.len() > length {
        sendings.push(Sending { bytes: stream[length..].to_vec(), fds: Vec::new() });
    }
    if !wanted.ends {
        sendings.push(last(&mut wanted));
    }
    let before = descriptors();
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    let id = server.ask(move |event_loop| {
        let endpoint = Endpoint::connected(device(settings & 7), theirs);
        event_loop.add(endpoint).expect("it can be watched")
    });
    let answers = exchange_on(ours, &sendings, &server.samples, &wanted.replies, wanted.ends);
    let verdict = answers.and_then(|answers| judge(&wanted, &answers));
    verdict.unwrap_or_else(|what| panic!("{what}"));
    // Gone, if it has panicked.
    let gone = server.ask(move |event_loop| event_loop.remove(id).map(Endpoint::shut_down));
    assert!(gone.is_some() && !server.faulted.load(Ordering::SeqCst), "the device panicked");
    let largest = counting::largest();
    assert!(largest <= LARGEST, "{largest} bytes at once");
    become_closed(before);
}

/// Waits until so many descriptors are open as before: what is not known to wait for nobody is closed by another thread.
pub fn become_closed(before: usize) {
    let soon = |times, rest: fn()| {
        (0..times).any(|_| {
            rest();
            descriptors() == before
        })
    };
    // Most are closed at once.
    if !soon(100, std::thread::yield_now)
        && !soon(10_000, || std::thread::sleep(Duration::from_millis(1)))
    {
        let all = std::fs::read_dir("/proc/self/fd").expect("proc").flatten();
        let all: Vec<_> = all.map(|it| std::fs::read_link(it.path())).collect();
        panic!("descriptors that are not {before}: {all:?}");
    }
}

/// Asks up to 20 times. As time goes by for those who are stopped too, it says nothing by itself.
pub fn patiently<T>(ask: impl FnMut() -> Option<T>) -> Option<T> {
    std::iter::repeat_with(ask).take(20).flatten().next()
}

/// How many this process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}
