//! `LISTEN_FDS`: sockets that whoever manages the machine hands over, as systemd does.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{PROGRAM, Said, complaint, end, greet, mdev_user, plain, say, shell, soon};

const WAY_OUT: &str = "hand over a UNIX stream socket that listens or is connected";

/// Runs `$0 --log-level warn ARGUMENTS` with these variables, and with `socket` as descriptor 3.
fn activated(variables: &str, arguments: &str, socket: impl Into<OwnedFd>) -> Child {
    let script = format!("{variables} exec $0 --log-level warn {arguments} 3<&0 0</dev/null");
    let mut command = shell(&script);
    command.stdin(Stdio::from(socket.into()));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The same with two sockets, as 3 and 4. What it prints goes to standard error.
fn activated_by_two(
    variables: &str,
    arguments: &str,
    sockets: (impl Into<OwnedFd>, impl Into<OwnedFd>),
) -> Child {
    let redirections = "3<&0 4<&1 0</dev/null 1>&2";
    let script = format!("{variables} exec $0 --log-level warn {arguments} {redirections}");
    let mut command = shell(&script);
    command.stdin(Stdio::from(sockets.0.into())).stdout(Stdio::from(sockets.1.into()));
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn stop(child: Child) -> Said {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    end(child)
}

fn listener(directory: &tempfile::TempDir, name: &str) -> UnixListener {
    UnixListener::bind(directory.path().join(name)).unwrap()
}

#[test]
fn what_is_not_for_this_process_is_no_socket() {
    const NEEDED: &str = "a socket is needed: --socket-path PATH, --fd N, or one by LISTEN_FDS";
    let directory = tempfile::tempdir().unwrap();
    for (number, (variables, why)) in [
        ("", ""),
        ("LISTEN_PID=$$", ""),
        ("LISTEN_FDS=1", " (LISTEN_FDS is set without LISTEN_PID)"),
        ("LISTEN_FDS=1 LISTEN_PID=1", " (LISTEN_FDS is set, but for process 1 (LISTEN_PID))"),
    ]
    .into_iter()
    .enumerate()
    {
        let socket = listener(&directory, &number.to_string());
        let said = end(activated(variables, "serve mtty-1", socket));
        let expected = format!("{NEEDED}{why}; see `mdev-user serve --help`");
        assert_eq!(complaint(&said, 2), expected, "{variables}");
    }
}

#[test]
fn variables_that_make_no_sense_are_refused() {
    for (variables, words) in [
        ("LISTEN_FDS=0", "LISTEN_FDS is '0', and it has to be a number above 0"),
        ("LISTEN_FDS=-1", "LISTEN_FDS is '-1', and it has to be a number above 0"),
        ("LISTEN_FDS=one", "LISTEN_FDS is 'one', and it has to be a number above 0"),
        ("LISTEN_FDS=2147483647", "LISTEN_FDS is '2147483647', and it has to be a number above 0"),
        ("LISTEN_FDS=", "LISTEN_FDS is '', and it has to be a number above 0"),
        ("LISTEN_FDS=1 LISTEN_PID=me", "LISTEN_PID is 'me', and it has to be a number above 0"),
        ("LISTEN_FDS=1 LISTEN_FDNAMES=a:b", "LISTEN_FDNAMES has 2 names for LISTEN_FDS=1 sockets"),
        (
            "LISTEN_FDS=1 LISTEN_FDNAMES=vnc",
            "LISTEN_FDS, descriptor 3: nothing is known of a socket named 'vnc'; LISTEN_FDNAMES \
             (FileDescriptorName=) can have device, control, or no name, which is the device's",
        ),
        (
            "LISTEN_FDS=1 LISTEN_FDNAMES=control",
            "LISTEN_FDS has no socket for the device, only for control; add one, or --socket-path \
             PATH",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let variables = format!("LISTEN_PID=$$ {variables}");
        let said = end(activated(&variables, "serve mtty-1", listener(&directory, "s")));
        assert_eq!(complaint(&said, 1), words, "{variables}");
    }
}

#[test]
fn what_is_no_unix_stream_socket_is_refused_by_number_and_name() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    for (what, socket, words) in [
        ("a file", OwnedFd::from(File::open("/proc/self/status").unwrap()), "it is not a socket"),
        ("TCP", tcp.into(), "it is another kind of socket"),
        ("datagrams", datagram.into(), "it is another kind of socket"),
    ] {
        let said = end(activated("LISTEN_PID=$$ LISTEN_FDS=1", "serve mtty-1", socket));
        let expected = format!("LISTEN_FDS, descriptor 3: {words}; {WAY_OUT}");
        assert_eq!(complaint(&said, 1), expected, "{what}");
    }
    let script =
        "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=device:x:control exec $0 serve mtty-1 3<&-";
    let expected =
        format!("LISTEN_FDS, descriptor 3 ('device'): no such descriptor is open; {WAY_OUT}");
    assert_eq!(complaint(&say(&mut shell(script)), 1), expected);
}

#[test]
fn a_second_socket_for_one_purpose_is_refused() {
    const DEVICE: &str = "LISTEN_FDS has a socket for the device, and so has the command line; \
                          leave out --socket-path or --fd";
    for (names, arguments, words) in [
        ("device", "--socket-path /no/x", DEVICE),
        ("device", "--fd 9 9<&3", DEVICE),
        ("", "--socket-path /no/x", DEVICE),
        ("device", "--fd 3", "--fd 3 is one of the sockets of LISTEN_FDS; leave it out"),
        (
            "device",
            "--ready-fd 3",
            "--ready-fd 3 is one of the sockets of LISTEN_FDS; leave it out",
        ),
        (
            "control",
            "--socket-path /no/x --control-path /no/y",
            "LISTEN_FDS has a control socket, and --control-path asks for another; leave one out",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let variables = format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={names}");
        // Redirections are done from the left: 9 is to be a copy of what 3 will be.
        let arguments = arguments.replace("9<&3", "9<&0");
        let arguments = format!("serve mtty-1 {arguments}");
        let said = end(activated(&variables, &arguments, listener(&directory, "s")));
        assert_eq!(complaint(&said, 1), words, "{names} {arguments}");
    }
    let directory = tempfile::tempdir().unwrap();
    let two = (listener(&directory, "one"), listener(&directory, "two"));
    let said = end(activated_by_two("LISTEN_PID=$$ LISTEN_FDS=2", "serve mtty-1", two));
    let expected = "LISTEN_FDS has two sockets for the device, descriptors 3 and 4; name them by \
                    LISTEN_FDNAMES (FileDescriptorName=)";
    assert_eq!(complaint(&said, 1), expected);
}

#[test]
fn a_control_socket_has_to_listen() {
    let directory = tempfile::tempdir().unwrap();
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let variables = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=device:control";
    let two = (listener(&directory, "device"), theirs);
    let said = end(activated_by_two(variables, "serve mtty-1", two));
    let expected = "LISTEN_FDS: the control socket is connected; hand over one that listens \
                    (Accept=no)";
    assert_eq!(complaint(&said, 1), expected);
}

#[test]
fn another_process_s_sockets_are_left_alone_when_there_is_a_socket_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("own");
    let arguments = format!("serve mtty-1 --socket-path {}", own.display());
    for variables in ["LISTEN_FDS=1", "LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_PID=x"] {
        let other = tempfile::tempdir().unwrap();
        let child = activated(variables, &arguments, listener(&other, "other"));
        soon("it listens", || own.exists());
        crate::listening(&own);
        drop(crate::client(&own));
        assert_eq!(stop(child).status, 0, "{variables}");
        assert!(!own.exists());
    }
}

#[test]
fn a_listening_socket_is_the_device_s_with_that_name_or_none_and_its_file_stays() {
    for names in [
        "",
        "LISTEN_FDNAMES=",
        "LISTEN_FDNAMES=device",
        "LISTEN_FDNAMES=unknown",
        "LISTEN_FDNAMES=mdev-user@mtty-1.socket",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("given.sock");
        let variables = format!("LISTEN_PID=$$ LISTEN_FDS=1 {names}");
        let child = activated(&variables, "serve mtty-1", UnixListener::bind(&path).unwrap());
        drop(crate::client(&path));
        drop(crate::client(&path));
        let said = stop(child);
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{names}");
        let ready = format!("mdev-user: vfio0 (mtty-1) is ready on {}\n", path.display());
        assert!(said.out.starts_with(&ready), "{names}: {said:?}");
        assert!(path.exists(), "{names}");
    }
}

#[test]
fn a_connection_is_served_and_the_program_ends_with_it() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let variables = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=connection";
    let child = activated(variables, "serve mtty-1", theirs);
    assert_eq!(greet(&mut ours), 0);
    drop(ours);
    let said = end(child);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}

#[test]
fn names_tell_the_device_s_socket_from_the_control_socket() {
    for names in ["device:control", "control:device", ":control"] {
        let directory = tempfile::tempdir().unwrap();
        let [device, control] = ["device", "control"].map(|name| directory.path().join(name));
        let two = (listener(&directory, "device"), listener(&directory, "control"));
        let two = if names == "control:device" { (two.1, two.0) } else { two };
        let variables = format!("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names}");
        let child = activated_by_two(&variables, "serve mtty-1", two);
        let said = say(mdev_user(&["info", "--json", "-c"]).arg(&control));
        assert_eq!(said.status, 0, "{names}: {said:?}");
        let info: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(info["devices"][0]["socket"], device.to_str().unwrap(), "{names}");
        drop(crate::client(&device));
        let said = stop(child);
        assert_eq!(said.status, 0, "{names}: {said:?}");
        assert!(device.exists() && control.exists(), "{names}");
    }
}

#[test]
fn a_control_socket_can_be_handed_over_beside_a_device_s_path() {
    let directory = tempfile::tempdir().unwrap();
    let [own, control] = ["own", "control"].map(|name| directory.path().join(name));
    let arguments = format!("serve mtty-1 --socket-path {}", own.display());
    let variables = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=control";
    let child = activated(variables, &arguments, listener(&directory, "control"));
    assert_eq!(say(mdev_user(&["info", "-c"]).arg(&control)).status, 0);
    assert_eq!(stop(child).status, 0);
    assert!(!own.exists() && control.exists());
}

#[test]
fn run_refuses_a_device_s_socket() {
    let directory = tempfile::tempdir().unwrap();
    let variables = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=device";
    let said = end(activated(variables, "run mtty-1 -- true", listener(&directory, "s")));
    let expected = "LISTEN_FDS, descriptor 3: nothing is known of a socket named 'device'; \
                    LISTEN_FDNAMES (FileDescriptorName=) can have control, or no name; `run` makes \
                    those of its devices itself";
    assert_eq!(complaint(&said, 1), expected);
}

#[test]
fn run_keeps_its_control_socket_from_its_command() {
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    // The command asks as anybody could, and then looks at what it was given itself.
    let command = format!(
        "run mtty-1 -- /bin/sh -c '{PROGRAM} info -c {} && env && readlink /proc/self/fd/3'",
        control.display()
    );
    let variables = "LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=/no/such";
    let said = end(activated(variables, &command, listener(&directory, "control")));
    // readlink finds no descriptor 3, but for one that the shell itself opens to read a script.
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.out.starts_with("vfio0"), "{said:?}");
    assert!(said.out.contains("PATH="), "{said:?}");
    for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"] {
        assert!(!said.out.contains(variable), "{variable}: {said:?}");
    }
    assert!(!said.out.contains("socket:["), "{said:?}");
    assert!(control.exists());
}

/// The tool with which systemd's own people try this.
fn socket_activate() -> Option<&'static Path> {
    let path = Path::new("/usr/bin/systemd-socket-activate");
    if !path.exists() {
        eprintln!("NOT TESTED: there is no {}; install systemd", path.display());
    }
    Some(path).filter(|path| path.exists())
}

#[test]
fn systemd_socket_activate_starts_it_at_the_first_client() {
    let Some(tool) = socket_activate() else { return };
    let directory = tempfile::tempdir().unwrap();
    let [device, control] = ["device", "control"].map(|name| directory.path().join(name));
    let mut command = Command::new(tool);
    command.arg("--listen").arg(&device).arg("--listen").arg(&control);
    command.arg("--fdname=device:control");
    command.args([PROGRAM, "--log-level", "warn", "serve", "mtty-1", "--once"]);
    plain(&mut command);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    crate::listening(&device);
    let client = crate::client(&device);
    let said = say(mdev_user(&["info", "-c"]).arg(&control));
    assert_eq!(said.status, 0, "{said:?}");
    drop(client);
    let said = end(child);
    assert_eq!(said.status, 0, "{said:?}");
    assert!(said.out.contains("is ready on"), "{said:?}");
    assert!(device.exists() && control.exists());
}

#[test]
fn systemd_socket_activate_starts_one_for_each_client_if_it_is_to_accept() {
    let Some(tool) = socket_activate() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device");
    let mut command = Command::new(tool);
    command.arg("--accept").arg("--listen").arg(&path);
    command.args([PROGRAM, "--log-level", "warn", "serve", "mtty-1"]);
    plain(&mut command);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    crate::listening(&path);
    // Each has a device of its own: nobody is told that it is busy.
    let mut clients: Vec<_> = (0..2).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for client in &mut clients {
        assert_eq!(greet(client), 0);
    }
    drop(clients.remove(0));
    let mut rest = Vec::new();
    clients[0].shutdown(std::net::Shutdown::Write).unwrap();
    clients[0].read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    end(child);
}
