//! Enemies at the control socket. What each request is answered is in `tests/cli/view`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::handing::{answer, refusal, send};
use crate::managed::soon;

/// Asks for what there is, as somebody who means well.
fn asks(arena: &Arena) {
    assert!(arena.managed.say(&["list"]).ok().contains(&arena.attacked.uuid));
}

fn control(arena: &Arena) -> UnixStream {
    let stream = UnixStream::connect(arena.managed.path("control")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn a_line_that_is_too_long() {
    let arena = Arena::start();
    let told = "said a line of more than 65536 bytes, and is let go";
    let log = arena.withstands(told, |arena| {
        for _ in 0..50 {
            let mut client = control(arena);
            // It may be let go before all of it is taken.
            let _ = client.write_all(&[b'{'; 100_000]);
            let mut said = String::new();
            let _ = client.read_to_string(&mut said);
            assert!(said.is_empty() || said.contains("a line is at most 65536 bytes"), "{said}");
        }
        asks(arena);
    });
    let told = log.iter().filter(|line| line.contains(told)).count();
    assert!((1..=50).contains(&told), "{log:#?}");
}

#[test]
fn one_that_takes_no_answers() {
    let arena = Arena::start();
    arena.withstands("control socket: a client", |arena| {
        let deaf = control(arena);
        deaf.set_nonblocking(true).unwrap();
        let questions = "{\"verb\": \"list\"}\n".repeat(1000);
        while (&deaf).write(questions.as_bytes()).is_ok() {}
        asks(arena);
        soon("it is told", || arena.log().iter().any(|line| line.contains("takes no answers")));
        asks(arena);
    });
}

#[test]
fn one_that_says_a_byte_a_second_and_many_that_say_nothing() {
    let arena = Arena::start();
    arena.is_not_told_of(|arena| {
        let mut slow = control(arena);
        let silent: Vec<_> = (0..200).map(|_| control(arena)).collect();
        for byte in b"{\"v" {
            slow.write_all(&[*byte]).unwrap();
            asks(arena);
            thread::sleep(Duration::from_secs(1));
        }
        slow.write_all(b"erb\": \"list\"}\n").unwrap();
        let mut answer = String::new();
        BufReader::new(&slow).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"ok\""), "{answer}");
        drop(silent);
    });
}

fn change(arena: &Arena, fd: Value) -> String {
    let device = arena.neighbour().node();
    json!({ "verb": "set", "device": device, "options": { "edid": "mine" }, "fd": fd }).to_string()
}

#[test]
fn descriptors_that_would_keep_who_reads_them_waiting() {
    let arena = Arena::start();
    arena.is_not_told_of(|arena| {
        let fifo = arena.managed.directory().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let fifo = File::options().read(true).write(true).open(fifo).unwrap();
        let pipe = std::io::pipe().unwrap();
        let (silent, _peer) = UnixStream::pair().unwrap();
        let client = control(arena);
        let (zero, directory) = (File::open("/dev/zero").unwrap(), File::open("/").unwrap());
        let fds = [fifo.as_fd(), pipe.0.as_fd(), silent.as_fd(), zero.as_fd(), directory.as_fd()];
        let line = change(arena, json!("edid")) + "\n";
        for fd in fds.iter().cycle().take(200) {
            send(&client, line.as_bytes(), &[*fd]);
            assert_eq!(refusal(&answer(&client)), "EINVAL: mine is no regular file");
        }
        asks(arena);
    });
}

#[test]
fn floods_of_descriptors_with_lines_and_with_pieces_of_lines() {
    let arena = Arena::start();
    let told = "sent more descriptors than one with a line; they are closed";
    let log = arena.withstands(told, |arena| {
        let file = File::open("/proc/self/exe").unwrap();
        let most: Vec<BorrowedFd<'_>> = vec![file.as_fd(); 253];
        let line = change(arena, json!("edid")) + "\n";
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let client = control(arena);
                    for _ in 0..100 {
                        send(&client, line.as_bytes(), &most);
                        let refused = refusal(&answer(&client));
                        let words = "EINVAL: more descriptors than one came with the line";
                        assert_eq!(refused, words);
                    }
                });
            }
        });
        // Each byte of a line that does not end, on connections that stay.
        let slow: Vec<_> = (0..50).map(|_| control(arena)).collect();
        for client in &slow {
            line.trim_end().bytes().for_each(|byte| send(client, &[byte], &most[..2]));
        }
        asks(arena);
        soon("none is held", || arena.managed.held().0 < 50 + 60);
        let last = slow.last().unwrap();
        send(last, b"\n", &[]);
        let words = "EINVAL: more descriptors than one came with the line";
        assert_eq!(refusal(&answer(last)), words);
        // The others leave in the middle.
        drop(slow);
        asks(arena);
    });
    let told = log.iter().filter(|line| line.contains(told)).count();
    assert!((1..=60).contains(&told), "{log:#?}");
}
