//! The port on the terminal, or on whatever standard input and output are.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::card::{Card, PATIENCE, error};
use crate::vfio::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mdev-user");

#[test]
fn standard_output_has_what_the_guest_sends_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "mtty-1", "--serial0", "stdio", "--once", "--socket-path"]).arg(&socket);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
    }
    let mut guest = Client::negotiated(&socket);
    guest.write(0, 4, &[3]); // MCR: DTR, RTS
    guest.write(0, 0, b"A");
    keyboard.write_all(b"B").unwrap();
    while guest.read(0, 5, 1)[0] & 1 == 0 {
        assert!(Instant::now() < deadline, "nothing arrives");
    }
    assert_eq!(guest.read(0, 0, 1), b"B");
    drop(guest);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"A");
    assert!(error(&output).starts_with("mdev-user: vfio0 (mtty-1) is ready on "));
}

/// What appears on a terminal in which the program is asked to leave by what is typed.
fn terminal(typed: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let script = format!(
        "echo before $(stty -g); {PROGRAM} serve mtty-1 --serial0 stdio --socket-path {}; \
         echo status $?; echo after $(stty -g)",
        socket.display()
    );
    let mut command = Command::new("script");
    command.args(["-qefc", &script, "/dev/null"]).env("SHELL", "/bin/sh");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut buffer, mut done) = (Vec::new(), [0; 1024], false);
    while let Ok(count @ 1..) = screen.read(&mut buffer) {
        shown.extend(&buffer[..count]);
        if !done && String::from_utf8_lossy(&shown).contains("-device") {
            keyboard.write_all(typed).unwrap();
            done = true;
        }
    }
    child.wait().unwrap();
    assert!(!socket.exists(), "the socket is left behind");
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn the_escape_leaves_and_the_terminal_is_as_before_but_ctrl_c_is_the_guests() {
    let shown = terminal(b"\x03\x01x");
    let after = |word: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(word));
        line.unwrap_or_else(|| panic!("{shown}")).trim().to_owned()
    };
    assert_eq!(after("status "), "0", "{shown}");
    assert_eq!(after("before "), after("after "), "{shown}");
    assert!(!shown.contains("SIGINT"), "{shown}");
}

#[test]
fn a_port_that_was_paced_takes_its_time() {
    let mut card = Card::start(&["--pace", "on"]);
    // 300 baud: a character takes 33 ms.
    for (register, value) in [(3, 0x83), (0, 0x80), (1, 0x01), (3, 0x03)] {
        card.write(0, register, value);
    }
    let begun = Instant::now();
    card.send(0, b"ten chars.");
    assert_eq!(card.hear(0, 10), b"ten chars.");
    assert!(begun.elapsed().as_millis() >= 9 * 33, "{:?}", begun.elapsed());
}
