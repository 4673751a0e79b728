//! The program as its user meets it: what is typed, what is answered, what is left behind.
#![cfg(test)]

#[path = "../common/program.rs"]
mod program;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/shape.rs"]
mod shape;
#[path = "../../crates/vfio-user-server/tests/common/client.rs"]
mod vfio;

mod descriptors;
mod documents;
mod faults;
mod generated;
mod handed;
mod notify;
mod output;
mod peers;
mod refusals;
mod run;
mod serve;
mod terminal;
mod units;
mod view;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mdev-user");
const PATIENCE: Duration = Duration::from_secs(20);

/// What a program had to say, and its exit status as a shell has it.
#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

/// The program, with nothing of this test's environment that could change what it does.
fn mdev_user(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    plain(&mut command);
    command
}

/// A shell's script. `$0` is the program.
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, PROGRAM]);
    plain(&mut command);
    command
}

fn plain(command: &mut Command) {
    let variables = ["RUST_LOG", "XDG_RUNTIME_DIR", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"];
    for variable in variables {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
}

/// Runs a command to its end.
#[track_caller]
fn say(command: &mut Command) -> Said {
    end(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits for the end of a process and collects the rest of what it says.
#[track_caller]
fn end(mut child: Child) -> Said {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                panic!("it does not end");
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let text = |from: Option<&mut dyn Read>| {
        let mut text = String::new();
        from.map(|from| from.read_to_string(&mut text).unwrap());
        text
    };
    let out = text(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read));
    let err = text(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read));
    let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap();
    Said { status, out, err }
}

/// Holds it to one line of complaint, of which it returns the text.
#[track_caller]
fn complaint(said: &Said, status: i32) -> &str {
    assert_eq!(said.status, status, "{said:?}");
    assert_eq!(said.out, "", "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    assert!(!said.err.contains("os error"), "{said:?}");
    said.err.trim_end().strip_prefix("mdev-user: ").unwrap_or_else(|| panic!("{said:?}"))
}

/// Waits until `done`.
#[track_caller]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A client that has said VERSION (0.0, no capabilities) and was answered without an error. One that was dropped just
/// now may linger in a process that another test has forked and that has not called exec yet.
#[track_caller]
fn client(path: &Path) -> UnixStream {
    let mut client = None;
    soon("the device is free", || {
        let mut socket = UnixStream::connect(path).unwrap();
        match greet(&mut socket) {
            EBUSY => return false,
            answer => assert_eq!(answer, 0, "error number in the answer to VERSION"),
        }
        client = Some(socket);
        true
    });
    client.unwrap()
}

const EBUSY: u32 = 16;

/// Waits until somebody listens there: a socket's file comes before that.
#[track_caller]
fn listening(path: &Path) {
    soon("it listens", || UnixStream::connect(path).is_ok());
}

/// Says VERSION. Returns the error number of the answer.
#[track_caller]
#[expect(clippy::host_endian_bytes, reason = "vfio-user is in host order")]
fn greet(socket: &mut UnixStream) -> u32 {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut message = Vec::from(1u16.to_ne_bytes()); // message id
    message.extend(1u16.to_ne_bytes()); // command: VERSION
    message.extend(20u32.to_ne_bytes()); // size of it all
    message.extend([0; 12]); // flags: command; error; major and minor
    socket.write_all(&message).unwrap();
    let mut header = [0; 16];
    socket.read_exact(&mut header).unwrap();
    let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
    let mut rest = vec![0; word(4) as usize - header.len()];
    socket.read_exact(&mut rest).unwrap();
    word(12)
}

/// The path in a value of QEMU's `-device` option.
#[track_caller]
fn socket_of(argument: &str) -> String {
    let value: Value = serde_json::from_str(argument).unwrap_or_else(|_| panic!("{argument}"));
    assert_eq!(value["driver"], "vfio-user-pci");
    assert_eq!(value["socket"]["type"], "unix");
    value["socket"]["path"].as_str().unwrap().into()
}
