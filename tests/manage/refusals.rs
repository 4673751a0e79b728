//! What a manager does not do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::handing::{ask, refusal};
use crate::managed::{Managed, ONE, TWO, end, launch, program, soon};

#[test]
fn a_command_line_that_is_wrong_is_refused_before_anything_is_asked() {
    for (arguments, words) in [
        (&["manage"][..], "--run-dir"),
        (&["manage", "--run-dir", "/tmp/x", "--save"], "--config"),
        (&["manage", "--run-dir", "/tmp/x", "--loops", "0"], "--loops"),
        (&["manage", "--run-dir", "/tmp/x", "--mtty-ports", "-1"], "--mtty-ports"),
        (&["create", "mtty-1"], "--run-dir"),
        (&["create", "--run-dir", "/tmp/x", "-c", "/tmp/y", "mtty-1"], "--control-path"),
        (&["create", "--run-dir", "/tmp/x", "mtty-3"], "there is no type 'mtty-3'"),
        (&["create", "--run-dir", "/tmp/x", "mtty-1,xres=1"], "no option 'xres'"),
        (&["create", "--run-dir", "/tmp/x", "mtty-1", "--uuid", "1"], "'1' is no UUID"),
        (&["remove", "--run-dir", "/tmp/x", "vfio0"], "'vfio0' is no UUID"),
        (&["remove", "--run-dir", "/tmp/x", ONE, "--force-after", "10"], "--force-after"),
        (&["types", "--run-dir", "/tmp/x", "-c", "/tmp/y"], "--run-dir"),
    ] {
        let said = end(program().args(arguments).spawn().unwrap());
        assert_eq!(said.status.code(), Some(2), "{arguments:?}: {said:?}");
        assert!(said.err.contains(words), "{arguments:?}: {said:?}");
    }
}

#[test]
fn where_no_manager_is_the_directory_is_named() {
    for arguments in [
        &["create", "mtty-1"][..],
        &["remove", ONE],
        &["list"],
        &["types"],
        &["reset"],
        &["events"],
        &["info"],
    ] {
        let mut command = program();
        command.args(&arguments[..1]).args(["--run-dir", "/no/such"]).args(&arguments[1..]);
        let line = end(command.spawn().unwrap()).refused(1);
        assert!(line.contains("/no/such/control"), "{line}");
    }
}

#[test]
fn a_run_directory_that_is_not_ours_alone_is_refused() {
    for mode in [0o720, 0o702, 0o777] {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
        let mut manager = launch(directory.path(), &[]);
        assert_eq!(manager.wait().unwrap().code(), Some(1));
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(log.contains("can be written to by others"), "{log}");
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    }
}

#[test]
fn a_second_manager_is_refused_and_harms_nothing() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let mut second = launch(managed.directory(), &[]);
    assert_eq!(second.wait().unwrap().code(), Some(1));
    let log = managed.log();
    let line = log.lines().find(|line| line.contains("EBUSY")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(&format!("(pid {})", managed.pid().as_raw_nonzero())), "{line}");
    drop(crate::vfio::Client::negotiated(&made.socket));
    assert_eq!(managed.available("mtty-1"), 23);
}

#[test]
fn what_cannot_be_made_is_refused_with_the_kernels_errors_and_leaves_nothing() {
    let managed =
        Managed::start_with(&["--mtty-ports", "3", "--mdpy-max", "1", "--mbochs-mb", "20"]);
    let one = managed.create(&["mtty-2", "--uuid", ONE]);
    let display = managed.create(&["mdpy-vga"]);
    let bochs = managed.create(&["mbochs-medium"]);
    for (arguments, errno) in [
        (&["mtty-1", "--uuid", ONE][..], "EEXIST"),
        (&["mdpy-vga", "--uuid", ONE], "EEXIST"), // of whatever parent
        (&["mtty-2"], "ENOSPC"),
        (&["mdpy-hd"], "EUSERS"),
        (&["mbochs-medium"], "ENOSPC"),
        (&["mtty-1,serial0=stdio"], "EINVAL"),
        (&["mtty-1,serial0=file:/tmp/x"], "EACCES"),
        (&["mtty-1,serial0=file:x"], "EINVAL"),
        (&["mbochs-small,edid=/etc/passwd"], "EINVAL"),
    ] {
        let line = managed.say(&[&["create"], arguments].concat()).refused(1);
        assert!(line.starts_with(&format!("{errno}: ")), "{arguments:?}: {line}");
    }
    let left: Vec<_> = ["mtty-1", "mtty-2", "mdpy-hd", "mbochs-small", "mbochs-medium"]
        .map(|kind| managed.available(kind))
        .into();
    assert_eq!(left, [1, 0, 0, 1, 0]);
    let mut devices: Vec<_> = fs::read_dir(managed.path("devices"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    devices.sort();
    let mut expected = vec![one.uuid.clone(), display.uuid.clone(), bochs.uuid.clone()];
    expected.sort();
    assert_eq!(devices, expected);
    assert_eq!(fs::read_dir(managed.path(".staging")).unwrap().count(), 0);
}

#[test]
fn what_is_not_there_cannot_be_removed_or_reset() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    let line = managed.say(&["remove", TWO]).refused(1);
    assert!(line.starts_with("ENODEV: ") && line.contains(TWO), "{line}");
    let line = managed.say(&["reset", TWO]).refused(1);
    assert!(line.starts_with("ENODEV: ") && line.contains(TWO), "{line}");
    managed.remove(&made);
    let line = managed.say(&["remove", ONE]).refused(1);
    assert!(line.starts_with("ENODEV: "), "{line}");
    let line = managed.say(&["reset"]).refused(1);
    assert!(line.starts_with("ENODEV: "), "{line}");
}

#[test]
fn a_file_that_would_keep_the_manager_waiting_is_refused() {
    let managed = Managed::start_with(&["--allow-path", "DIR"]);
    let fifo = managed.directory().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let device = format!("mbochs-small,edid={}", fifo.display());
    let by_name = serde_json::json!({ "verb": "create", "type": device });
    let by_name = refusal(&ask(&managed.path("control"), &by_name, &[]));
    for line in [managed.say(&["create", &device]).refused(1), by_name] {
        assert!(line.starts_with("EINVAL: ") && line.contains("no regular file"), "{line}");
    }
    managed.create(&["mbochs-small"]);
}

#[test]
fn requests_with_other_members_are_refused_in_words() {
    let managed = Managed::start();
    let mut control = BufReader::new(UnixStream::connect(managed.path("control")).unwrap());
    for (request, words) in [
        (r#"{"verb":"create"}"#, "a 'type' is missing"),
        (r#"{"verb":"create","type":1}"#, "'type' is a string"),
        (r#"{"verb":"create","type":"mtty-9"}"#, "there is no type 'mtty-9'"),
        (r#"{"verb":"create","type":"mtty-1","uuid":"x"}"#, "'x' is no UUID"),
        (r#"{"verb":"create","type":"mtty-1","device":"x"}"#, "takes no 'device'"),
        (r#"{"verb":"remove"}"#, "a 'uuid' is missing"),
        (r#"{"verb":"remove","uuid":"vfio0"}"#, "'vfio0' is no UUID"),
        (
            r#"{"verb":"remove","uuid":"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001","force_after_ms":-1}"#,
            "'force_after_ms' is a whole number",
        ),
        (r#"{"verb":"list","device":"x"}"#, "takes no 'device'"),
    ] {
        writeln!(control.get_mut(), "{request}").unwrap();
        let mut answer = String::new();
        control.read_line(&mut answer).unwrap();
        assert!(answer.contains(r#""errno":"EINVAL""#) && answer.contains(words), "{answer}");
    }
}

#[test]
fn a_server_of_one_device_says_who_makes_others() {
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control");
    let mut server = program()
        .args(["serve", "mtty-1", "--socket-path"])
        .arg(directory.path().join("socket"))
        .arg("--control-path")
        .arg(&control)
        .spawn()
        .unwrap();
    soon("it listens", || UnixStream::connect(&control).is_ok());
    for arguments in [&["create", "mtty-1"][..], &["remove", ONE], &["types"]] {
        let mut command = program();
        command.arg(arguments[0]).arg("-c").arg(&control).args(&arguments[1..]);
        let line = end(command.spawn().unwrap()).refused(1);
        assert!(line.starts_with("EOPNOTSUPP: ") && line.contains("mdev-user manage"), "{line}");
    }
    for verb in ["list", "reset"] {
        end(program().arg(verb).arg("-c").arg(&control).spawn().unwrap()).ok();
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

/// A guest that could write to the control socket could make and remove devices, and to the definitions, have them made.
#[test]
fn what_is_the_manager_s_own_is_no_device_s_whatever_path_leads_there() {
    let (elsewhere, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let allowed = elsewhere.path().canonicalize().unwrap();
    let inside = |name: &str| allowed.join(name);
    // The run directory, and all there is, lies below what is allowed.
    let run = inside("run");
    symlink(&run, directory.path().join("run")).unwrap();
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    let handed = std::os::unix::net::UnixListener::bind(inside("handed")).unwrap();
    fs::write(inside("devices.json"), "[]").unwrap();
    symlink("devices.json", inside("config")).unwrap();
    let config = inside("config");
    let more = ["--save", "--config", config.to_str().unwrap(), "--allow-path"];
    let more = [&more[..], &[allowed.to_str().unwrap()]].concat();
    let command = crate::handed::handing("", handed);
    let mut managed = Managed::start_by(command, directory, &more);
    let made = managed.create(&["mtty-2,serial0=null"]);
    for (link, place) in [("way", "run"), ("socket", "run/control"), ("other", "handed")] {
        symlink(inside(place), inside(link)).unwrap();
    }
    for (name, place) in [("hard", "run/control"), ("hard-json", "devices.json")] {
        fs::hard_link(inside(place), inside(name)).unwrap();
    }
    let (run_dir, handed, config) =
        ("in the run directory", "the control socket", "the file of --config");
    let device = format!("run/vfio/devices/{}", made.node());
    let dir = allowed.display();
    for (what, name, more, why) in [
        ("unix", "run/control", "server=off", run_dir),
        ("unix", "run/../run/control", "server=off", run_dir),
        ("unix", "way/control", "server=off", run_dir),
        ("unix", "socket", "server=off", run_dir),
        ("unix", "hard", "server=off", run_dir),
        ("unix", device.as_str(), "server=off", run_dir),
        ("unix", "run/new", "wait=off", run_dir),
        ("unix", "handed", "server=off", handed),
        ("unix", "other", "server=off", handed),
        ("file", "run/lock", "append=on", run_dir),
        ("file", "run/new", "append=off", run_dir),
        ("file", "run/mdev_supported_types/mtty-1/name", "append=off", run_dir),
        ("file", "devices.json", "append=on", config),
        ("file", "config", "append=off", config),
        ("file", "hard-json", "append=on", config),
        ("file", ".devices.json.mdev-user", "append=on", config),
        ("null", "devices.json", "logappend=on", config),
        ("pipe", "run/fifo", "history=0", run_dir),
    ] {
        let mut value = format!("{what}:{dir}/{name},{more}");
        if what == "null" {
            value = format!("null,logfile={dir}/{name},{more}");
        }
        let refused = |line: String| {
            let path = if what == "pipe" { format!("{name}.in") } else { name.to_owned() };
            let expected = format!(
                "EACCES: {dir}/{path} is the manager's own ({why}), and no device's; use another path"
            );
            assert_eq!(line, expected, "{value}");
        };
        let option = format!("mtty-1,serial0={}", value.replace(',', ",,"));
        refused(managed.say(&["create", &option]).refused(1));
        refused(managed.say(&["set", &made.uuid, &format!("serial1={value}")]).refused(1));
    }
    // A link is made, or replaced, at its own place.
    for (name, why) in [("run/tty", run_dir), ("config", config), ("handed", handed)] {
        let option = format!("mtty-1,serial0=pty,,path={dir}/{name}");
        let line = managed.say(&["create", &option]).refused(1);
        assert!(line.starts_with("EACCES: ") && line.contains(why), "{line}");
    }
    assert_eq!(managed.available("mtty-1"), 22);
    // What is beside it can be had.
    let more = format!("mtty-1,serial0=file:{dir}/runs,,logfile={dir}/devices.json.log");
    managed.create(&[&more]);
    managed.finish(rustix::process::Signal::TERM);
}

#[test]
fn what_comes_to_lead_to_the_control_socket_later_is_turned_away_there() {
    let managed = Managed::start_with(&["--allow-path", "DIR"]);
    let later = managed.directory().join("later");
    let value = format!("unix:{},,server=off,,reconnect-ms=20", later.display());
    let made = managed.create(&[&format!("mtty-1,serial0={value}")]);
    let said = || managed.log().matches("turned away: a serial port of this server itself").count();
    assert_eq!(said(), 0);
    symlink(managed.path("control"), &later).unwrap();
    soon("it is turned away", || said() > 0);
    // It tries again, some fifty times a second, and that is no news.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(said(), 1, "{}", managed.log());
    managed.remove(&made);
}
