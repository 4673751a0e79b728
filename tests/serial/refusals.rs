//! Specifications that are wrong, and ends that cannot be opened.

use std::process::{Command, Stdio};

use crate::card::error;

fn serve(options: &[&str]) -> std::process::Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
    command.args(["serve", "mtty-2", "--socket-path"]).arg(directory.path().join("socket"));
    command.args(options).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn refused(options: &[&str], status: i32, words: &str) {
    let output = serve(options);
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
        ("unix:/x,server=yes", "serial0: server is on or off, not \"yes\""),
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
    refused(&["--pace", "fast"], 2, "pace is on or off, not 'fast'");
}

#[test]
fn what_cannot_be_opened_ends_with_1_and_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let taken = std::os::unix::net::UnixListener::bind(path("taken")).unwrap();
    std::fs::write(path("full"), "precious").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let long = "x".repeat(120);
    for spec in [
        format!("unix:{}", path("taken")),
        format!("unix:{}", path("none/socket")),
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
    assert_eq!(std::fs::read_to_string(path("full")).unwrap(), "precious");
    drop(taken);
}
