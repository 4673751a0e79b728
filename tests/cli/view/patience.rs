//! How long `mdev-user wait` and `screenshot` wait for a server that is slow, gone or not there yet, and what for.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::SealFlags;
use rustix::process::Signal;

use super::server::{Server, memory, plane, shows};
use super::wait::{fulfilled, still_waits};
use super::{Display, Line, asking, control, serve};
use crate::{complaint, end, say};

fn started(verb: &str, control: &Path, arguments: &[&str]) -> Child {
    let mut command = asking(verb, control);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A wait for any picture of an mdpy-vga.
fn waiting(control: &Path) -> Child {
    started("wait", control, &["--mode", "640x480", "--timeout", "60s"])
}

/// An answer that shows a picture, of 2 x 2 pixels.
fn dots() -> (Vec<u8>, Vec<std::os::fd::OwnedFd>) {
    (shows(&plane([2, 2, 8, 0, 0])), vec![memory(&[0; 16], SealFlags::SHRINK)])
}

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
    let shooting = started("screenshot", &shot.path(), &["/dev/null"]);
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
fn a_server_that_is_started_later_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = control(&directory);
    let mut early = waiting(&path);
    still_waits(&mut early);
    let mut program = serve("mdpy-vga", &directory);
    fulfilled(early);
    // One that was killed leaves its socket behind.
    program.signal(Signal::KILL);
    program.wait();
    let mut early = waiting(&path);
    still_waits(&mut early);
    let _program = serve("mdpy-vga", &directory);
    fulfilled(early);
}

#[test]
fn a_place_among_the_connections_is_waited_for() {
    let display = Display::vga();
    let path = display.control();
    let mut lines: Vec<_> = (0..16).map(|_| Line::connect(&path)).collect();
    for line in &mut lines {
        assert!(line.ask(r#"{"verb": "info"}"#).get("ok").is_some());
    }
    let mut one_more = waiting(&path);
    still_waits(&mut one_more);
    drop(lines);
    fulfilled(one_more);
}

#[test]
fn a_server_that_says_to_try_again_is_asked_again() {
    let again = r#"{"error": {"errno": "EAGAIN", "message": "the server did not come to it"}}"#;
    let server = Server::new(move |number| match number {
        0 | 1 | 3 => Some((format!("{again}\n").into(), Vec::new())),
        _ => Some(dots()),
    });
    let said = say(asking("wait", &server.path()).args(["--mode", "2x2"]));
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
    // Another refusal ends it at once.
    let other = r#"{"error": {"errno": "ENODEV", "message": "it is gone"}}"#;
    let server = Server::new(move |_| Some((format!("{other}\n").into(), Vec::new())));
    let said = say(asking("wait", &server.path()).args(["--mode", "2x2"]));
    assert_eq!(complaint(&said, 1), "ENODEV: it is gone");
}

#[test]
fn a_server_that_stalls_for_less_than_the_timeout_is_waited_for() {
    // For longer than `screenshot` would.
    let server = Server::new(move |number| {
        if number == 0 {
            std::thread::sleep(Duration::from_secs(11));
        }
        Some(dots())
    });
    let said = say(asking("wait", &server.path()).args(["--mode", "2x2"]));
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");
}

#[test]
fn a_picture_that_was_seen_before_the_server_stalled_is_told_of() {
    let display = Display::vga();
    display.clear();
    let waiting = started("wait", &display.control(), &["--not-blank", "--timeout", "6s"]);
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

#[test]
fn a_server_that_accepts_nobody_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // There is room for one that waits, and no more.
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let said = say(asking("wait", &path).args(["--not-blank", "--timeout", "0s"]));
    assert!(complaint(&said, 1).contains("does not answer: no answer came within 1s"), "{said:?}");
}

#[test]
fn half_of_a_cpu_is_left_to_the_guest() {
    // So large that a look takes far longer than the shortest pause.
    let bytes = memory(&vec![0; 2048 * 2048 * 4], SealFlags::SHRINK);
    let server = Server::new(move |_| {
        Some((shows(&plane([2048, 2048, 8192, 0, 0])), vec![bytes.try_clone().unwrap()]))
    });
    let arguments = ["--stable", "100s", "--timeout", "200s"];
    let mut child = started("wait", &server.path(), &arguments);
    let busy = || {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", child.id())).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    };
    std::thread::sleep(Duration::from_millis(500));
    let (begun, before) = (Instant::now(), busy());
    std::thread::sleep(Duration::from_secs(3));
    let (share, all) = (busy() - before, begun.elapsed());
    child.kill().unwrap();
    child.wait().unwrap();
    // A look may have begun just before that.
    assert!(share > Duration::ZERO && share < all * 6 / 10, "{share:?} of {all:?}");
}
