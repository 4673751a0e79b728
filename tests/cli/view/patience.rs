//! How long `mdev-user wait` and `screenshot` wait for a server that is slow, gone or not there yet, and what for.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::fs::SealFlags;
use rustix::process::Signal;

use super::server::{Server, memory, plane, shows};
use super::wait::still_waits;
use super::{Display, asking};
use crate::{complaint, end, say};

#[test]
fn many_slow_answers_take_no_longer_than_the_timeout_or_ten_seconds() {
    // Each answer in time, and each another picture.
    let slow = || {
        Server::new(|number| {
            std::thread::sleep(Duration::from_millis(900));
            let plane = plane([2, 2, 8, 0, number as u64]);
            Some((shows(&plane), vec![memory(&[0; 16], SealFlags::SHRINK)]))
        })
    };
    let (waited_for, shot) = (slow(), slow());
    let begun = Instant::now();
    let shooting = asking("screenshot", &shot.path())
        .arg("/dev/null")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = say(asking("wait", &waited_for.path()).args(["--not-blank", "--timeout", "2s"]));
    assert!(complaint(&said, 1).ends_with(
        "does not answer: no answer came within 2s; see what keeps it, or start it again"
    ));
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    // Within 20 s, or the test fails.
    assert!(complaint(&end(shooting), 1).contains("no answer came within 10s; see"));
}

#[test]
fn a_picture_that_was_seen_before_the_server_stalled_is_told_of() {
    let display = Display::vga();
    display.clear();
    let waiting = {
        let mut command = asking("wait", &display.control());
        command.args(["--not-blank", "--timeout", "6s"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    // Long enough for a look, and three quarters of the time are left.
    std::thread::sleep(Duration::from_millis(1500));
    display.program.signal(Signal::STOP);
    let said = end(waiting);
    display.program.signal(Signal::CONT);
    let line = complaint(&said, 1);
    let words =
        "vfio0 did not come to show what is waited for within 6s, and has not been seen for ";
    assert!(line.starts_with(words), "{line}");
    assert!(line.contains("no answer came within 6s"), "{line}");
    assert!(line.contains("before that: it shows 640x480 sha256:"), "{line}");
}

#[test]
fn a_server_that_ends_or_stalls_meanwhile_ends_it_in_words() {
    let display = Display::vga();
    display.clear();
    let mut waiting = display.waiting(&["--not-blank"]);
    still_waits(&mut waiting);
    display.program.signal(Signal::TERM);
    let said = end(waiting);
    // It may ask in the very moment.
    let words = [" has ended; start it again", "EAGAIN: the server is ending"];
    let line = complaint(&said, 1);
    assert!(words.iter().any(|words| line.ends_with(words)), "{line}");

    let display = Display::vga();
    display.clear();
    display.program.signal(Signal::STOP);
    for verb in [
        &["wait", "--not-blank", "--timeout", "1s"][..],
        &["wait", "--mode", "1x1", "--timeout", "0s"],
    ] {
        let said = display.ask(verb[0], &verb[1..]);
        assert!(
            complaint(&said, 1).contains("does not answer: no answer came within 1s"),
            "{said:?}"
        );
    }
    display.program.signal(Signal::CONT);
    // It is as if nothing had been.
    assert_eq!(display.ask("wait", &["--mode", "640x480"]).status, 0);
}

#[test]
fn a_server_that_answers_byte_by_byte_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"{").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let said = say(asking("wait", &path).args(["--not-blank", "--timeout", "0s"]));
    assert!(complaint(&said, 1).contains("does not answer: no answer came within 1s"), "{said:?}");
}
