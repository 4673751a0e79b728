//! Every thread of a server is in the sandbox, and what a server starts is not.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::managed::{Managed, end, program};
use crate::server::{Server, given_up, has_threads, threads};

/// `no_new_privs` is set, and a filter is there.
const IN_IT: [&str; 2] = ["1", "2"];

#[track_caller]
fn all_are_in_it(pid: u32, at_least: usize) {
    let threads = threads(pid);
    assert!(threads.len() >= at_least, "{threads:?}");
    for (thread, given_up) in &threads {
        assert_eq!(given_up, &IN_IT, "{thread:?}");
    }
}

#[test]
fn with_off_nothing_is_given_up() {
    let ours = given_up(&fs::read_to_string("/proc/thread-self/status").unwrap());
    let server = Server::start(&["mtty-2", "--sandbox", "off", "--control-path", "DIR/control"]);
    for (thread, given_up) in threads(server.child.id()) {
        assert_eq!(given_up, ours, "{thread:?}");
    }
}

#[test]
fn every_thread_of_serve_is_in_it_also_those_that_come_later() {
    let server = Server::start(&["mtty-2", "--control-path", "DIR/control"]);
    let pid = server.child.id();
    for name in ["log", "signals", "control"] {
        has_threads(pid, name, 1);
    }
    all_are_in_it(pid, 4);
    let clients: Vec<_> =
        (0..3).map(|_| UnixStream::connect(server.path("control")).unwrap()).collect();
    has_threads(pid, "control client", clients.len());
    all_are_in_it(pid, 7);
}

#[test]
fn every_thread_of_a_manager_is_in_it() {
    let managed = Managed::start_with(&["--loops", "3"]);
    let pid = managed.pid().as_raw_nonzero().get().cast_unsigned();
    let made = managed.create(&["mtty-2"]);
    let _client = UnixStream::connect(managed.path("control")).unwrap();
    for (name, count) in [("log", 1), ("signals", 1), ("loop 2", 1), ("control client", 1)] {
        has_threads(pid, name, count);
    }
    all_are_in_it(pid, 7);
    managed.remove(&made);
}

#[test]
fn run_is_in_it_and_its_command_is_not() {
    let ours = fs::read_to_string("/proc/thread-self/status").unwrap();
    // The command looks at itself, and at its parent until that serves.
    let script =
        "until grep -q 'Seccomp:.2' /proc/$PPID/task/*/status; do sleep 0.01; done; sleep 0.1
        cat /proc/$PPID/task/*/status; echo ===; cat /proc/self/status; ulimit -c; ulimit -Hc";
    let mut command = program();
    command.args(["run", "mtty-2", "--", "/bin/sh", "-c", script]);
    let said = end(command.stderr(Stdio::piped()).spawn().unwrap());
    assert!(said.status.success(), "{said:?}");
    let (parent, child) = said.out.split_once("===\n").unwrap();
    let threads: Vec<_> = parent.split("Name:").skip(1).map(given_up).collect();
    assert!(threads.len() >= 4, "{parent}");
    assert!(threads.iter().all(|it| it == &IN_IT), "{parent}");
    assert_eq!(given_up(child), given_up(&ours), "{child}");
    let limits: Vec<_> = child.lines().rev().take(2).collect();
    let expected =
        std::process::Command::new("/bin/sh").args(["-c", "ulimit -Hc; ulimit -c"]).output();
    let expected = String::from_utf8(expected.unwrap().stdout).unwrap();
    assert_eq!(limits, expected.lines().collect::<Vec<_>>());
}
