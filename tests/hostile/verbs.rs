//! Enemies at the control socket. What each request is answered is in `tests/cli/view`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::arena::Arena;
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
    arena.withstands("is using the device", |arena| {
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
        arena.use_it();
    });
}
