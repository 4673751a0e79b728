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
            "errno='EWHAT': a number from 1 to 4095, or one of Linux's names (EIO); see".into(),
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
    let mut lines: Vec<_> = said.err.lines().filter(|line| line.contains(": fault ")).collect();
    let total = " INFO  vfio0 (mtty-2): fault error,errno=EIO,at=2,count=2 acted 2 times (matched ";
    assert!(lines.pop().unwrap().contains(total), "{said:?}");
    assert_eq!(lines.len(), 2, "{said:?}");
    for (line, number) in lines.iter().zip([2, 3]) {
        let what = format!(": fault error,errno=EIO,at=2,count=2: VERSION (1), match {number}");
        assert!(line.contains(" INFO  vfio0 (mtty-2): client ") && line.ends_with(&what), "{line}");
    }
}

/// What follows `--fault` in the examples.
fn examples(text: &str) -> Vec<&str> {
    let words: Vec<_> = text.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[0] == "--fault");
    pairs.map(|pair| pair[1]).filter(|spec| spec.contains('=')).collect()
}

/// A read of one byte of BAR 0; the error number in the answer.
fn read(socket: &mut UnixStream, offset: u8) -> u32 {
    let mut message = [0; 32];
    (message[2], message[4], message[16], message[28]) = (9, 32, offset, 1);
    std::io::Write::write_all(socket, &message).unwrap();
    let mut header = [0; 16];
    socket.read_exact(&mut header).unwrap();
    let mut rest = vec![0; usize::from(header[4]) - 16];
    socket.read_exact(&mut rest).unwrap();
    header[12].into()
}

/// What a guest sees of it is in tests/guest_faults.
#[test]
fn the_example_of_help_and_document_does_what_is_said() {
    let help = say(&mut mdev_user(&["help", "serve"])).out;
    let [spec] = examples(&help)[..] else { panic!("{help}") };
    assert_eq!(examples(DOCUMENT), [spec]);
    assert!(
        help.contains("Answers the third read of the port's scratch register with an error, once.")
    );
    let program = Program::serve_with("mtty-1", &["--fault", spec]);
    let mut socket = client(&program.path());
    assert_eq!([7, 7, 6, 7, 7].map(|offset| read(&mut socket, offset)), [0, 0, 0, EIO, 0]);
}

#[test]
fn a_fault_that_never_acts_is_said_whatever_the_log_level() {
    let fault = "lose-irq,index=msix";
    let said = say(&mut mdev_user(&["run", "mtty-1", "--fault", fault, "--", "true"]));
    assert_eq!(said.status, 0, "{said:?}");
    let lines: Vec<_> = said.err.lines().collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    let device = "vfio0 (mtty-1): fault lose-irq,index=msix";
    assert!(lines[0].contains(&format!("{device}: the device has no irq index 2;")), "{said:?}");
    assert!(lines[1].ends_with(&format!("{device} never acted (matched 0)")), "{said:?}");
}

#[test]
fn help_and_manual_have_all_actions_and_options() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(say(mdev_user(&["man", "--out"]).arg(directory.path())).status, 0);
    for command in ["serve", "run"] {
        let help = say(&mut mdev_user(&["help", command])).out;
        let brief = help.split("\nFaults:").nth(1).unwrap().split("\n\n").next().unwrap();
        let page = directory.path().join(format!("mdev-user-{command}.1"));
        let page = std::fs::read_to_string(page).unwrap().replace("\\-", "-");
        let section = page.split(".SH FAULTS\n").nth(1).unwrap().split("\n.SH ").next().unwrap();
        let known = [names("| action |"), names("| option |")].concat();
        assert_eq!(known.len(), 19);
        for name in known {
            let is_there =
                brief.split(|c: char| c != '-' && !c.is_alphanumeric()).any(|it| it == name);
            assert!(is_there, "{command}: {name}: {brief}");
            assert!(section.contains(&format!("\n.TP\n\\fB{name}\\fR\n")), "{name}: {section}");
        }
        assert!(section.contains("connection is closed, and so it is if no answer was wanted"));
        assert!(section.contains("A fault counts the messages that match it over all connections"));
        assert!(!section.contains('`') && !section.contains('|'), "{section}");
    }
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
    faults.extend(examples(DOCUMENT));
    assert!(faults.len() > 36, "{faults:?}");
    for fault in faults {
        fault.parse::<Fault>().unwrap();
    }
}
