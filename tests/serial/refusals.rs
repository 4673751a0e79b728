//! Specifications that are wrong, and ends that cannot be opened.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::card::{PATIENCE, error};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mdev-user");

/// What the program says, which ends at once, or is ended.
fn ends(mut command: Command, options: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    command.args(["serve", "mtty-2", "--socket-path"]).arg(directory.path().join("socket"));
    command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refused(options: &[&str], status: i32, words: &str) {
    refused_of(Command::new(PROGRAM), options, status, words);
}

#[track_caller]
fn refused_of(command: Command, options: &[&str], status: i32, words: &str) {
    let output = ends(command, options);
    let text = error(&output);
    assert_eq!(output.status.code(), Some(status), "{options:?}: {text}");
    assert_eq!((text.lines().count(), output.stdout.len()), (1, 0), "{text}");
    assert!(text.starts_with("mdev-user: ") && text.contains(words), "{options:?}: {text}");
    assert!(!text.contains("os error"), "{text}");
}

#[test]
fn a_wrong_specification_ends_with_2_and_says_what_would_be_right() {
    for (spec, words) in [
        ("", "serial0: \"\" is no back end; there are loopback, crossover, null, pty, unix:PATH"),
        ("serial", "serial0: \"serial\" is no back end; there are loopback"),
        ("unix", "serial0: unix needs the path of a socket: write unix:PATH"),
        ("unix:", "serial0: unix needs the path of a socket: write unix:PATH"),
        ("unix:/x,server=1", "serial0: server is on or off, not \"1\""),
        ("unix:/x,server=on,", "serial0: there is a comma too many"),
        ("unix:/x,server=off,wait=on", "serial0: server=off and wait exclude each other"),
        ("unix:/x,abstract=on", "serial0: unix has no option \"abstract\"; it takes server=on|off"),
        ("null,logfile=", "serial0: logfile needs a value: write logfile=PATH"),
        ("null,history=99999999999999999999", "serial0: history is a number from 0 to 16777216"),
        ("unix:/x,baud=9600", "serial0: unix has no option \"baud\"; it takes server=on|off"),
        ("tcp:99999", "serial0: tcp needs a host and a port"),
        ("tcp::99999", "serial0: \"99999\" is no TCP port"),
        ("null:x", "serial0: null takes nothing behind a colon"),
        ("null,history=16777217", "serial0: history is a number from 0 to 16777216"),
        ("null,logappend=on", "serial0: logappend says nothing without logfile=PATH"),
    ] {
        refused(&["--serial0", spec], 2, words);
    }
    refused(&["--serial0", "null", "--serial1", "crossover"], 2, "crossover joins both ports");
    refused(&["--serial0", "stdio", "--serial1", "stdio"], 2, "stdio can be had by one port only");
    let twice = "serial0 and serial1 cannot both listen on /x; give each a place of its own";
    refused(&["--serial0", "unix:/x", "--serial1", "unix:/x,wait=on"], 2, twice);
    refused(&["--serial0", "tcp::7", "--serial1", "tcp::7"], 2, "cannot both listen on");
    refused(&["--serial0", "null", "--serial0", "null"], 2, "--serial0");
    refused(&["--pace", "fast"], 2, "pace is on or off, not 'fast'");
}

#[test]
fn what_cannot_be_opened_ends_with_1_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let taken = std::os::unix::net::UnixListener::bind(path("taken")).unwrap();
    fs::write(path("full"), "precious").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let long = "x".repeat(120);
    for spec in [
        format!("unix:{}", path("taken")),
        format!("unix:{}", path("none/socket")),
        format!("file:{}", path("no\nline/\x1b[31m")),
        format!("unix:{}", path(&long)),
        format!("unix:{}", path("")),
        format!("unix:{},server=off", path("none")),
        format!("file:{}", path("full")),
        format!("file:{}", path("")),
        format!("file:{}", path("none/file")),
        format!("pipe:{}", path("none")),
        format!("pty,path={}", path("full")),
        format!("null,logfile={}", path("full")),
        format!("tcp:{}", port.local_addr().unwrap()),
    ] {
        refused(&["--serial0", &spec], 1, "serial0: ");
    }
    assert_eq!(fs::read_to_string(path("full")).unwrap(), "precious");
    drop(taken);
}

#[test]
fn two_ports_cannot_have_one_path() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    for end in ["pipe.in", "pipe.out"] {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, directory.path().join(end), FileType::Fifo, mode, 0).unwrap();
    }
    std::os::unix::fs::symlink(".", directory.path().join("link")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let free = free.port().to_string();
    let [zero, one] = ["a", "link/a"].map(|name| format!("unix:{here}/{name}"));
    let words =
        format!("serial1 and serial0 are the same, {here}/link/a, and it takes two sockets");
    refused(&["--serial0", &zero, "--serial1", &one], 2, &words);
    assert!(!directory.path().join("a").exists());
    for (zero, one, words) in [
        (
            "unix:DIR/b",
            "file:DIR/b",
            "cannot open DIR/b: it is a FIFO that nobody reads, or a socket",
        ),
        ("pty,path=DIR/c", "pty,path=DIR/c", "DIR/c exists and is left alone"),
        ("file:DIR/d", "file:DIR/d", "DIR/d is in use by another port"),
        ("file:DIR/e", "null,logfile=DIR/e", "DIR/e is in use by another port"),
        ("null,logfile=DIR/f", "loopback,logfile=DIR/f", "DIR/f is in use by another port"),
        ("file:DIR/g", "unix:DIR/g", "DIR/g exists and is not a socket"),
        ("pipe:DIR/pipe", "pipe:DIR/pipe", "DIR/pipe.in is in use by another port"),
        ("tcp:127.0.0.1:FREE", "tcp:127.1:FREE", "the port is in use"),
    ] {
        let [zero, one, words] =
            [zero, one, words].map(|text| text.replace("DIR", here).replace("FREE", &free));
        refused(&["--serial0", &zero, "--serial1", &one], 1, &words);
        // What the first one had made is gone, but for files, in which there is nothing.
        for name in ["b", "c"] {
            assert!(fs::symlink_metadata(directory.path().join(name)).is_err(), "{zero}");
        }
    }
}

#[test]
fn what_may_not_be_opened_is_named_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let here = directory.path().display();
    // Another path, and no file system's border between: whoever is asked may not be able to reach the program.
    fs::copy(PROGRAM, path("program")).unwrap();
    fs::write(path("theirs"), "precious").unwrap();
    fs::write(path("empty"), "").unwrap();
    for (name, mode) in [("theirs", 0o444), ("empty", 0o444), ("program", 0o555), ("", 0o555)] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (spec, words) in [
        (format!("unix:{here}/new"), format!("you may not make files in {here}; use another")),
        (format!("file:{here}/new"), format!("you may not make files in {here}; use another")),
        (format!("pty,path={here}/new"), format!("you may not make files in {here}; use another")),
        (format!("file:{here}/theirs,append=on"), "you may not open it; use another path".into()),
        (format!("null,logfile={here}/empty"), "you may not open it; use another path".into()),
    ] {
        let mut command = Command::new(path("program"));
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        refused_of(command, &["--serial0", &spec], 1, &words);
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fs::read_to_string(path("theirs")).unwrap(), "precious");
}
