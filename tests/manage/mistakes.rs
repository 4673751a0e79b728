//! Mistakes of people who use a manager by hand: what they are told, and what is left.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, geteuid};
use serde_json::json;

use crate::managed::{Managed, ONE, end, launch_by, program, soon};

/// How a manager in `directory` refuses to start.
fn refusal(directory: &Path, more: &[&str]) -> String {
    refusal_by(program(), directory, more)
}

/// The same by a command, which runs the program that its last words say.
fn refusal_by(command: Command, directory: &Path, more: &[&str]) -> String {
    let mut child = launch_by(command, directory, more);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let log = fs::read_to_string(directory.join("log")).unwrap();
    fs::remove_file(directory.join("log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(!log.contains("os error"), "{log}");
    log.trim_end().strip_prefix("mdev-user: ").unwrap().to_owned()
}

#[test]
fn a_run_directory_that_cannot_be_is_said_to_be_that_with_a_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    symlink("nowhere", &run).unwrap();
    let line = refusal(directory.path(), &[]);
    assert!(line.ends_with("it is a link that leads nowhere; use another path"), "{line}");
    fs::remove_file(&run).unwrap();
    fs::write(&run, "mine").unwrap();
    let line = refusal(directory.path(), &[]);
    assert!(line.ends_with("is no directory; use another directory"), "{line}");
    fs::remove_file(&run).unwrap();
    if geteuid().is_root() {
        fs::create_dir(&run).unwrap();
        chown(&run, Some(12345), None).unwrap();
    } else {
        symlink("/usr", &run).unwrap();
    }
    let line = refusal(directory.path(), &[]);
    assert!(line.ends_with("belongs to somebody else; use another directory"), "{line}");
    if geteuid().is_root() {
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    }
}

#[test]
fn a_link_to_a_run_directory_and_a_relative_path_do_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o700)).unwrap();
    symlink("real", directory.path().join("run")).unwrap();
    let mut managed = Managed::start_in(directory, &[]);
    let made = managed.create(&["mtty-1"]);
    // Where QEMU finds it from any directory.
    let place = managed.directory().canonicalize().unwrap().join("real/vfio/devices/vfio0");
    assert_eq!(made.socket, place);
    let mut relative = program();
    relative.args(["list", "--run-dir", "run"]).current_dir(managed.directory());
    let out = end(relative.spawn().unwrap()).ok();
    assert!(out.starts_with(&made.uuid), "{out}");
    managed.finish(Signal::TERM);
    assert_eq!(fs::read_dir(managed.directory().join("real")).unwrap().count(), 0);
}

#[test]
fn a_run_directory_that_goes_while_it_is_used_is_missed_and_devices_go_on() {
    let mut managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let mut user = crate::vfio::Client::negotiated(&made.socket);
    let control = managed.directory().join("control");
    fs::rename(managed.path("control"), &control).unwrap();
    fs::remove_dir_all(managed.run_dir()).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = program();
        command.arg(arguments[0]).arg("-c").arg(&control).args(&arguments[1..]);
        end(command.spawn().unwrap())
    };
    let line = ask(&["create", "mtty-1"]).refused(1);
    assert!(line.starts_with("ENOENT: the run directory cannot be written: it is gone"), "{line}");
    assert!(line.ends_with("start it anew"), "{line}");
    user.still_in_step();
    drop(user);
    ask(&["remove", &made.uuid]).ok();
    assert_eq!(managed.finish(Signal::TERM).code(), Some(0), "{}", managed.log());
    assert!(!managed.log().contains("panicked"), "{}", managed.log());
}

#[test]
fn a_file_that_could_not_be_saved_to_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let line = refusal(directory.path(), &["--config", "/no/such/devices.json", "--save"]);
    let words = "cannot save to /no/such/devices.json: there is no directory /no/such; make it";
    assert_eq!(line, words);
    assert!(!directory.path().join("run").exists());
}

/// The program, run by a user who may not write what is there: root may write anywhere.
fn by_nobody(directory: &Path) -> Command {
    const NOBODY: u32 = 65534;
    if !geteuid().is_root() {
        return program();
    }
    let copy = directory.join("mdev-user");
    // By a process of its own: while a file is open for writing, in whatever process, it cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_mdev-user")).arg(&copy).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn a_file_or_a_directory_that_one_may_not_write_is_refused_with_save_and_not_without() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (file, wrong, closed) = (root.join("good"), root.join("wrong"), root.join("closed"));
    for (file, text) in [(&file, "[]"), (&wrong, "[")] {
        fs::write(file, text).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o444)).unwrap();
    }
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
    for (config, save, words) in [
        (&file, true, "change its mode, or leave --save out"),
        (&closed.join("devices.json"), true, "files cannot be made in "),
        // It has been read.
        (&wrong, false, "form of `mdevctl list --dumpjson`"),
    ] {
        let mut more = vec!["--config", config.to_str().unwrap()];
        more.extend(save.then_some("--save"));
        let line = refusal_by(by_nobody(root), root, &more);
        assert!(line.contains(words), "{line}");
        assert!(line.contains(config.parent().unwrap().to_str().unwrap()), "{line}");
    }
}

#[test]
fn a_link_to_the_definitions_stays_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("real.json");
    fs::write(&file, "[]").unwrap();
    symlink("real.json", directory.path().join("devices.json")).unwrap();
    let managed = Managed::start_in(directory, &["--config", "DIR/devices.json", "--save"]);
    managed.create(&["mtty-1", "--uuid", ONE]);
    let link = managed.directory().join("devices.json");
    assert!(link.is_symlink());
    assert!(fs::read_to_string(link).unwrap().contains(ONE));
}

#[test]
fn definitions_that_are_wrong_are_said_to_be_by_line_uuid_and_member() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("devices.json");
    let of = |parent: &str, definition: &str| {
        format!("[\n{{\"{parent}\":[\n{{\"{ONE}\":\n{definition}\n}}]}}]")
    };
    for (text, words) in [
        (of("mtty", r#"{"mdev_type":"mtty-1",}"#), "trailing comma at line 4 column 23"),
        (of("mtty", "{}"), &*format!("{ONE}: 'mdev_type' is missing")),
        (of("mtty", r#"{"mdev_type":"mtty-9"}"#), "there is no type 'mtty-9'"),
        (of("mdpy", r#"{"mdev_type":"mtty-1"}"#), "mtty-1 is no type of parent 'mdpy'"),
        (of("mtty", r#"{"mdev_type":"mtty-1","start":"yes"}"#), "'start' is auto or manual"),
        (of("mtty", r#"{"mdev_type":"mtty-1","attrs":[{"serial0":"pyt"}]}"#), "serial0: \"pyt\""),
        (of("mtty", r#"{"mdev_type":"mtty-1","attrs":[{"xres":"1"}]}"#), "no option 'xres'"),
    ] {
        fs::write(&file, &text).unwrap();
        let line = refusal(directory.path(), &["--config", "DIR/devices.json"]);
        assert!(line.contains("devices.json: ") && line.contains(words), "{text}: {line}");
    }
    assert!(!directory.path().join("run").exists());
}

#[test]
fn a_member_that_is_not_known_is_named_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let text = json!([{ "mtty": [{ ONE: { "mdev_type": "mtty-1", "strat": "auto" } }] }]);
    fs::write(directory.path().join("devices.json"), text.to_string()).unwrap();
    let managed = Managed::start_in(directory, &["--config", "DIR/devices.json"]);
    let log = managed.log();
    assert!(log.contains(&format!("{ONE} of --config: nothing is known of 'strat'")), "{log}");
    assert_eq!(managed.say(&["list"]).ok(), "");
}

#[test]
fn words_that_are_nearly_right_are_answered_with_those_that_are() {
    let managed = Managed::start();
    let run = managed.run_dir();
    let run = run.to_str().unwrap();
    let compact = ONE.replace('-', "");
    for (arguments, status, words) in [
        (&["remove", "--run-dir", run, "vfio0"][..], 2, "`mdev-user list` has that of each node"),
        (&["create", "--run-dir", run, "mtty2"], 2, "the types are mtty-1, mtty-2, "),
        (&["create", "--run-dir", run, "mtty-2", "--uuid", &compact], 2, "groups of 8-4-4-4-12"),
        (&["create", "--run-dir", run, "mtty-2", "--uuid", "{83b8f4f2-}"], 2, "8-4-4-4-12"),
        (
            &["list", "-c", run],
            1,
            "it is a directory; a manager's run directory is named by --run-dir",
        ),
        (&["reset", "--run-dir", run, "vfio7"], 1, "there is no device 'vfio7'"),
        (&["list", "--run-dir", run, "-c", run], 2, "cannot be used with"),
    ] {
        let line = end(program().args(arguments).spawn().unwrap()).refused(status);
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
    // Of a UUID capitals are as good.
    let made = managed.create(&["mtty-1", "--uuid", &ONE.to_uppercase()]);
    assert_eq!(made.uuid, ONE);
    managed.say(&["remove", &ONE.to_uppercase()]).ok();
}

#[test]
fn files_that_cannot_be_written_are_written_when_they_can_be() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let [staging, away] = [".staging", "away"].map(|name| managed.path(name));
    // Nothing can be made there, as if there were no room.
    fs::rename(&staging, &away).unwrap();
    fs::write(&staging, "").unwrap();
    let user = crate::vfio::Client::negotiated(&made.socket);
    soon("it is missed", || managed.log().contains("the run directory is not up to date"));
    soon("it is open", || managed.say(&["info"]).ok().contains("open count 1"));
    let count = format!("devices/{}/vfio-dev/{}/open_count", made.uuid, made.node());
    assert_eq!(managed.read(&count).as_deref(), Some("0"));
    managed.say(&["create", "mtty-1"]).refused(1);
    fs::remove_file(&staging).unwrap();
    fs::rename(&away, &staging).unwrap();
    soon("it is written", || managed.read(&count).as_deref() == Some("1"));
    let client = format!("devices/{}/vfio-dev/{}/client", made.uuid, made.node());
    soon("so is who it is", || managed.read(&client).is_some());
    drop(user);
    managed.remove(&made);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
}
