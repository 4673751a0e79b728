//! `--fault`: how it is asked for, and that it comes to pass.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use vfio_user_server::Fault;

use crate::program::Program;
use crate::{client, complaint, end, greet, mdev_user, say, socket_of, soon};

const EIO: u32 = 5;

#[test]
fn a_wrong_fault_is_named_with_what_would_be_right() {
    let actions = "delay, stall, drop, error, cut, short, disconnect, lose-irq, stick-irq";
    for (spec, words) in [
        (
            "slow",
            format!(
                "'slow' for '--fault <SPEC>': there is no fault 'slow', the faults are {actions}; see"
            ),
        ),
        ("", format!("a fault is missing, one of {actions}; see")),
        ("delay,at=2", "'delay,at=2' for '--fault <SPEC>': fault delay lacks ms=N; see".into()),
        (
            "stall,when=2",
            "no option 'when', its options are command, region, offset, at, count; see".into(),
        ),
        (
            "error,errno=EWHAT",
            "errno='EWHAT': a number from 1 to 4095, or one of EPERM, ENOENT,".into(),
        ),
        (
            "stall,command=reset",
            "command='reset': any, a number from 0 to 65535, or one of version,".into(),
        ),
    ] {
        let serve = ["serve", "mtty-1", "--socket-path", "x", "--fault", spec];
        let run = ["run", "mtty-1", "--fault", spec, "--", "true"];
        for (arguments, way_out) in
            [(&serve[..], "`mdev-user serve --help`"), (&run, "`mdev-user run --help`")]
        {
            let said = say(&mut mdev_user(arguments));
            let line = complaint(&said, 2);
            assert!(line.contains(&words) && line.ends_with(way_out), "{line}");
        }
    }
    let said = say(&mut mdev_user(&["serve", "mtty-1", "--socket-path", "x", "--fault"]));
    assert!(complaint(&said, 2).contains("a value is required for '--fault <SPEC>'"), "{said:?}");
}

#[test]
fn serve_has_the_faults_that_it_was_given_in_their_order() {
    let program = Program::serve_with(
        "mtty-1",
        &["--fault", "error,errno=5,at=2", "--fault=disconnect,command=version,at=3"],
    );
    drop(client(&program.path()));
    let mut second = UnixStream::connect(program.path()).unwrap();
    assert_eq!(greet(&mut second), EIO);
    let mut third = UnixStream::connect(program.path()).unwrap();
    third.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    std::io::Write::write_all(&mut third, &version()).unwrap();
    assert_eq!(third.read(&mut [0; 64]).unwrap(), 0, "closed");
    drop(client(&program.path()));
}

/// A VERSION of 0.0, and no capabilities.
fn version() -> Vec<u8> {
    [&[0, 0, 1, 0, 20, 0, 0, 0][..], &[0; 12]].concat()
}

#[test]
fn each_device_of_run_counts_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = mdev_user(&["run", "mtty-1", "mtty-1", "--fault", "error,errno=EIO", "--"]);
    command.args(["/bin/sh", "-c", "echo $2; echo $4; read line", "sh"]);
    command.env("XDG_RUNTIME_DIR", directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.take(2) {
        let path = socket_of(&line.unwrap());
        assert_eq!(greet(&mut UnixStream::connect(&path).unwrap()), EIO);
        client(path.as_ref());
    }
    drop(child.stdin.take());
    end(child);
}

#[test]
fn a_client_that_a_fault_has_cut_off_has_left() {
    for fault in ["disconnect,at=2", "cut,bytes=0,at=2", "stall,at=2", "delay,ms=3600000,at=2"] {
        let mut program = Program::serve_with("mtty-1", &["--once", "--fault", fault]);
        let mut socket = client(&program.path());
        std::io::Write::write_all(&mut socket, &version()).unwrap();
        let waits = !fault.starts_with("disconnect") && !fault.starts_with("cut");
        if waits {
            drop(socket);
        }
        assert_eq!(program.wait().code(), Some(0), "{fault}");
    }
}

#[test]
fn each_fault_that_acts_is_logged_with_its_message() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sock");
    let mut command = mdev_user(&["serve", "mtty-2", "--fault", "error,errno=EIO,at=2,count=2"]);
    let command = command.arg("--socket-path").arg(&path);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    soon("it listens", || path.exists() && UnixStream::connect(&path).is_ok());
    drop(client(&path));
    (0..2).for_each(|_| assert_eq!(greet(&mut UnixStream::connect(&path).unwrap()), EIO));
    drop(client(&path));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let said = end(child);
    let lines: Vec<_> = said.err.lines().filter(|line| line.contains(": fault ")).collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    for (line, number) in lines.iter().zip([2, 3]) {
        let what = format!(": fault error,errno=EIO,at=2,count=2: VERSION (1), match {number}");
        assert!(line.contains(" INFO  vfio0 (mtty-2): client ") && line.ends_with(&what), "{line}");
    }
}

#[test]
fn the_help_has_an_example_that_is_taken() {
    let help = say(&mut mdev_user(&["serve", "--help"])).out;
    assert!(help.contains("docs/faults.md"), "{help}");
    let example = help.lines().find_map(|line| line.trim().strip_prefix("--fault error,")).unwrap();
    let spec = format!("error,{example}");
    drop(Program::serve_with("mtty-1", &["--fault", &spec]));
}

/// Words between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The first cells of the rows of the table whose head begins so.
fn names(head: &str) -> Vec<&'static str> {
    let rows = DOCUMENT.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    rows.take_while(|line| line.starts_with('|')).map(|row| quoted(row)[0]).collect()
}

const DOCUMENT: &str = include_str!("../../docs/faults.md");

#[test]
fn the_tables_of_faults_md_have_all_actions_and_options() {
    let said = "x".parse::<Fault>().unwrap_err().to_string();
    let actions = names("| action |");
    assert!(said.ends_with(&format!("the faults are {}", actions.join(", "))), "{said}");
    let mut options: Vec<String> = Vec::new();
    for action in actions {
        let said = format!("{action},x=1").parse::<Fault>().unwrap_err().to_string();
        let known = said.split("its options are ").nth(1).unwrap();
        options.extend(known.split(", ").map(str::to_owned));
    }
    options.sort();
    options.dedup();
    let mut documented = names("| option |");
    documented.sort_unstable();
    assert_eq!(documented, options);
}

#[test]
fn each_fault_in_faults_md_is_one() {
    let mut faults: Vec<_> = names("| fault | QEMU |");
    faults.extend(names("| fault | the guest | QEMU says |"));
    faults.extend(names("| fault of an interrupt |"));
    let after = |text: &'static str| text.split("--fault ").nth(1)?.split_whitespace().next();
    faults.extend(DOCUMENT.lines().filter(|line| line.starts_with("mdev-user ")).filter_map(after));
    assert!(faults.len() > 36, "{faults:?}");
    for fault in faults {
        fault.parse::<Fault>().unwrap();
    }
}
