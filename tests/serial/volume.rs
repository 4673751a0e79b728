//! A lot of bytes, and peers that stop and go on at any time.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::card::{Card, DR, FCR, IER, IIR, LSR, PATIENCE, THRE};
use crate::random::Random;

const COUNT: usize = 256 << 10;

fn bytes(seed: u64) -> Vec<u8> {
    let mut random = Random::of(seed, 0);
    (0..COUNT).map(|_| random.next().to_le_bytes()[0]).collect()
}

/// Reads all of it, with a pause now and then, in pieces of any length.
fn read_all(peer: &mut UnixStream, seed: u64) -> Vec<u8> {
    let mut random = Random::of(seed, 0);
    let (mut read, mut piece) = (Vec::new(), vec![0; 20_000]);
    while read.len() < COUNT {
        pause(&mut random);
        let most = 1 + random.below(20_000);
        let count = peer.read(&mut piece[..most]).unwrap();
        assert_ne!(count, 0, "the end after {} bytes", read.len());
        read.extend(&piece[..count]);
    }
    read
}

fn write_all(peer: &mut UnixStream, mut rest: &[u8], seed: u64) {
    let mut random = Random::of(seed, 0);
    while !rest.is_empty() {
        pause(&mut random);
        let most = rest.len().min(1 + random.below(20_000));
        match peer.write(&rest[..most]) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => panic!("{error}"),
        }
    }
}

fn pause(random: &mut Random) {
    if random.once_in(8) {
        thread::sleep(Duration::from_millis(random.next() % 40));
    }
}

#[test]
fn a_quarter_of_a_mebibyte_each_way_on_both_ports_at_once_arrives_whole() {
    let mut card = Card::start(&["--serial0", "unix:DIR/zero", "--serial1", "unix:DIR/one"]);
    for port in 0..2 {
        card.write(port, FCR, 0xc1);
        card.write(port, IER, 0x01);
    }
    thread::scope(|scope| {
        let mut hosts = Vec::new();
        for (port, name) in [(0, "zero"), (1, "one")] {
            let mut reader = card.connect(name);
            let mut writer = reader.try_clone().unwrap();
            hosts.push(scope.spawn(move || read_all(&mut reader, 10 + port)));
            scope.spawn(move || write_all(&mut writer, &bytes(20 + port), 30 + port));
        }
        // The guest: whatever can be moved is, a FIFO at most at a time.
        let out = [bytes(40), bytes(41)];
        let (mut sent, mut heard) = ([0; 2], [Vec::new(), Vec::new()]);
        let mut before = [(0, 0); 2];
        let mut moved = Instant::now();
        while sent != [COUNT; 2] || heard.iter().any(|heard| heard.len() != COUNT) {
            assert!(moved.elapsed() < PATIENCE, "it stands still: {sent:?}");
            for port in 0..2usize {
                let number = u32::try_from(port).unwrap();
                let status = card.read(number, LSR);
                assert_eq!(status & 0x9e, 0, "errors in LSR after {}", heard[port].len());
                // The trigger level is 14.
                let ready = match card.read(number, IIR) & 0x0f {
                    0x04 => 14,
                    _ => usize::from(status & DR),
                };
                heard[port].extend(card.read_burst(number, ready));
                if status & THRE != 0 {
                    let end = (sent[port] + 16).min(COUNT);
                    card.write_burst(number, &out[port][sent[port]..end]);
                    sent[port] = end;
                }
                let now = (sent[port], heard[port].len());
                if std::mem::replace(&mut before[port], now) != now {
                    moved = Instant::now();
                }
            }
        }
        for (port, host) in hosts.into_iter().enumerate() {
            let read = host.join().unwrap();
            assert!(read == out[port], "from the guest, port {port}");
            assert!(heard[port] == bytes(20 + port as u64), "to the guest, port {port}");
        }
    });
    for port in 0..2 {
        let info = card.info(port);
        assert_eq!((&info["bytes_sent"], &info["bytes_received"]), (&COUNT.into(), &COUNT.into()));
        assert_eq!(info["history_dropped"], 0);
    }
}
