//! Clients that say what no client should, or nothing, or too much, at a device or at the control socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::clients::{CONFIG, KINDS, arrive, junk, stream};
use crate::managed::Made;
use crate::stage::Turn;
use crate::vfio::{self, Client, NO_REPLY, command};

/// In a burst.
const MANY: usize = 2000;

type Deed = fn(&mut Turn<'_>, &Made);

const DEEDS: [(&str, Deed); 11] = [
    ("garbage instead of VERSION", |turn, made| {
        let bytes = some(turn, 5000);
        spoil(&made_stream(made), &bytes);
    }),
    ("garbage behind VERSION", |turn, made| {
        let (client, bytes) = (arrive(&made.socket), some(turn, 20000));
        spoil(&client.socket, &bytes);
    }),
    ("messages that make no sense", nonsense),
    ("half a message, and silence", half),
    ("a flood of stores", |_, made| {
        let store = vfio::access(CONFIG, 0x3c, 1, &[1]);
        flood(made, &vfio::message(1, command::REGION_WRITE, NO_REPLY, &store));
    }),
    ("a flood of reads, answers not taken", |_, made| {
        flood(made, &vfio::message(1, command::REGION_READ, 0, &vfio::access(CONFIG, 0, 256, &[])));
    }),
    ("descriptors that nobody wants", descriptors),
    ("a storm of connections", |turn, made| {
        let most = 1 + turn.random.below(100);
        let all: Vec<_> = (0..most).filter_map(|_| stream(&made.socket)).collect();
        turn.rest(50);
        drop(all);
    }),
    ("garbage to the control socket", |turn, _| garbage_line(turn)),
    ("a long line to the control socket", |turn, _| {
        let line = vec![b'x'; 60_000 + turn.random.below(20_000)];
        spoil(&control(turn), &line);
    }),
    ("questions whose answers are not taken", |turn, _| {
        let line = "{\"verb\":\"types\"}\n".repeat(200);
        spoil(&control(turn), line.as_bytes());
    }),
];

/// One deed after the other, at one device; which then serves as if nothing had been.
pub fn act(turn: &mut Turn<'_>) {
    let kind = turn.random.pick(&KINDS);
    let made = turn.create(kind);
    for _ in 0..1 + turn.random.below(8) {
        let (what, deed) = turn.random.pick(&DEEDS);
        deed(turn, &made);
        turn.stage.did("hostile acts", 1);
        let begin = Instant::now();
        let mut client = arrive(&made.socket);
        client.still_in_step();
        assert_eq!(client.read(CONFIG, 0, 4).len(), 4);
        let time = begin.elapsed();
        assert!(time < Duration::from_secs(20), "after {what} it takes {time:?} to be served");
        turn.rest(100);
    }
    turn.remove(&made);
}

fn some(turn: &mut Turn<'_>, most: usize) -> Vec<u8> {
    (0..1 + turn.random.below(most)).map(|_| turn.random.next() as u8).collect()
}

fn made_stream(made: &Made) -> UnixStream {
    stream(&made.socket).expect("a device's socket")
}

fn control(turn: &Turn<'_>) -> UnixStream {
    stream(&turn.managed().path("control")).expect("the control socket")
}

/// Says it, as far as it is heard, and hears a little.
fn spoil(mut socket: &UnixStream, bytes: &[u8]) {
    let _ = socket.set_write_timeout(Some(Duration::from_millis(200)));
    let _ = socket.set_read_timeout(Some(Duration::from_millis(20)));
    let mut answer = [0; 1000];
    match socket.write_all(bytes).and_then(|()| socket.read(&mut answer)) {
        Ok(_) => {}
        Err(error) => {
            let usual = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::WouldBlock];
            assert!(usual.contains(&error.kind()), "{error}");
        }
    }
}

/// Well formed headers, bodies of anything.
fn nonsense(turn: &mut Turn<'_>, made: &Made) {
    let client = arrive(&made.socket);
    let mut bytes = Vec::new();
    for _ in 0..1 + turn.random.below(200) {
        let body = some(turn, 100);
        let (command, flags) = (turn.random.below(22) as u16, turn.random.below(64) as u32);
        bytes.extend(vfio::message(turn.random.next() as u16, command, flags, &body));
    }
    spoil(&client.socket, &bytes);
}

fn half(turn: &mut Turn<'_>, made: &Made) {
    let client = arrive(&made.socket);
    let size = 16 + turn.random.below(1 << 20) as u32;
    let mut bytes = vfio::header(1, command::REGION_WRITE, size, 0);
    let body = turn.random.below(1000);
    bytes.resize(16 + body, 0);
    bytes.truncate(1 + turn.random.below(bytes.len()));
    spoil(&client.socket, &bytes);
    turn.rest(500);
}

fn flood(made: &Made, message: &[u8]) {
    let client = arrive(&made.socket);
    spoil(&client.socket, &message.repeat(MANY));
}

fn descriptors(turn: &mut Turn<'_>, made: &Made) {
    let file = junk();
    let count = 1 + turn.random.below(253);
    let mut client = match turn.random.once_in(2) {
        true => arrive(&made.socket),
        false => Client::connect(&made.socket),
    };
    let fds = vec![file.as_fd(); count];
    let read = vfio::message(1, command::REGION_READ, 0, &vfio::access(CONFIG, 0, 4, &[]));
    let some = 1 + turn.random.below(read.len());
    client.send_raw_with_fds(&read[..some], &fds);
}

fn garbage_line(turn: &mut Turn<'_>) {
    let socket = control(turn);
    let mut line = some(turn, 300);
    line.retain(|byte| *byte != b'\n');
    // An empty line is one too.
    line.push(b'\n');
    (&socket).write_all(&line).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    BufReader::new(&socket).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("{\"error\":"), "{line:?} is answered {answer:?}");
}
