//! System calls that a server does not need end it, and files that it was not given are refused by the kernel: calls are
//! put into the program's mouth.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Stdio;

use nix::libc::{
    self, EACCES, EBADF, EFAULT, ENOENT, ENOSYS, SYS_bpf, SYS_clone, SYS_clone3, SYS_execve,
    SYS_fork, SYS_getpid, SYS_io_uring_setup, SYS_ioctl, SYS_kill, SYS_mmap, SYS_mount,
    SYS_mprotect, SYS_openat, SYS_prctl, SYS_prlimit64, SYS_process_vm_readv, SYS_ptrace,
    SYS_socket, SYS_unlinkat, SYS_unshare, SYS_userfaultfd,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::managed::{launch, program};
use crate::server::{Server, has_threads};
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
        // Past the conditions of those that there are.
        (libc::SYS_process_vm_writev, [one, 0, 0, 0, 0, 0]),
        (libc::SYS_tgkill, [one, one, 0, 0, 0, 0]),
        (libc::SYS_tkill, [one, 0, 0, 0, 0, 0]),
        (libc::SYS_rt_sigqueueinfo, [one, 0, 0, 0, 0, 0]),
        (libc::SYS_pidfd_open, [one, 0, 0, 0, 0, 0]),
        (libc::SYS_pidfd_getfd, [0; 6]),
        (libc::SYS_pidfd_send_signal, [0; 6]),
        (libc::SYS_fcntl, [0, libc::F_SETOWN as u64, one, 0, 0, 0]),
        (libc::SYS_fcntl, [0, libc::F_SETFL as u64, libc::O_ASYNC as u64, 0, 0, 0]),
        (libc::SYS_sched_setaffinity, [one, 8, 0, 0, 0, 0]),
        (libc::SYS_inotify_add_watch, [0; 6]),
        // Files' owners and modes, of which Landlock has no say.
        (libc::SYS_chmod, [0; 6]),
        (libc::SYS_fchmod, [u64::MAX, 0o600, 0, 0, 0, 0]),
        (libc::SYS_chown, [0; 6]),
        (libc::SYS_lchown, [0; 6]),
        (libc::SYS_fchmodat, [0; 6]),
        (libc::SYS_fchownat, [0; 6]),
        (libc::SYS_fchown, [0; 6]),
        // And sockets that have a path.
        (libc::SYS_connect, [0; 6]),
        (SYS_socket, [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]),
        (libc::SYS_socketpair, [libc::AF_UNIX as u64, libc::SOCK_DGRAM as u64, 0, 0, 0, 0]),
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

/// Who may run a file of this user's with that bit has this user's rights, and servers can open their own program.
#[test]
fn no_server_can_have_others_run_its_files_in_its_name() {
    let setuid = 0o4755;
    let later = ["mtty-2", "--control-path", "DIR/control"];
    for mode in [setuid, 0o644] {
        assert_eq!(
            outcome(&later, libc::SYS_fchmod, [u64::MAX, mode, 0, 0, 0, 0]),
            KILLED,
            "{mode:o}"
        );
    }
    // As a socket is made.
    assert_eq!(outcome(&later, libc::SYS_fchmod, [u64::MAX, 0o600, 0, 0, 0, 0]), error(EBADF));
    let call = |number, arguments| {
        let directory = tempfile::tempdir().unwrap();
        let mut manager = launch(directory.path(), &["--config", "DIR/devices.json", "--save"]);
        let mut ready = String::new();
        BufReader::new(manager.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Tracee::seize(manager.id()).call(number, arguments)
    };
    assert_eq!(call(libc::SYS_fchmod, [u64::MAX, 0o644, 0, 0, 0, 0]), error(EBADF));
    for special in [setuid, 0o2755, 0o1777] {
        let mode = [u64::MAX, special, 0, 0, 0, 0];
        assert_eq!(call(libc::SYS_fchmod, mode), KILLED, "{special:o}");
    }
    assert_eq!(call(libc::SYS_chmod, [0; 6]), KILLED, "its sockets are its own");
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
    // Others would get round Landlock, which has the say of TCP alone.
    for other in [
        [libc::AF_INET as u64, libc::SOCK_STREAM as u64, libc::IPPROTO_MPTCP as u64, 0, 0, 0],
        [libc::AF_INET as u64, libc::SOCK_DGRAM as u64, 0, 0, 0, 0],
        [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0],
    ] {
        assert_eq!(outcome(&again, SYS_socket, other), KILLED, "{other:?}");
    }
    let in_passing = [0, 0, 0, libc::MSG_FASTOPEN as u64, 0, 0];
    for port in [again[2], "tcp:127.0.0.1:0"] {
        let server = ["mtty-2", "--serial0", port];
        assert_eq!(outcome(&server, libc::SYS_sendto, in_passing), KILLED, "{server:?}");
    }
    // Who looks up names loads libraries, and so could make code of a file in memory; not of memory that it writes to.
    let library = outcome(&later, SYS_mmap, [0, 4096, RX, LIBRARY, u64::MAX, 0]);
    assert_eq!(library, error(EBADF));
    assert_eq!(outcome(&later, SYS_mmap, [0, 4096, RX, ANONYMOUS, u64::MAX, 0]), KILLED);
}

/// What every socket address begins with.
#[expect(clippy::host_endian_bytes, reason = "the kernel has the family in host order")]
fn family(family: libc::c_int) -> [u8; 2] {
    (family as u16).to_ne_bytes()
}

/// The address of a UNIX socket.
fn unix(name: &[u8]) -> Vec<u8> {
    [&family(libc::AF_UNIX), name].concat()
}

#[test]
fn sockets_of_this_user_are_for_ends_that_connect_again() {
    let stream = [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0];
    let again = ["mtty-2", "--serial0", "unix:DIR/peer,server=off,reconnect-ms=60000"];
    let server = Server::start(&again);
    let tracee = Tracee::seize(server.child.id());
    let Outcome::Returned(socket @ 3..) = tracee.call(SYS_socket, stream) else { panic!() };
    let connect = |address: &[u8]| {
        let at = tracee.bytes(address);
        tracee.call(libc::SYS_connect, [socket as u64, at, address.len() as u64, 0, 0, 0])
    };
    // Their names are Landlock's business, their paths are nobody's.
    let name = format!("mdev-user-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(connect(&unix(format!("\0{name}").as_bytes())), error(libc::EPERM));
    let path = server.path("peer");
    let _peer = UnixListener::bind(&path).unwrap();
    assert_eq!(connect(&unix(path.to_str().unwrap().as_bytes())), Outcome::Returned(0));
    let datagrams = [libc::AF_UNIX as u64, libc::SOCK_DGRAM as u64, 0, 0, 0, 0];
    assert_eq!(tracee.call(SYS_socket, datagrams), KILLED);
}

#[test]
fn landlock_alone_keeps_from_other_ports_and_processes() {
    let server = Server::start(&[
        "mtty-2",
        "--seccomp",
        "off",
        "--serial0",
        "tcp:127.0.0.1:1,server=off,reconnect-ms=60000",
    ]);
    let tracee = Tracee::seize(server.child.id());
    let one = std::process::id().into();
    assert_eq!(tracee.call(SYS_kill, [one, 0, 0, 0, 0, 0]), error(libc::EPERM));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0];
    let connect = |port: u16| {
        let Outcome::Returned(socket @ 3..) = tracee.call(SYS_socket, tcp) else { panic!() };
        let address =
            [&family(libc::AF_INET)[..], &port.to_be_bytes(), &[127, 0, 0, 1], &[0; 8]].concat();
        tracee.call(libc::SYS_connect, [socket as u64, tracee.bytes(&address), 16, 0, 0, 0])
    };
    assert_eq!(connect(listener.local_addr().unwrap().port()), error(EACCES));
    assert_eq!(connect(1), error(libc::ECONNREFUSED));
}

#[test]
fn run_signals_its_command_and_nobody_else() {
    let one: u64 = std::process::id().into();
    let set_owner = [0, libc::F_SETOWN as u64, one, 0, 0, 0];
    for (number, call) in [
        (SYS_kill, [one, 0, 0, 0, 0, 0]),
        (libc::SYS_pidfd_open, [one, 0, 0, 0, 0, 0]),
        (libc::SYS_pidfd_send_signal, [0; 6]),
        (libc::SYS_fcntl, set_owner),
    ] {
        let mut command = program();
        command.args(["run", "mtty-2", "--", "/bin/sh", "-c", "echo $$; exec sleep 100"]);
        let mut run = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let child: u64 = line.trim().parse().unwrap();
        // The last thread that it makes.
        has_threads(run.id(), "wait", 1);
        let tracee = Tracee::seize(run.id());
        assert_eq!(tracee.call(SYS_kill, [child, 0, 0, 0, 0, 0]), Outcome::Returned(0));
        let other = tracee.call(number, call);
        let _ = kill(Pid::from_raw(child as i32), Signal::SIGKILL);
        let _ = (run.kill(), run.wait());
        assert_eq!(other, KILLED, "{number} {call:x?}");
    }
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
