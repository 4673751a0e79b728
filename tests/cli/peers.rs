//! `--allow-uid`: whose processes may use the sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::serve::start;
use crate::{Said, complaint, end, greet, mdev_user, say, shell};

const EACCES: u32 = 13;

/// Serves on `device` and `control` in `directory`, for these users.
fn serve(directory: &tempfile::TempDir, uids: &[u32]) -> Child {
    let mut command = mdev_user(&["--log-level", "warn", "serve", "mtty-1", "--socket-path"]);
    command.arg(directory.path().join("device"));
    command.arg("--control-path").arg(directory.path().join("control"));
    for uid in uids {
        command.args(["--allow-uid", &uid.to_string()]);
    }
    start(&mut command).0
}

fn stop(child: Child) -> Said {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    end(child)
}

fn uid() -> u32 {
    geteuid().as_raw()
}

#[test]
fn what_is_no_user_is_refused() {
    for text in ["-1", "4294967295", "4294967296", "root", "", "1,2", " 1"] {
        let said = say(&mut mdev_user(&["serve", "mtty-1", "--fd", "9", "--allow-uid", text]));
        let line = complaint(&said, 2);
        assert!(
            line.contains("a user is a number, 0 to 4294967294; `id -u NAME` tells it")
                || text.is_empty() && line.contains("a value is required"),
            "{line}"
        );
    }
}

#[test]
fn a_stranger_is_told_so_in_answer_to_its_version_and_named_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let child = serve(&directory, &[uid() + 1, uid() + 2]);
    let path = directory.path().join("device");
    for _ in 0..3 {
        let mut client = UnixStream::connect(&path).unwrap();
        assert_eq!(greet(&mut client), EACCES);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is closed");
    }
    let said = stop(child);
    assert_eq!(said.status, 0, "{said:?}");
    let (pid, uid) = (std::process::id(), uid());
    let words = format!(" (pid {pid}) is turned away: uid {uid} is not allowed");
    for line in said.err.lines() {
        assert!(line.contains(" WARN  vfio0 (mtty-1): client "), "{said:?}");
        assert!(line.ends_with(&words), "{said:?}");
    }
    assert_eq!(said.err.lines().count(), 3, "{said:?}");
}

#[test]
fn many_strangers_fill_no_log_and_do_not_end_it() {
    let directory = tempfile::tempdir().unwrap();
    let child = serve(&directory, &[uid() + 1]);
    let [device, control] = ["device", "control"].map(|name| directory.path().join(name));
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(UnixStream::connect(&device).unwrap());
        drop(UnixStream::connect(&control).unwrap());
    }
    let mut last = UnixStream::connect(&device).unwrap();
    assert_eq!(greet(&mut last), EACCES);
    let said = stop(child);
    assert_eq!(said.status, 0, "{said:?}");
    // Ten a second of each kind. It would take a minute for all of them.
    assert!(said.err.lines().count() < 300, "{}", said.err.lines().count());
}

#[test]
fn a_stranger_at_the_control_socket_gets_a_line_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let child = serve(&directory, &[uid() + 1]);
    let path = directory.path().join("control");
    let words = format!(
        "EACCES: uid {} may not use this control socket; have the server --allow-uid it",
        uid()
    );
    let said = say(mdev_user(&["info", "-c"]).arg(&path));
    assert_eq!(complaint(&said, 1), words);

    // Without a word of its own, too.
    let mut line = String::new();
    BufReader::new(UnixStream::connect(&path).unwrap()).read_line(&mut line).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(answer["error"]["errno"], "EACCES", "{answer}");

    let said = stop(child);
    let lines: Vec<_> = said.err.lines().filter(|line| line.contains("control socket")).collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    let (pid, uid) = (std::process::id(), uid());
    let end = format!("a client (pid {pid}) is turned away: uid {uid} is not allowed");
    assert!(lines[1].contains(" WARN ") && lines[1].ends_with(&end), "{said:?}");
}

#[test]
fn a_connection_that_was_handed_over_is_looked_at_as_well() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let script = format!(
        "exec $0 --log-level error serve mtty-1 --fd 9 --allow-uid {} 9<&0 0</dev/null",
        uid() + 1
    );
    let mut command = shell(&script);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(greet(&mut ours), EACCES);
    let said = end(child);
    assert_eq!((said.status, said.err.as_str()), (0, ""));
}

#[test]
fn those_who_are_named_are_served() {
    for uids in [&[uid()][..], &[uid() + 1, uid()], &[]] {
        let directory = tempfile::tempdir().unwrap();
        let child = serve(&directory, uids);
        drop(crate::client(&directory.path().join("device")));
        let control = directory.path().join("control");
        assert_eq!(say(mdev_user(&["info", "-c"]).arg(&control)).status, 0);
        let said = stop(child);
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{uids:?}");
    }
}

/// Only root can be two users.
#[test]
fn strangers_take_no_place_from_those_who_are_named() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    const NOBODY: u32 = 65534;
    if uid() != 0 {
        eprintln!("NOT TESTED: it takes root to be two users");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let child = serve(&directory, &[NOBODY]);
    let path = directory.path().join("device");
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    // As many as are held, and they say nothing.
    let strangers: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let script = "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); \
        connect(S, pack_sockaddr_un($ARGV[0])) or die $!; \
        syswrite(S, pack('SSLLLL', 1, 1, 20, 0, 0, 0)); \
        sysread(S, $answer, 16) == 16 or die; print unpack('x12 L', $answer); $| = 1; \
        print qq(\\n); <STDIN>";
    let mut friend = std::process::Command::new("/usr/bin/perl");
    friend.args(["-e", script]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
    std::os::unix::process::CommandExt::uid(&mut friend, NOBODY);
    let mut friend = friend.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(friend.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "0\n", "it is served");
    // More strangers do not push it out, and it may do as it likes.
    let more: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert!(friend.try_wait().unwrap().is_none());
    drop((strangers, more));
    friend.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(friend.wait().unwrap().success());
    assert_eq!(stop(child).status, 0);
}
