//! The port on the terminal, or on whatever standard input and output are.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use crate::card::{Card, PATIENCE, error};
use crate::terminal::Terminal;
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

fn serve() -> Terminal {
    let mut terminal =
        Terminal::start("serve mtty-1 --serial0 stdio --once --socket-path DIR/socket");
    terminal.until("-device");
    terminal
}

#[test]
fn the_escape_leaves_and_the_terminal_is_as_before_but_ctrl_c_is_the_guests() {
    let mut terminal = serve();
    terminal.type_(b"\x03\x1c\x1a\x01x");
    let shown = terminal.ends("0");
    assert!(!shown.contains("SIGINT"), "{shown}");
}

#[test]
fn breaks_that_are_typed_keep_their_place_among_the_bytes() {
    let mut terminal = serve();
    let mut guest = Client::negotiated(&terminal.path("socket"));
    guest.write(0, 3, &[3]); // LCR: 8N1
    guest.write(0, 4, &[3]); // MCR: DTR, RTS
    let deadline = Instant::now() + PATIENCE;
    // The receiver takes one after the other, and all that there is.
    for fifos in [0, 1] {
        guest.write(0, 2, &[fifos]);
        terminal.type_(b"a\x01bc\x01b\x01bde");
        let mut received = Vec::new();
        while received.len() < 7 {
            assert!(Instant::now() < deadline, "nothing more arrives: {received:x?}");
            let status = guest.read(0, 5, 1)[0];
            if status & 1 != 0 {
                received.push((status & 0x1e, guest.read(0, 0, 1)[0]));
            }
        }
        let (byte, a_break) = (|byte| (0, byte), (0x18, 0));
        let expected = [byte(b'a'), a_break, byte(b'c'), a_break, a_break, byte(b'd'), byte(b'e')];
        assert_eq!(received, expected, "FCR {fifos}");
    }
    drop(guest);
    terminal.ends("0");
}

#[test]
fn the_terminal_is_as_before_after_each_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut terminal = serve();
        terminal.signal(signal);
        terminal.ends("0");
    }
}

#[test]
fn the_terminal_is_as_before_when_the_client_is_killed() {
    let terminal = serve();
    // To the server it is the same.
    drop(Client::negotiated(&terminal.path("socket")));
    terminal.ends("0");
}

#[test]
fn the_terminal_is_as_before_when_the_command_of_run_is_killed_and_raw_until_then() {
    let command = r#"run mtty-1,serial0=stdio -- sh -c "echo meanwhile \$(stty -g < /dev/tty); kill -9 \$\$""#;
    let terminal = Terminal::start(command);
    let shown = terminal.ends("137");
    let modes = |word: &str| shown.lines().find_map(|line| line.strip_prefix(word).map(str::trim));
    assert!(modes("meanwhile ").is_some_and(|modes| modes.contains(':')), "{shown}");
    assert_ne!(modes("meanwhile "), modes("before "), "{shown}");
}

#[test]
fn the_terminal_is_as_before_when_there_is_no_command_to_run() {
    Terminal::start("run mtty-1,serial0=stdio -- /no/such/program").ends("127");
}

#[test]
fn standard_input_and_output_are_the_guests_and_not_the_commands() {
    let mut command = Command::new(PROGRAM);
    let script = "read line; echo $? $line; echo said >&2; exit 5";
    command.args(["run", "mtty-1,serial0=stdio", "--", "sh", "-c", script]);
    let input = Stdio::from(fs::File::open("/dev/zero").unwrap());
    let output = command.stdin(input).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), &b""[..]));
    assert_eq!(error(&output), "1\nsaid\n");
}

#[test]
fn two_devices_cannot_both_have_it() {
    let mut command = Command::new(PROGRAM);
    let output =
        command.args(["run", "mtty-1,serial0=stdio", "mtty-2,serial1=stdio", "--", "true"]);
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        error(&output),
        "mdev-user: device 2 of 2: serial1: stdio is in use by another port; only one can have it\n"
    );
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
