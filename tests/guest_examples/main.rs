//! The examples, as a person starts them, and as a guest in QEMU finds them: `examples/guest/*.sh` run in it.
#![cfg(test)]

#[path = "../../crates/vfio-user-server/tests/common/engine.rs"]
mod engine;
mod example;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use example::{Example, executable};
use guest_kit::{Guest, Tools, vfio_user_device};
use rustix::process::{Pid, Signal, kill_process};
use vfio_device::Vfio;
use vfio_user_server::{DEFAULT_POLL, Endpoint, EventLoop, Listener};

const SOON: Duration = Duration::from_secs(300);

#[track_caller]
fn refused(arguments: &[&Path], status: i32, why: &str) {
    let output = Command::new(executable("tally")).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(why), "{said}");
}

#[test]
fn without_a_path_it_tells_how_it_is_used() {
    refused(&[], 2, "usage: tally SOCKET");
    refused(&["/tmp/one".as_ref(), "/tmp/two".as_ref()], 2, "usage: tally SOCKET");
}

#[test]
fn what_begins_with_a_dash_is_no_path() {
    let place = tempfile::tempdir().unwrap();
    for word in ["--socket", "-v", "-", "--"] {
        let mut tally = Command::new(executable("tally"));
        let output = tally.arg(word).current_dir(place.path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{word}: {said}");
        assert!(said.starts_with("usage: tally SOCKET"), "{word}: {said}");
    }
    for words in [&["--help"][..], &["-h"], &["/tmp/one", "--help"]] {
        let mut tally = Command::new(executable("tally"));
        let output = tally.args(words).current_dir(place.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{words:?}: {said}");
        assert!(said.starts_with("usage: tally SOCKET"), "{words:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "no socket was made");
}

#[test]
fn a_path_that_cannot_be_had_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    refused(&[&file], 1, "file exists and is not a socket");
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    refused(&[&directory.path().join("none/socket")], 1, "none; make it, or use another path");
    refused(&[directory.path().join("x".repeat(120)).as_ref()], 1, "too long");
    refused(&["".as_ref()], 1, "tally: the path of the socket is empty");

    let running = Example::start("tally");
    refused(&[&running.socket()], 1, "is in use by another server");
    running.end(Signal::INT);
}

#[test]
fn it_tells_the_argument_for_qemu_and_ends_by_a_signal() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut example = Example::start("tally");
        let argument: serde_json::Value = serde_json::from_str(&example.argument()).unwrap();
        assert_eq!(argument["driver"], "vfio-user-pci");
        assert_eq!(argument["socket"]["type"], "unix");
        assert_eq!(argument["socket"]["path"], example.socket().to_str().unwrap());
        example.end(signal);
    }
}

#[test]
fn a_signal_that_it_was_started_to_ignore_stays_ignored() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("device.sock");
    // What nohup does, and what a shell's & does.
    let mut tally = Command::new("/bin/sh")
        .args(["-c", "trap '' HUP INT; exec \"$0\" \"$1\""])
        .args([executable("tally"), socket.clone()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(tally.stdout.take().unwrap());
    let mut ready = String::new();
    stdout.read_line(&mut ready).unwrap();
    let pid = Pid::from_child(&tally);
    kill_process(pid, Signal::HUP).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    assert!(tally.try_wait().unwrap().is_none(), "it serves on");
    // It may not have come to look yet: the kernel knows what it will do.
    let status = std::fs::read_to_string(format!("/proc/{}/status", tally.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 3, 3, "{status}");
    kill_process(pid, Signal::TERM).unwrap();
    assert!(tally.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn a_guest_finds_both_and_the_scripts_succeed() {
    let (tally, edu) = (Example::start("tally"), Example::start("edu"));
    let mut guest = Guest::builder(&Tools::prepare().unwrap())
        .registers()
        .device(&vfio_user_device(&tally.socket()))
        .device(&vfio_user_device(&edu.socket()))
        .boot()
        .unwrap();
    // The session of the guide: a line with a prompt is typed, the others are what comes.
    let guide = include_str!("../../docs/writing-a-device.md");
    let session = guide.split("\n```console\n").nth(1).unwrap().split("\n```").next().unwrap();
    let steps: Vec<_> = session.split("~ # ").skip(1).collect();
    assert_eq!(steps.len(), 9, "{session}");
    for step in steps {
        let (typed, expected) = step.split_once('\n').unwrap_or((step, ""));
        let said = guest.run(typed, SOON).unwrap();
        assert_eq!(said.text.trim_end(), expected.trim_end(), "{typed}");
    }

    let mut run = |script: &str| {
        let said = guest.check(&format!("( set -e\n{script}\n)"), SOON);
        let said = said.unwrap_or_else(|error| panic!("{error}"));
        println!("{said}");
        said
    };
    // `set -e` is easily undone in a shell: the last line says that all of a script ran.
    let said = run(include_str!("../../examples/guest/tally.sh"));
    assert!(said.ends_with("INTx: 1\nCOUNT: 0x00000004\nINTx: 0\n"), "{said}");
    let said = run(include_str!("../../examples/guest/edu.sh"));
    assert!(said.contains("Hello from the guest -> HELLO FROM THE GUEST\n"), "{said}");
    assert!(said.contains("vector 3: 0x0000BE03\n"), "{said}");
    assert!(said.ends_with("IRQ_STATUS: 0x00000000\n"), "{said}");

    let list = guest.check(". /lib/pci.sh; pci_list", SOON).unwrap();
    assert!(list.contains("  1234:7a11  class 088000\n"), "{list}");
    assert!(list.contains("  1234:ed01  class ff0000\n"), "{list}");
    let wrong = guest.run("( set -e; . /lib/pci.sh; expect answer 42 41; echo no )", SOON).unwrap();
    assert_eq!((wrong.status, wrong.text.trim()), (1, "answer: 41 and not 42"));

    guest.power_off(SOON).unwrap();
    assert_eq!(guest.qemu_messages(), "");
    tally.end(Signal::TERM);
    edu.end(Signal::TERM);
}

/// `cargo xtask guest`.
fn xtask_guest(arguments: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--offline", "--package", "xtask", "--", "guest"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Copies 4 bytes of the guest's memory, by the DMA engine.
const COPY: &str = r#"
. /lib/pci.sh
pci_find 1234:7a03
register() { devmem $(($(bar 0) + $1)) 32 $2; } # OFFSET [VALUE]
devmem $FREE_MEMORY 32 0x12345678
devmem $((FREE_MEMORY + 0x1000)) 32 0
register 0x00 $FREE_MEMORY
register 0x08 $((FREE_MEMORY + 0x1000))
register 0x10 4
register 0x18 1
expect "STATUS" 0 $(register 0x14)
expect "the copy" 0x12345678 $(devmem $((FREE_MEMORY + 0x1000)) 32)
"#;

#[test]
fn the_task_guest_runs_scripts_in_a_guest_until_one_fails() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = directory.path().join("nobody.sock");
    let (status, said) = xtask_guest(&["--socket".as_ref(), &nobody]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("nobody serves") && !said.contains("Booting"), "{said}");
    assert!(said.ends_with("; start your device first\n"), "{said}");

    let tally = Example::start("tally");
    let engine = directory.path().join("engine.sock");
    let mut device = Vfio::new().alloc(|_| Ok(engine::made())).unwrap();
    device.register().unwrap();
    let mut event_loop = EventLoop::new(DEFAULT_POLL).unwrap();
    event_loop.add(Endpoint::new(device, Listener::bind(&engine).unwrap())).unwrap();
    let handle = event_loop.handle();
    let server = std::thread::spawn(move || event_loop.run(|_, _| ()).unwrap());
    let copy = directory.path().join("copy.sh");
    std::fs::write(&copy, COPY).unwrap();
    let fails = directory.path().join("fails.sh");
    std::fs::write(&fails, "echo so far\nfalse\necho no further\n").unwrap();
    let (socket, run) = (Path::new("--socket"), Path::new("--run"));
    let sockets = [socket, &tally.socket(), socket, &engine];
    let scripts = [run, Path::new("examples/guest/tally.sh"), run, &copy, run, &fails];
    let (status, said) = xtask_guest(&[sockets.as_slice(), &scripts].concat());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("COUNT: 0x00000003\nINTx: 0\n"), "{said}");
    assert!(said.contains("STATUS: 0x00000000\nthe copy: 0x12345678\n"), "{said}");
    assert!(said.contains("so far\n") && !said.contains("no further"), "{said}");
    assert!(said.contains("fails.sh ended with status 1"), "{said}");
    handle.stop();
    server.join().unwrap();
    tally.end(Signal::TERM);
}
