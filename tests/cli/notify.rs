//! `NOTIFY_SOCKET` and `--ready-fd`: who started the program is told that it is ready.

use std::io::PipeWriter;
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::{PATIENCE, Said, complaint, end, listening, mdev_user, say, shell, soon};

/// Serves on `socket` in `directory`, told of by `variable`.
fn serve(directory: &tempfile::TempDir, variable: &str) -> Child {
    let mut command = mdev_user(&["--log-level", "warn", "serve", "mtty-1", "--socket-path"]);
    command.arg(directory.path().join("socket")).env("NOTIFY_SOCKET", variable);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn stop(child: Child) -> Said {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    end(child)
}

/// Serves, and returns what is told until the end, after a client came and went.
fn told(socket: &UnixDatagram, variable: &str) -> Vec<String> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive = || {
        let mut buffer = [0; 4096];
        let size = socket.recv(&mut buffer).expect("it tells");
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let child = serve(&directory, variable);
    let mut messages = vec![receive()];
    // It is ready: nothing has to be waited for.
    let client = crate::client(&directory.path().join("socket"));
    messages.push(receive());
    drop(client);
    messages.push(receive());
    let said = stop(child);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    messages.push(receive());
    messages
}

#[test]
fn a_name_that_leads_nowhere_is_logged_once_and_the_device_is_served() {
    let long = format!("/{}", "x".repeat(120));
    for (variable, words) in [
        ("relative", "NOTIFY_SOCKET relative: it is neither /PATH nor @NAME; nobody is told"),
        ("@", "NOTIFY_SOCKET @: it is neither /PATH nor @NAME; nobody is told"),
        (
            "vsock:2:1234",
            "NOTIFY_SOCKET vsock:2:1234: it is neither /PATH nor @NAME; nobody is told",
        ),
        (long.as_str(), "it is too long for the address of a socket; nobody is told"),
        (
            "/no/such/socket",
            "NOTIFY_SOCKET /no/such/socket: No such file or directory; nobody is told",
        ),
        ("/dev/null", "NOTIFY_SOCKET /dev/null: Connection refused; nobody is told"),
        (
            "@mdev-user/nobody/is/here",
            "NOTIFY_SOCKET @mdev-user/nobody/is/here: Connection refused; nobody is told",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let child = serve(&directory, variable);
        let path = directory.path().join("socket");
        soon("it listens", || path.exists());
        listening(&path);
        drop(crate::client(&path));
        let said = stop(child);
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{variable}: {said:?}");
        assert!(said.err.contains(" WARN "), "{said:?}");
        assert!(said.err.trim_end().ends_with(words), "{variable}: {said:?}");
    }
}

#[test]
fn an_empty_name_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let child = serve(&directory, "");
    let path = directory.path().join("socket");
    soon("it listens", || path.exists());
    listening(&path);
    let said = stop(child);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}

#[test]
fn nobody_who_reads_holds_up_neither_service_nor_end() {
    let notified = tempfile::tempdir().unwrap();
    let name = notified.path().join("notify");
    let _reader = UnixDatagram::bind(&name).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &name).is_ok() {}

    let directory = tempfile::tempdir().unwrap();
    let child = serve(&directory, name.to_str().unwrap());
    let path = directory.path().join("socket");
    soon("it listens", || path.exists());
    listening(&path);
    // More clients than messages may wait.
    for _ in 0..80 {
        drop(crate::client(&path));
    }
    let asked = Instant::now();
    let said = stop(child);
    assert_eq!(said.status, 0, "{said:?}");
    // 5 s after the signal it would have given up, with another status.
    assert!(!said.err.contains("giving up"), "{said:?} after {:?}", asked.elapsed());
    assert!(!path.exists());
}

/// What is told of a device that a client uses, and then none.
const TOLD: [&str; 4] = [
    "READY=1\nSTATUS=vfio0 (mtty-1): no client",
    "STATUS=vfio0 (mtty-1): in use",
    "STATUS=vfio0 (mtty-1): no client",
    "STOPPING=1\nSTATUS=ending",
];

#[test]
fn a_socket_at_a_path_is_told_of_the_beginning_of_clients_and_of_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    assert_eq!(told(&socket, path.to_str().unwrap()), TOLD);
}

#[test]
fn an_abstract_socket_is_told_as_well() {
    let name = format!("mdev-user/test/{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    assert_eq!(told(&socket, &format!("@{name}")), TOLD);
}

#[test]
fn run_tells_that_its_command_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command =
        mdev_user(&["run", "mtty-1", "--", "/bin/sh", "-c", "echo \"<$NOTIFY_SOCKET>\""]);
    let said = say(command.env("NOTIFY_SOCKET", &path));
    assert_eq!((said.status, said.out.as_str()), (0, "<>\n"), "{said:?}");
    let mut told = Vec::new();
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(size) = socket.recv(&mut buffer) {
        told.push(String::from_utf8(buffer[..size].to_vec()).unwrap());
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("READY=1\nSTATUS=/bin/sh -c echo "), "{told:?}");
    assert_eq!(told[1], "STOPPING=1\nSTATUS=ending");
}

/// Serves with `--ready-fd 9` and this descriptor as 9.
fn serve_ready(directory: &Path, ready: PipeWriter) -> Child {
    let mut command = shell(
        "exec $0 --log-level warn serve mtty-1 --socket-path \"$1\" --ready-fd 9 9>&1 >/dev/null",
    );
    command.arg(directory.join("socket")).stdout(Stdio::from(ready));
    command.stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_descriptor_that_cannot_be_told_by_is_refused() {
    const WAY_OUT: &str = "hand over the end of a pipe that can be written to";
    for (redirection, words) in
        [("9<&-", "no such descriptor is open"), ("9</dev/null", "it cannot be written to")]
    {
        let script = format!("exec $0 serve mtty-1 --socket-path /no/x --ready-fd 9 {redirection}");
        let expected = format!("--ready-fd 9: {words}; {WAY_OUT}");
        assert_eq!(complaint(&say(&mut shell(&script)), 1), expected);
    }
    for (arguments, words) in [
        (["--ready-fd", "1"], "are the standard streams; hand another one over, as 3 or above"),
        (["--ready-fd", "-1"], "a descriptor is a number, 3 or above"),
        (["--ready-fd", "9"], "--ready-fd and --fd are the same, and it takes two descriptors"),
    ] {
        let said = say(mdev_user(&["serve", "mtty-1", "--fd", "9"]).args(arguments));
        assert!(complaint(&said, 2).contains(words), "{said:?}");
    }
}

#[test]
fn a_descriptor_that_takes_nothing_holds_nothing_up() {
    for is_full in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        if is_full {
            rustix::io::ioctl_fionbio(&writer, true).unwrap();
            while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
            rustix::io::ioctl_fionbio(&writer, false).unwrap();
        }
        let reader = is_full.then_some(reader);
        let child = serve_ready(directory.path(), writer);
        let path = directory.path().join("socket");
        soon("it listens", || path.exists());
        listening(&path);
        drop(crate::client(&path));
        let said = stop(child);
        assert_eq!(said.status, 0, "{said:?}");
        let words = if is_full { "" } else { "--ready-fd: cannot write: Broken pipe\n" };
        assert!(said.err.ends_with(words), "{said:?}");
        assert_eq!(said.err.lines().count(), usize::from(!is_full), "{said:?}");
        drop(reader);
    }
}

#[test]
fn a_line_end_and_no_more_is_written_when_clients_can_connect() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let child = serve_ready(directory.path(), writer);
    let mut told = String::new();
    // To its end, though the program goes on.
    (&reader).read_to_string(&mut told).unwrap();
    assert_eq!(told, "\n");
    drop(crate::client(&directory.path().join("socket")));
    assert_eq!(stop(child).status, 0);
}
