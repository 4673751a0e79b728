//! `--fd N`: sockets that the program is started with.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Stdio};

use crate::{complaint, end, greet, say, shell};

/// Starts it with `socket` as descriptor 9.
fn serve(socket: impl Into<OwnedFd>) -> Child {
    let mut command = shell("exec $0 --log-level warn serve mtty-1 --fd 9 9<&0 0</dev/null");
    command.stdin(Stdio::from(socket.into()));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_is_no_unix_stream_socket_is_refused_by_name() {
    const WAY_OUT: &str = "hand over a UNIX stream socket that listens or is connected";
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    // Made, and nothing more: not to be had from the standard library.
    let fresh = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    );
    for (what, socket, words) in [
        ("a file", OwnedFd::from(File::open("/proc/self/status").unwrap()), "it is not a socket"),
        ("TCP", tcp.into(), "it is another kind of socket"),
        ("datagrams", datagram.into(), "it is another kind of socket"),
        ("neither end", fresh.unwrap(), "it neither listens nor is connected"),
    ] {
        let said = end(serve(socket));
        assert_eq!(complaint(&said, 1), format!("--fd 9: {words}; {WAY_OUT}"), "{what}");
    }
    for number in ["3", "9", "2147483647"] {
        let script = format!("exec $0 serve mtty-1 --fd {number} 3<&- 9<&-");
        let said = say(&mut shell(&script));
        let expected = format!("--fd {number}: no such descriptor is open; {WAY_OUT}");
        assert_eq!(complaint(&said, 1), expected);
    }
}

/// Conformance: S59.
#[test]
fn a_listening_socket_is_served_and_its_file_is_left_to_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("given.sock");
    let child = serve(UnixListener::bind(&path).unwrap());
    let pid = rustix::process::Pid::from_child(&child);
    drop(crate::client(&path));
    drop(crate::client(&path));
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let said = end(child);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert!(path.exists());
    // It has a name that QEMU can be told.
    assert!(said.out.contains(&format!("is ready on {}\n", path.display())), "{said:?}");
    assert!(said.out.contains("\n  -device '{"), "{said:?}");
}

#[test]
fn a_connected_socket_is_served_and_the_program_ends_with_it() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = serve(theirs);
    assert_eq!(greet(&mut ours), 0);
    drop(ours);
    let said = end(child);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert_eq!(said.out, "mdev-user: vfio0 (mtty-1) is ready for the client that is connected\n");
}

#[test]
fn a_connection_whose_other_end_has_gone_is_an_end_not_an_error() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let said = end(serve(theirs));
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}

#[test]
fn garbage_on_a_connection_ends_it() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = serve(theirs);
    ours.write_all(&[0xff; 64]).unwrap();
    let mut answer = Vec::new();
    let _ = ours.read_to_end(&mut answer);
    assert_eq!(end(child).status, 0);
}
