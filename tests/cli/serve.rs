//! `mdev-user serve`: from the line that says that it is ready to its end.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::Program;
use crate::{Said, end, listening, mdev_user, say, shell, socket_of};

/// Starts a command that serves, with both of its streams in pipes, and waits until it is ready.
pub fn start(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Byte for byte: nothing is to be taken from the pipe that `end` reads.
    let out = child.stdout.as_mut().unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        out.read_exact(&mut byte).expect("it says that it is ready");
        line.extend(byte);
    }
    (child, String::from_utf8(line).unwrap())
}

fn stop(child: Child, signal: Signal) -> Said {
    kill_process(Pid::from_child(&child), signal).unwrap();
    end(child)
}

/// Conformance: S60.
#[test]
fn each_signal_that_asks_it_to_end_does_so_cleanly() {
    for (signal, name) in
        [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::HUP, "SIGHUP")]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let (child, _) = start(mdev_user(&["serve", "mtty-2", "--socket-path"]).arg(&path));
        let mut client = crate::client(&path);
        let said = stop(child, signal);
        assert_eq!(said.status, 0, "{said:?}");
        assert!(said.err.contains(&format!(" INFO  {name}: ending\n")), "{said:?}");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "the client sees the end, and nothing before it");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "left behind");
    }
}

#[test]
fn a_signal_that_it_was_started_to_ignore_stays_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sock");
    // What nohup does, and what a shell's & does.
    let script = "trap '' HUP INT; exec $0 serve mtty-1 --socket-path \"$1\"";
    let (child, _) = start(shell(script).arg(&path));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::HUP).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    drop(crate::client(&path));
    let said = stop(child, Signal::TERM);
    assert_eq!(said.status, 0);
    assert!(said.err.contains("SIGTERM: ending"), "{said:?}");
    assert!(!said.err.contains("SIGHUP") && !said.err.contains("SIGINT"), "{said:?}");
}

#[test]
fn once_ends_with_the_first_client_and_not_with_one_that_never_was() {
    let mut program = Program::serve_with("mtty-1", &["--once"]);
    // It connects and says nothing: no client of the device.
    drop(UnixStream::connect(program.path()).unwrap());
    let client = crate::client(&program.path());
    drop(client);
    assert_eq!(program.wait().code(), Some(0));
    assert!(!program.path().exists());
}

#[test]
fn without_once_one_client_follows_the_other() {
    let program = Program::serve("mtty-2");
    for _ in 0..3 {
        drop(crate::client(&program.path()));
    }
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    let program = Program::serve("mtty-1");
    let mode = fs::metadata(program.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_argument_for_qemu_can_be_pasted_into_a_shell_whatever_the_path_holds() {
    for name in
        ["plain", "with space", "it's", "a,b=c", "$HOME `id` \"x\"", "back\\slash", "\u{e4}"]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        let (child, ready) = start(mdev_user(&["serve", "mtty-1", "--socket-path"]).arg(&path));
        assert_eq!(ready, format!("mdev-user: vfio0 (mtty-1) is ready on {}\n", path.display()));
        let said = stop(child, Signal::TERM);
        let lines: Vec<&str> = said.out.lines().collect();
        assert_eq!(lines[0], "Give QEMU this argument:", "{said:?}");
        assert_eq!(lines.len(), 2, "{said:?}");
        let pasted = say(&mut shell(&format!("printf '%s\\n' {}", lines[1])));
        let words: Vec<&str> = pasted.out.lines().collect();
        assert_eq!(words[0], "-device", "{pasted:?}");
        assert_eq!(words.len(), 2, "{pasted:?}");
        assert_eq!(Path::new(&socket_of(words[1])), path);
    }
}

#[test]
fn where_a_port_is_that_the_command_line_does_not_say_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it");
    let ends = ["--serial0", "pty", "--serial1", "tcp::0"];
    let (child, _) = start(mdev_user(&["serve", "mtty-2", "--socket-path"]).arg(&path).args(ends));
    let said = stop(child, Signal::TERM);
    let places: Vec<&str> = said.out.lines().skip(2).collect();
    assert!(places[0].starts_with("mdev-user: vfio0 (mtty-2): port 0 is at /dev/pts/"), "{said:?}");
    assert!(
        places[1].starts_with("mdev-user: vfio0 (mtty-2): port 1 is at 127.0.0.1:"),
        "{said:?}"
    );
    assert_eq!(places.len(), 2);

    let named = format!("unix:{}", directory.path().join("port").display());
    let ends = ["--serial0", "null", "--serial1", &named];
    let (child, _) = start(mdev_user(&["serve", "mtty-2", "--socket-path"]).arg(&path).args(ends));
    assert_eq!(stop(child, Signal::TERM).out.lines().count(), 2);
}

#[test]
fn a_relative_path_is_absolute_for_qemu() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = mdev_user(&["serve", "mtty-1", "--socket-path", "x.sock"]);
    let (child, _) = start(command.current_dir(directory.path()));
    let said = stop(child, Signal::TERM);
    let path = directory.path().canonicalize().unwrap().join("x.sock");
    assert!(said.out.contains(&format!("\"path\":\"{}\"", path.display())), "{said:?}");
}

#[test]
fn a_path_that_qemu_cannot_be_told_is_served_all_the_same() {
    use std::os::unix::ffi::OsStrExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(std::ffi::OsStr::from_bytes(b"\xff.sock"));
    let (child, _) = start(mdev_user(&["serve", "mtty-1", "--socket-path"]).arg(&path));
    drop(crate::client(&path));
    let said = stop(child, Signal::TERM);
    assert_eq!(
        (said.status, said.out.as_str()),
        (0, "QEMU can only be told paths that are UTF-8\n")
    );
}

#[test]
fn standard_output_that_nobody_reads_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sock");
    let serve = || mdev_user(&["--log-level", "warn", "serve", "mtty-1", "--socket-path"]);

    let (mut reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let child = serve().arg(&path).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    listening(&path);
    drop(crate::client(&path));
    // Read at last, it has what was to be said.
    let mut lines = BufReader::new(&mut reader).lines();
    let ready = lines.next().unwrap().unwrap();
    assert!(ready.ends_with(&format!("mdev-user: vfio0 (mtty-1) is ready on {}", path.display())));
    assert_eq!(stop(child, Signal::TERM).status, 0);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = serve().arg(&path).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    listening(&path);
    drop(crate::client(&path));
    let said = stop(child, Signal::TERM);
    assert_eq!((said.status, said.err.as_str()), (0, ""));

    // Closed altogether, all three.
    let script = "exec $0 --log-level warn serve mtty-1 --socket-path \"$1\" <&- >&- 2>&-";
    let child = shell(script).arg(&path).spawn().unwrap();
    listening(&path);
    drop(crate::client(&path));
    assert_eq!(stop(child, Signal::TERM).status, 0);
    assert!(!path.exists());
}

#[test]
fn the_log_names_device_and_client_and_is_as_loud_as_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sock");
    let log = |arguments: &[&str], environment: Option<&str>| {
        let mut command = mdev_user(arguments);
        command.args(["serve", "mtty-1", "--socket-path"]).arg(&path);
        if let Some(value) = environment {
            command.env("RUST_LOG", value);
        }
        let (child, _) = start(&mut command);
        drop(crate::client(&path));
        let said = stop(child, Signal::TERM);
        assert_eq!(said.status, 0);
        said.err
    };
    let me = format!("pid {}", std::process::id());
    let info = log(&[], None);
    assert!(info.contains("INFO  vfio0 (mtty-1): ") && info.contains(&me), "{info}");
    assert!(!info.contains("DEBUG"), "{info}");
    assert_eq!(log(&["--log-level", "off"], None), "");
    assert_eq!(log(&[], Some("off")), "");
    assert!(log(&["--log-level", "debug"], None).contains("DEBUG vfio0"));
    assert!(log(&[], Some("debug")).contains("DEBUG vfio0"));
    assert!(log(&[], Some("vfio_user_server=debug")).contains("DEBUG vfio0"));
    // The option stands above the variable.
    assert_eq!(log(&["--log-level", "off"], Some("trace")), "");
    // Nonsense is no reason not to serve.
    let nonsense = log(&[], Some("a=b=c"));
    assert!(nonsense.contains("invalid logging spec 'a=b=c', ignoring it"), "{nonsense}");
    assert!(nonsense.contains("INFO  vfio0"), "{nonsense}");
}

#[test]
fn two_programs_serve_side_by_side() {
    let [one, other] = [Program::serve("mtty-1"), Program::serve("mtty-2")];
    assert!(one.ready.contains("vfio0 (mtty-1) is ready on "));
    assert!(other.ready.contains("vfio0 (mtty-2) is ready on "));
    let _clients = [crate::client(&one.path()), crate::client(&other.path())];
}
