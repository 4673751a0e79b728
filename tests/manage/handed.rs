//! What whoever manages the machine hands over to a manager, and is told by it.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::managed::{Managed, ONE, PATIENCE, end, launch, launch_by, program, shell, soon};
use crate::vfio::{Client, command, errno, version};

/// Hands `socket` over as descriptor 3, with these variables.
pub fn handing(variables: &str, socket: impl Into<OwnedFd>) -> Command {
    let script =
        format!("LISTEN_PID=$$ LISTEN_FDS=1 {variables} exec \"$0\" \"$@\" 3<&0 0</dev/null");
    let mut command = shell(&script);
    command.stdin(Stdio::from(socket.into()));
    command
}

/// A directory with a run directory in it, and a socket that listens there as `control`, as systemd makes them.
fn made_by_systemd(mode: u32) -> (tempfile::TempDir, UnixListener, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, Permissions::from_mode(0o700)).unwrap();
    let (path, listener) = listener(&run, mode);
    (directory, listener, path)
}

fn listener(directory: &Path, mode: u32) -> (PathBuf, UnixListener) {
    let path = directory.join("control");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (path, listener)
}

/// How a manager that refuses says so.
fn complaint(command: Command, directory: &Path, more: &[&str]) -> String {
    let mut child = launch_by(command, directory, more);
    let mut status = None;
    soon("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let log = fs::read_to_string(directory.join("log")).unwrap();
    fs::remove_file(directory.join("log")).unwrap();
    assert_eq!(status.unwrap().code(), Some(1), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    log.trim_end().strip_prefix("mdev-user: ").unwrap().to_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

#[test]
fn what_a_manager_has_no_use_for_is_refused_and_nothing_is_made() {
    let (directory, listener, path) = made_by_systemd(0o600);
    let listener = || listener.try_clone().unwrap();
    let known = "LISTEN_FDNAMES (FileDescriptorName=) can have control, or no name; a manager makes \
                 those of its devices itself";
    for name in ["device", "vnc"] {
        let command = handing(&format!("LISTEN_FDNAMES={name}"), listener());
        let expected = format!(
            "LISTEN_FDS, descriptor 3: nothing is known of a socket named '{name}'; {known}"
        );
        assert_eq!(complaint(command, directory.path(), &[]), expected);
    }
    let (connected, _other) = UnixStream::pair().unwrap();
    let expected =
        "LISTEN_FDS: the control socket is connected; hand over one that listens (Accept=no)";
    assert_eq!(complaint(handing("", connected), directory.path(), &[]), expected);
    let expected = "--ready-fd 3 is one of the sockets of LISTEN_FDS; leave it out";
    let said = complaint(handing("", listener()), directory.path(), &["--ready-fd", "3"]);
    assert_eq!(said, expected);
    let expected = "--ready-fd 9: no such descriptor is open; hand over the end of a pipe that can be \
                    written to";
    assert_eq!(complaint(program(), directory.path(), &["--ready-fd", "9"]), expected);
    assert_eq!(names(path.parent().unwrap()), ["control"]);
}

#[test]
fn a_socket_that_systemd_listens_at_is_said_to_be_that_if_it_is_not_handed_over() {
    let (directory, _listener, path) = made_by_systemd(0o600);
    let line = complaint(program(), directory.path(), &[]);
    assert!(line.starts_with(path.canonicalize().unwrap().to_str().unwrap()), "{line}");
    assert!(
        line.contains("no manager has made it (systemd, perhaps, for mdev-user.socket"),
        "{line}"
    );
    UnixStream::connect(path).unwrap();
}

#[test]
fn the_control_socket_of_the_run_directory_can_be_handed_over_and_stays() {
    for names_of in ["", "LISTEN_FDNAMES=control", "LISTEN_FDNAMES=mdev-user.socket"] {
        let (directory, listener, path) = made_by_systemd(0o600);
        let inode = path.metadata().unwrap().ino();
        let held = listener.try_clone().unwrap();
        let mut managed = Managed::start_by(handing(names_of, listener), directory, &[]);
        let made = managed.create(&["mtty-1", "--uuid", ONE]);
        let said = program().args(["remove", "-c"]).arg(&path).arg(ONE).spawn().unwrap();
        end(said).ok();
        assert!(!made.socket.exists());
        assert_eq!(managed.finish(Signal::TERM).code(), Some(0), "{}", managed.log());
        assert_eq!(names(&managed.run_dir()), ["control"], "{names_of}");
        assert_eq!(path.metadata().unwrap().ino(), inode);
        // Who comes now waits for the next manager.
        held.set_nonblocking(true).unwrap();
        UnixStream::connect(&path).unwrap();
        held.accept().unwrap();
    }
}

#[test]
fn after_a_kill_the_next_manager_is_handed_the_same_socket() {
    let config = ["--config", "DIR/devices.json", "--save"];
    let (directory, listener, path) = made_by_systemd(0o600);
    let held = listener.try_clone().unwrap();
    let managed = Managed::start_by(handing("", listener), directory, &config);
    managed.create(&["mtty-2", "--uuid", ONE]);
    let directory = managed.kill();
    // Asked before there is a manager: the answer comes when there is.
    let asked = program().args(["list", "--json", "-c"]).arg(&path).spawn().unwrap();
    let mut managed = Managed::start_by(handing("", held), directory, &config);
    end(asked).ok();
    let listed = managed.list();
    assert_eq!(listed.pointer(&format!("/0/mtty/0/{ONE}/state")), Some(&json!("registered")));
    managed.finish(Signal::TERM);
    assert_eq!(names(&managed.run_dir()), ["control"]);
}

#[test]
fn beside_a_socket_that_is_elsewhere_the_run_directory_has_its_own() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (path, listener) = listener(elsewhere.path(), 0o600);
    let managed = Managed::start_by(handing("", listener), tempfile::tempdir().unwrap(), &[]);
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    let out = end(program().args(["list", "-c"]).arg(&path).spawn().unwrap()).ok();
    assert_eq!(out, format!("{ONE} mtty mtty-1 manual vfio0 registered\n"));
    assert_eq!(managed.say(&["list"]).ok(), out);
    assert_eq!((mode(&managed.path("control")), mode(&made.socket)), (0o600, 0o600));
    // Its end is looked at by `Managed`: all of its own is gone.
    drop(managed);
    assert!(path.exists(), "it is somebody else's");
}

#[test]
fn a_socket_without_a_path_can_be_handed_over() {
    let name = format!("mdev-user/manage/{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let managed = Managed::start_by(handing("", listener), tempfile::tempdir().unwrap(), &[]);
    let mut client = UnixStream::connect_addr(&address).unwrap();
    client.write_all(b"{\"verb\":\"list\"}\n").unwrap();
    let mut answer = [0; 64];
    let size = client.read(&mut answer).unwrap();
    assert_eq!(answer[..size], *b"{\"ok\":{\"devices\":[]}}\n");
    managed.say(&["list"]).ok();
}

#[test]
fn a_line_end_and_no_more_is_written_when_the_definitions_are_devices() {
    let directory = tempfile::tempdir().unwrap();
    let text = json!([{ "mtty": [{ ONE: { "mdev_type": "mtty-1", "start": "auto" } }] }]);
    fs::write(directory.path().join("devices.json"), text.to_string()).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = shell("exec \"$0\" \"$@\" 9<&0 0</dev/null");
    command.stdin(Stdio::from(OwnedFd::from(writer)));
    let more = ["--config", "DIR/devices.json", "--ready-fd", "9"];
    let mut child = launch_by(command, directory.path(), &more);
    // A process that the test forks meanwhile for another test may hold the pipe for a moment.
    let mut told = String::new();
    reader.read_to_string(&mut told).unwrap();
    assert_eq!(told, "\n");
    let run = directory.path().join("run");
    assert!(run.join(format!("devices/{ONE}/socket")).exists());
    end(program().args(["list", "--run-dir"]).arg(&run).spawn().unwrap()).ok();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn whoever_started_it_is_told_how_many_devices_there_are_and_how_many_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 4096];
        let size = socket.recv(&mut buffer).expect("it tells");
        String::from_utf8(buffer[..size].to_vec()).unwrap()
    };
    let mut command = program();
    command.env("NOTIFY_SOCKET", &path);
    let mut managed = Managed::start_by(command, tempfile::tempdir().unwrap(), &[]);
    assert_eq!(told(), "READY=1\nSTATUS=0 devices, 0 in use");
    let one = managed.create(&["mtty-1"]);
    assert_eq!(told(), "STATUS=1 device, 0 in use");
    let two = managed.create(&["mdpy-vga"]);
    assert_eq!(told(), "STATUS=2 devices, 0 in use");
    let user = Client::negotiated(&one.socket);
    assert_eq!(told(), "STATUS=2 devices, 1 in use");
    // One that is going is there until its release.
    let removing = managed.begin(&["remove", &one.uuid]);
    soon("it is hidden", || !one.socket.exists());
    managed.remove(&two);
    assert_eq!(told(), "STATUS=1 device, 1 in use");
    drop(user);
    end(removing).ok();
    let mut status = told();
    // Both can be said by one message, if nobody reads between them.
    if status == "STATUS=1 device, 0 in use" {
        status = told();
    }
    assert_eq!(status, "STATUS=0 devices, 0 in use");
    managed.finish(Signal::TERM);
    assert_eq!(told(), "STOPPING=1\nSTATUS=ending");
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The error number of the answer to VERSION.
fn greeting(socket: &Path) -> u32 {
    let mut client = Client::connect(socket);
    client.send(command::VERSION, 0, &version(0, 0, crate::vfio::QEMU_CAPABILITIES), &[]);
    client.receive().expect("an answer").error
}

#[test]
fn who_is_not_named_may_use_neither_the_control_socket_nor_a_device() {
    let text = json!([{ "mtty": [{ ONE: { "mdev_type": "mtty-1", "start": "auto" } }] }]);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("devices.json"), text.to_string()).unwrap();
    let other = (uid() + 1).to_string();
    let more = ["--config", "DIR/devices.json", "--allow-uid", &other];
    let managed = Managed::start_in(directory, &more);
    assert_eq!(greeting(&managed.path("vfio/devices/vfio0")), errno::EACCES);
    let line = managed.say(&["list"]).refused(1);
    let expected = format!(
        "EACCES: uid {} may not use this control socket; have the server --allow-uid it",
        uid()
    );
    assert_eq!(line, expected);
    assert_eq!(managed.read(&format!("devices/{ONE}/vfio-dev/vfio0/open_count")).unwrap(), "0");
    let words = format!("turned away: uid {} is not allowed", uid());
    let told = |line: &str| line.ends_with(&words);
    // Which is written after the answer.
    soon("both are logged", || managed.log().lines().filter(|line| told(line)).count() == 2);
}

#[test]
fn who_is_named_may_use_them_and_modes_stay() {
    let (one, two) = ((uid() + 1).to_string(), uid().to_string());
    let managed = Managed::start_with(&["--allow-uid", &one, "--allow-uid", &two]);
    let made = managed.create(&["mtty-1"]);
    Client::negotiated(&made.socket).still_in_step();
    let modes = ["", "vfio/devices", "vfio/devices/vfio0", "control"];
    let modes = modes.map(|name| mode(&managed.path(name)));
    assert_eq!(modes, [0o700, 0o700, 0o600, 0o600]);
}

#[test]
fn a_device_s_socket_is_open_to_those_to_whom_the_control_socket_is_that_was_handed_over() {
    for (given, expected, way) in
        [(0o600, 0o600, 0o700), (0o644, 0o600, 0o700), (0o666, 0o666, 0o711)]
    {
        let (directory, listener, _) = made_by_systemd(given);
        let mut managed = Managed::start_by(handing("", listener), directory, &[]);
        let made = managed.create(&["mtty-1"]);
        let found = ["vfio", "vfio/devices", "devices", "mdev_supported_types"]
            .map(|it| mode(&managed.path(it)));
        assert_eq!(found, [way, way, 0o700, 0o700], "{given:o}");
        assert_eq!(mode(&made.socket), expected, "{given:o}");
        // Whose directory that was, whose it stays.
        assert_eq!(mode(&managed.run_dir()), 0o700);
        managed.finish(Signal::TERM);
    }
}

/// Creates a device by a control socket, as another user, and says VERSION to it. Prints the error number of the answer.
/// Who is turned away may hear so before it has written.
const STRANGER: &str = r#"use Socket;
    $SIG{PIPE} = 'IGNORE';
    sub to { my $s; socket($s, AF_UNIX, SOCK_STREAM, 0); connect($s, pack_sockaddr_un($_[0])) or die $!; $s }
    $control = to($ARGV[0]);
    syswrite($control, qq({"verb":"create","type":"mtty-1"}\n));
    $answer = <$control>;
    ($path) = $answer =~ /"socket":"([^"]*)"/ or die $answer;
    $device = to($path);
    syswrite($device, pack('SSLLLL', 1, 1, 20, 0, 0, 0));
    sysread($device, $answer, 16) == 16 or die; print unpack('x12 L', $answer)"#;

/// Only root can be two users.
#[test]
fn another_user_makes_a_device_and_uses_it_if_it_is_let_in_and_named() {
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65534;
    if uid() != 0 {
        eprintln!("NOT TESTED: it takes root to be two users");
        return;
    }
    for (given, allowed, expected) in [
        (0o666, NOBODY, Ok("0")),
        (0o666, NOBODY - 1, Err("uid 65534 may not use this control socket")),
        (0o600, NOBODY, Err("Permission denied")),
    ] {
        let (directory, listener, path) = made_by_systemd(given);
        for way in [directory.path(), path.parent().unwrap()] {
            fs::set_permissions(way, Permissions::from_mode(0o711)).unwrap();
        }
        let more = ["--allow-uid", &allowed.to_string()];
        let mut managed = Managed::start_by(handing("", listener), directory, &more);
        let mut stranger = Command::new("/usr/bin/perl");
        stranger.args(["-e", STRANGER]).arg(&path).uid(NOBODY).gid(NOBODY);
        stranger.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = end(stranger.spawn().unwrap());
        match expected {
            Ok(out) => assert_eq!((said.out.as_str(), said.err.as_str()), (out, "")),
            Err(words) => assert!(said.out.is_empty() && said.err.contains(words), "{said:?}"),
        }
        managed.finish(Signal::TERM);
    }
}

/// Becomes another user, who is in one group more, and then the program.
const AS_ANOTHER: &str = r#"$) = "65534 $ENV{GROUPS_MORE}"; $( = 65534; ($<, $>) = (65534, 65534);
    exec @ARGV or die $!"#;

/// Only root can become another user.
#[test]
fn a_group_s_devices_need_a_manager_that_is_in_it_and_the_log_says_so_once() {
    const NOBODY: u32 = 65534;
    const GROUP: u32 = 54321;
    if uid() != 0 {
        eprintln!("NOT TESTED: it takes root to be another user");
        return;
    }
    for (mode, groups, expected) in [
        (0o660, "65534", (0o600, NOBODY)),
        (0o660, "65534 54321", (0o660, GROUP)),
        // All may, in whatever group they are.
        (0o666, "65534", (0o666, NOBODY)),
    ] {
        let (directory, listener, path) = made_by_systemd(mode);
        for it in [directory.path(), path.parent().unwrap()] {
            chown(it, Some(NOBODY), None).unwrap();
        }
        chown(&path, Some(NOBODY), Some(GROUP)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let mut command = shell(
            "LISTEN_PID=$$ LISTEN_FDS=1 exec perl -e \"$AS_ANOTHER\" \"$0\" \"$@\" 3<&0 0</dev/null",
        );
        command.env("AS_ANOTHER", AS_ANOTHER).env("GROUPS_MORE", groups);
        command.stdin(Stdio::from(OwnedFd::from(listener)));
        let mut managed = Managed::start_by(command, directory, &[]);
        let made = [managed.create(&["mtty-1"]), managed.create(&["mdpy-vga"])];
        for made in &made {
            let found = made.socket.metadata().unwrap();
            assert_eq!((found.mode() & 0o7777, found.gid()), expected, "{groups}");
        }
        let log = managed.log();
        let words: Vec<_> =
            log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
        let refused = expected.0 == 0o600;
        assert_eq!(words.len(), usize::from(refused), "{log}");
        for words in words {
            assert!(words.contains("SupplementaryGroups=54321"), "{words}");
            assert!(words.contains("stay this user's alone"), "{words}");
        }
        managed.finish(Signal::TERM);
    }
}

#[test]
fn a_number_that_is_no_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for text in ["root", "-1", "4294967295"] {
        let mut child = launch(directory.path(), &["--allow-uid", text]);
        assert_eq!(child.wait().unwrap().code(), Some(2));
    }
    assert!(!directory.path().join("run").exists());
}
