//! `mdev-user run`: what the command gets, and how both end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Said, end, mdev_user, say, socket_of, soon};

/// `run` with devices and a shell's script as the command, and where its sockets are.
fn run(devices: &[&str], script: &str) -> (std::process::Command, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = mdev_user(&["run"]);
    command.args(devices).args(["--", "/bin/sh", "-c", script, "sh"]);
    command.env("XDG_RUNTIME_DIR", directory.path());
    (command, directory)
}

#[track_caller]
fn nothing_is_left(directory: &TempDir) {
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "left behind");
}

#[test]
fn the_commands_status_becomes_its_own() {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 128 + 9),
        ("kill -TERM $$", 128 + 15),
    ] {
        let (mut command, directory) = run(&["mtty-1"], script);
        let said = say(&mut command);
        assert_eq!((said.status, said.err.as_str()), (status, ""), "{script}");
        nothing_is_left(&directory);
    }
}

#[test]
fn each_device_is_an_argument_at_the_end_in_the_order_given() {
    let (mut command, directory) = run(&["mtty-2", "mtty-1"], "printf '%s\\n' \"$@\"");
    let said = say(command.args(["-m", "512"]));
    let words: Vec<&str> = said.out.lines().collect();
    assert_eq!((words.len(), &words[..3]), (6, &["-m", "512", "-device"][..]), "{said:?}");
    assert_eq!(words[4], "-device");
    let [first, second] = [socket_of(words[3]), socket_of(words[5])];
    assert!(first.contains("mtty-2") && second.contains("mtty-1"), "{said:?}");
    assert!(Path::new(&first).starts_with(directory.path()), "{said:?}");
    nothing_is_left(&directory);
}

#[test]
fn the_devices_are_served_on_private_sockets_while_the_command_runs() {
    let (mut command, directory) = run(&["mtty-2", "mtty-2"], "echo $2; echo $4; read line");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let sockets: Vec<String> = lines.take(2).map(|line| socket_of(&line.unwrap())).collect();
    let clients: Vec<_> = sockets.iter().map(|path| crate::client(Path::new(path))).collect();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(Path::new(&sockets[0])), 0o600);
    assert_eq!(mode(Path::new(&sockets[0]).parent().unwrap()), 0o700);

    drop(child.stdin.take());
    assert_eq!(end(child).status, 1, "that of `read` at the end of its input");
    for mut client in clients {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "clients are let go");
    }
    nothing_is_left(&directory);
}

#[test]
fn the_command_inherits_no_descriptor_of_the_devices() {
    let (mut command, _directory) = run(&["mtty-2"], "ls -l /proc/self/fd");
    let said = say(&mut command);
    assert_eq!(said.status, 0);
    assert!(!said.out.contains("socket:") && !said.out.contains("eventpoll"), "{said:?}");
}

#[test]
fn the_command_has_the_terminal_streams_to_itself() {
    let (mut command, _directory) = run(&["mtty-1"], "cat; echo complaint >&2");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"through\n").unwrap();
    drop(input);
    let said = end(child);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("through\n", "complaint\n"));
}

#[test]
fn its_log_keeps_out_of_the_commands_terminal_unless_asked_for() {
    let script = "echo $2; read line";
    for (level, loud) in [(None, false), (Some("info"), true)] {
        let (mut command, _directory) = run(&["mtty-1"], script);
        if let Some(level) = level {
            command.env("RUST_LOG", level);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let mut client = crate::client(Path::new(&socket_of(&line)));
        drop(child.stdin.take());
        let _ = client.read(&mut [0]);
        let said = end(child);
        assert_eq!(said.err.contains("INFO  vfio0 (mtty-1)"), loud, "{said:?}");
        assert_eq!(said.err.is_empty(), !loud, "{said:?}");
    }
}

/// Sends a signal to the program alone while its command, which would tell of any, runs.
fn signalled(signal: Signal) -> Said {
    let script = "trap 'echo TERM; exit 5' TERM; trap 'echo INT; exit 6' INT; \
                  trap 'echo HUP; exit 7' HUP; echo up; i=0; \
                  while [ $i -lt 2000 ]; do sleep 0.01; i=$((i+1)); done";
    let (mut command, directory) = run(&["mtty-1"], script);
    // Should this test run in a terminal: not in its foreground.
    command.process_group(0);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut byte = [0];
    let mut word = Vec::new();
    while !word.ends_with(b"up\n") {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        word.extend(byte);
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    let said = end(child);
    nothing_is_left(&directory);
    said
}

#[test]
fn a_signal_for_the_program_alone_is_passed_on() {
    for (signal, word, status) in
        [(Signal::TERM, "TERM\n", 5), (Signal::INT, "INT\n", 6), (Signal::HUP, "HUP\n", 7)]
    {
        let said = signalled(signal);
        assert_eq!((said.status, said.out.as_str()), (status, word), "{said:?}");
        assert_eq!(said.err, "");
    }
}

#[test]
fn a_signal_that_comes_at_any_moment_leaves_nothing_behind() {
    for microseconds in (0..40).map(|step| step * 250) {
        let (mut command, directory) = run(&["mtty-1", "mtty-2"], "exec sleep 20");
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(microseconds));
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        // Of the command, or its own if it was so early that there was nothing to clean up yet.
        assert_eq!(end(child).status, 128 + 15);
        nothing_is_left(&directory);
    }
}

#[test]
fn a_runtime_directory_that_cannot_be_used_is_no_obstacle() {
    for value in ["/no/such/directory", "relative", "", "/proc"] {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = mdev_user(&["run", "mtty-1", "--", "/bin/sh", "-c", "echo $1", "sh"]);
        let said = say(command.env("XDG_RUNTIME_DIR", value).env("TMPDIR", temporary.path()));
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{value}");
        let (mut command, _) = run(&["mtty-1"], "echo $2");
        let said = say(command.env("XDG_RUNTIME_DIR", value).env("TMPDIR", temporary.path()));
        assert!(socket_of(&said.out).starts_with(temporary.path().to_str().unwrap()), "{said:?}");
        nothing_is_left(&temporary);
    }
}

#[test]
fn killed_itself_it_leaves_no_device_behind() {
    let (mut command, _directory) = run(&["mtty-1"], "echo $2; read line");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let path = socket_of(&line);
    let mut client = crate::client(Path::new(&path));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    soon("nobody listens", || std::os::unix::net::UnixStream::connect(&path).is_err());
}
