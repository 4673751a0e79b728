//! System calls that a server does not need end it, and files that it was not given are refused by the kernel: calls are
//! put into the program's mouth.

use nix::libc::{
    self, EACCES, EFAULT, ENOENT, ENOSYS, SYS_bpf, SYS_clone, SYS_clone3, SYS_execve, SYS_fork,
    SYS_getpid, SYS_io_uring_setup, SYS_ioctl, SYS_kill, SYS_mmap, SYS_mount, SYS_mprotect,
    SYS_openat, SYS_prctl, SYS_prlimit64, SYS_process_vm_readv, SYS_ptrace, SYS_socket,
    SYS_unlinkat, SYS_unshare, SYS_userfaultfd,
};
use nix::sys::signal::Signal;

use crate::server::Server;
use crate::tracee::{Outcome, Tracee};

const KILLED: Outcome = Outcome::Ended(Signal::SIGSYS);
const CWD: u64 = libc::AT_FDCWD as u64;
/// Of memory: read and execute; private and anonymous, as the dynamic loader maps a library.
const RX: u64 = 5;
const ANONYMOUS: u64 = 0x22;
const LIBRARY: u64 = 0x0802;

fn error(number: i32) -> Outcome {
    Outcome::Returned(-i64::from(number))
}

/// What becomes of a call of a server with these arguments.
#[track_caller]
fn outcome(arguments: &[&str], number: i64, call: [u64; 6]) -> Outcome {
    let server = Server::start(arguments);
    let tracee = Tracee::seize(server.child.id());
    // That it can be had to make calls at all.
    assert_eq!(tracee.call(SYS_getpid, [0; 6]), Outcome::Returned(server.child.id().into()));
    tracee.call(number, call)
}

#[test]
fn a_call_that_serving_does_not_take_ends_the_program() {
    let one = std::process::id().into();
    for (number, call) in [
        (SYS_execve, [0; 6]),
        (SYS_fork, [0; 6]),
        (SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), // a process, and no thread
        (SYS_ptrace, [0; 6]),
        (SYS_process_vm_readv, [0; 6]),
        (SYS_kill, [one, 0, 0, 0, 0, 0]),
        (SYS_socket, [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]),
        (SYS_socket, [libc::AF_NETLINK as u64, libc::SOCK_RAW as u64, 0, 0, 0, 0]),
        (SYS_mmap, [0, 4096, RX, ANONYMOUS, u64::MAX, 0]),
        (SYS_mmap, [0, 4096, RX, LIBRARY, 0, 0]),
        (SYS_mprotect, [0, 4096, RX, 0, 0, 0]),
        (SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0]),
        (SYS_prlimit64, [0, libc::RLIMIT_CORE.into(), 4096, 0, 0, 0]),
        (SYS_ioctl, [0, libc::TIOCSTI, 0, 0, 0, 0]),
        (SYS_io_uring_setup, [0; 6]),
        (SYS_userfaultfd, [0; 6]),
        (SYS_bpf, [0; 6]),
        (SYS_mount, [0; 6]),
        (SYS_unshare, [0; 6]),
    ] {
        assert_eq!(outcome(&["mtty-2"], number, call), KILLED, "{number} {call:x?}");
    }
}

#[test]
fn with_log_and_off_it_is_answered_by_the_kernel_and_the_program_goes_on() {
    for options in [&["--seccomp", "log"][..], &["--seccomp", "off"], &["--sandbox", "off"]] {
        let server =
            Server::start(&[&["mtty-2", "--control-path", "DIR/control"], options].concat());
        let tracee = Tracee::seize(server.child.id());
        assert_eq!(tracee.call(SYS_execve, [0; 6]), error(EFAULT), "{options:?}");
        assert_eq!(tracee.call(SYS_mprotect, [0, 4096, RX, 0, 0, 0]), error(libc::ENOMEM));
        let Outcome::Returned(descriptor) = tracee.call(SYS_socket, [2, 1, 0, 0, 0, 0]) else {
            panic!()
        };
        assert!(descriptor > 2, "{options:?}: {descriptor}");
    }
}

#[test]
fn of_a_thread_the_c_library_asks_in_a_way_that_can_be_looked_at() {
    assert_eq!(outcome(&["mtty-2"], SYS_clone3, [0; 6]), error(ENOSYS));
}

#[test]
fn sockets_to_hosts_are_for_ports_that_can_have_them() {
    let tcp = [libc::AF_INET6 as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0];
    let later = ["mtty-2", "--control-path", "DIR/control"];
    assert!(matches!(outcome(&later, SYS_socket, tcp), Outcome::Returned(3..)));
    let again = ["mtty-2", "--serial0", "tcp:127.0.0.1:1,server=off,reconnect-ms=60000"];
    assert!(matches!(outcome(&again, SYS_socket, tcp), Outcome::Returned(3..)));
    // A display has no port.
    assert_eq!(outcome(&["mdpy-vga", "--control-path", "DIR/control"], SYS_socket, tcp), KILLED);
    // Who looks up names loads libraries; nobody makes code.
    let library = outcome(&later, SYS_mmap, [0, 4096, RX, LIBRARY, u64::MAX, 0]);
    assert_eq!(library, error(libc::EBADF));
    assert_eq!(outcome(&later, SYS_mmap, [0, 4096, RX, ANONYMOUS, u64::MAX, 0]), KILLED);
}

#[test]
fn a_file_that_the_command_line_does_not_name_is_refused_by_the_kernel() {
    let options =
        ["--control-path", "DIR/control", "--serial0", "file:DIR/out", "--allow-path", "DIR/sub"];
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    std::fs::create_dir(directory.path().join("sub")).unwrap();
    let options: Vec<_> = options.map(|it| it.replace("DIR", place)).to_vec();
    let arguments: Vec<_> =
        ["mtty-2"].into_iter().chain(options.iter().map(String::as_str)).collect();
    let (read, write) = (libc::O_RDONLY as u64, (libc::O_WRONLY | libc::O_CREAT) as u64);
    let directory_of = libc::O_DIRECTORY as u64;
    let calls = [
        ("/", directory_of, EACCES),
        ("/var/lib/x", write, EACCES),
        ("/usr/bin/env", read, EACCES),
        ("/etc/passwd", write, EACCES),
        (&*format!("{place}/device.sock.x"), write, EACCES),
        (&format!("{place}/new"), write, EACCES),
        (&format!("{place}/sub/new"), write, 0),
        (&format!("{place}/sub/../new"), write, EACCES),
        (&format!("{place}/out"), write, 0),
        ("/etc/hosts", read, 0),
        ("/etc/no/such", read, ENOENT),
    ];
    for (sandbox, is_on) in [("auto", true), ("off", false)] {
        let server = Server::start(&[&arguments[..], &["--sandbox", sandbox]].concat());
        let tracee = Tracee::seize(server.child.id());
        for (path, flags, errno) in calls {
            if !is_on && (flags == write && !path.starts_with(place)) {
                continue; // where it could be
            }
            let expected = if is_on { errno } else { 0 };
            let outcome = tracee.call(SYS_openat, [CWD, tracee.path(path), flags, 0o600, 0, 0]);
            let is_right = match (expected, &outcome) {
                (0, Outcome::Returned(descriptor)) => *descriptor > 2 || !is_on,
                _ => outcome == error(expected),
            };
            assert!(is_right, "{sandbox} {path}: {outcome:?}");
        }
        std::fs::remove_file(directory.path().join("out")).unwrap();
    }
    // What is there for all to see is not there to be taken away, but for its own sockets.
    let server = Server::start(&["mdpy-vga"]);
    let tracee = Tracee::seize(server.child.id());
    let other = directory.path().join("sub/new");
    let path = tracee.path(other.to_str().unwrap());
    assert_eq!(tracee.call(SYS_unlinkat, [CWD, path, 0, 0, 0, 0]), error(EACCES));
    assert!(other.exists());
    let log = tracee.path(server.path("log").to_str().unwrap());
    assert_eq!(tracee.call(SYS_unlinkat, [CWD, log, 0, 0, 0, 0]), Outcome::Returned(0));
}
