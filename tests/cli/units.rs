//! What `dist/` has for systemd, and for those who look for vfio-user servers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{PROGRAM, Said, end, mdev_user, plain, say};

const INSTALLED: &str = "/usr/bin/mdev-user";

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

/// Name and text of each unit.
fn units() -> Vec<(String, String)> {
    let entries = fs::read_dir(dist().join("systemd")).unwrap().map(Result::unwrap);
    let unit = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(unit).collect()
}

/// What follows `name=` in a unit.
fn setting<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    unit.lines().filter_map(value).collect()
}

/// A program of systemd's; not all machines have it, and `cargo xtask test` says so.
fn systemd(name: &str) -> Option<Command> {
    let path = Path::new("/usr/bin").join(name);
    if !path.exists() {
        eprintln!("NOT TESTED: there is no {}; install systemd", path.display());
        return None;
    }
    let mut command = Command::new(path);
    plain(&mut command);
    Some(command)
}

/// What systemd has to say of these units, with this test's program in the place of the installed one.
fn verify(mut analyze: Command, units: &[(String, String)]) -> Said {
    let directory = tempfile::tempdir().unwrap();
    analyze.args(["--user", "--man=no", "verify"]).env("XDG_RUNTIME_DIR", directory.path());
    analyze.env("HOME", directory.path());
    for (name, text) in units {
        let path = directory.path().join(name);
        fs::write(&path, text.replace(INSTALLED, PROGRAM)).unwrap();
        analyze.arg(path);
    }
    say(&mut analyze)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_would() {
    let Some(analyze) = systemd("systemd-analyze") else { return };
    let mut units = units();
    assert_eq!(units.len(), 4);
    let said = verify(analyze, &units);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{said:?}");

    for (_, text) in &mut units {
        *text = text.replace("ExecStart=", "ExecStrat=").replace("ListenStream=", "ListenSteam=");
    }
    let said = verify(systemd("systemd-analyze").unwrap(), &units);
    assert!(said.err.contains("ExecStrat") && said.err.contains("ListenSteam"), "{said:?}");
}

#[test]
fn what_the_units_start_is_known_to_the_program() {
    let control = fs::read_to_string(dist().parent().unwrap().join("docs/control.md")).unwrap();
    for (name, text) in units().iter().filter(|(name, _)| name.ends_with(".service")) {
        let [start] = setting(text, "ExecStart")[..] else { panic!("{name}") };
        let mut words = start.split(' ');
        assert_eq!(words.next(), Some(INSTALLED), "{name}");
        let verb = words.next().unwrap();
        let said = say(&mut mdev_user(&["help", verb]));
        let row = control.lines().find(|line| line.starts_with(&format!("| `{verb}` |"))).unwrap();
        if row.ends_with("| planned |") {
            assert_eq!(said.status, 2, "{name}");
            continue;
        }
        assert_eq!(said.status, 0, "{name}: {said:?}");
        let known: BTreeSet<_> = said.out.split_whitespace().collect();
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(known.contains(option), "{name}: {option}");
        }
    }
}

#[test]
fn each_socket_has_a_name_and_is_its_owner_s_alone() {
    for (name, text) in units().iter().filter(|(name, _)| name.ends_with(".socket")) {
        let [socket] = setting(text, "FileDescriptorName")[..] else { panic!("{name}") };
        assert!(["device", "control"].contains(&socket), "{name}");
        assert_eq!(setting(text, "SocketMode"), ["0600"], "{name}");
        assert_eq!(setting(text, "DirectoryMode"), ["0700"], "{name}");
    }
}

/// As systemd would, but for the start of systemd itself.
#[test]
fn the_units_of_a_device_serve_it() {
    let Some(mut activate) = systemd("systemd-socket-activate") else { return };
    let runtime = tempfile::tempdir().unwrap();
    let unit = |name: &str| {
        let (_, text) = units().into_iter().find(|(unit, _)| unit == name).unwrap();
        text.replace("%t", runtime.path().to_str().unwrap()).replace("%i", "mtty-2")
    };
    let (socket, service) = (unit("mdev-user@.socket"), unit("mdev-user@.service"));
    let path = Path::new(setting(&socket, "ListenStream")[0]);
    fs::create_dir(path.parent().unwrap()).unwrap();
    let notified = runtime.path().join("notify");
    let manager = UnixDatagram::bind(&notified).unwrap();
    manager.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    assert_eq!(setting(&service, "Type"), ["notify"]);
    activate.arg(format!("--setenv=NOTIFY_SOCKET={}", notified.display()));
    activate.arg("--listen").arg(path);
    activate.arg(format!("--fdname={}", setting(&socket, "FileDescriptorName")[0]));
    let start = setting(&service, "ExecStart")[0].replace(INSTALLED, PROGRAM);
    activate.args(start.replace("$OPTIONS", "--once --log-level warn").split(' '));
    let child = activate.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    crate::listening(path);
    let mut message = [0; 64];
    let size = manager.recv(&mut message).unwrap();
    assert!(message[..size].starts_with(b"READY=1\n"), "{message:?}");
    let client = crate::client(path);
    let control = path.parent().unwrap().join("control");
    let said = say(mdev_user(&["info", "-c"]).arg(control));
    assert_eq!(said.status, 0, "{said:?}");
    drop(client);
    assert_eq!(end(child).status, 0);
    assert!(path.exists(), "it is the manager's");
}

/// The text of a unit whose directories are below `root`.
fn unit_below(root: &Path, name: &str) -> String {
    let (_, text) = units().into_iter().find(|(unit, _)| unit == name).unwrap();
    let place = |name: &str| root.join(name).to_str().unwrap().to_owned();
    text.replace("%t", &place("runtime")).replace("%S", &place("state"))
}

/// A device's UUID, as `list` has it.
fn listed(run_dir: &Path) -> Option<String> {
    let said = say(mdev_user(&["list", "--run-dir"]).arg(run_dir));
    assert_eq!(said.status, 0, "{said:?}");
    said.out.split(' ').next().filter(|it| !it.is_empty()).map(str::to_owned)
}

/// As systemd would, but for the start of systemd itself.
#[test]
fn the_units_of_the_manager_start_it_and_keep_its_devices() {
    let root = tempfile::tempdir().unwrap();
    let socket = unit_below(root.path(), "mdev-user.socket");
    let service = unit_below(root.path(), "mdev-user.service");
    let path = Path::new(setting(&socket, "ListenStream")[0]);
    let run_dir = path.parent().unwrap();
    for directory in
        [run_dir, &root.path().join("state").join(setting(&service, "StateDirectory")[0])]
    {
        fs::create_dir_all(directory).unwrap();
    }
    let start = setting(&service, "ExecStart")[0].replace(INSTALLED, PROGRAM);
    let mut device = None;
    for _ in 0..2 {
        let Some(mut activate) = systemd("systemd-socket-activate") else { return };
        let notified = root.path().join("notify");
        let manager = UnixDatagram::bind(&notified).unwrap();
        manager.set_read_timeout(Some(crate::PATIENCE)).unwrap();
        activate.arg(format!("--setenv=NOTIFY_SOCKET={}", notified.display()));
        activate.arg("--listen").arg(path);
        activate.arg(format!("--fdname={}", setting(&socket, "FileDescriptorName")[0]));
        activate.args(start.replace("$OPTIONS", "--mtty-ports 1").split(' '));
        let child = activate.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        crate::listening(path);
        let mut message = [0; 64];
        let size = manager.recv(&mut message).unwrap();
        assert!(message[..size].starts_with(b"READY=1\n"), "{message:?}");
        if device.is_none() {
            let said = say(mdev_user(&["create", "mtty-1", "--run-dir"]).arg(run_dir));
            assert_eq!(said.status, 0, "{said:?}");
        }
        // It comes back with the next.
        let found = listed(run_dir);
        assert!(found.is_some());
        assert_eq!(device.get_or_insert(found.clone()), &found);
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        assert_eq!(end(child).status, 0);
        let left: Vec<_> =
            fs::read_dir(run_dir).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["control"], "it is systemd's");
        // As systemd does before it listens anew.
        fs::remove_file(path).unwrap();
        fs::remove_file(notified).unwrap();
    }
}

/// Conformance: S61.
#[test]
fn the_descriptor_is_what_the_program_says_of_itself() {
    let path = dist().join("vfio-user/50-mdev-user.json");
    let descriptor: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let said = say(&mut mdev_user(&["--print-capabilities"]));
    let capabilities: Value = serde_json::from_str(&said.out).unwrap();
    for member in ["type", "features", "types"] {
        assert_eq!(descriptor[member], capabilities[member], "{member}");
    }
    assert_eq!(descriptor["binary"], INSTALLED);
    assert!(descriptor["description"].as_str().is_some_and(|text| text.len() > 20));
    let members: BTreeSet<_> = descriptor.as_object().unwrap().keys().map(String::as_str).collect();
    let known = ["binary", "description", "features", "type", "types"];
    assert_eq!(members, BTreeSet::from(known));

    let page = fs::read_to_string(dist().parent().unwrap().join("docs/systemd.md")).unwrap();
    let (_, block) = page.split_once("\n```json descriptor\n").unwrap();
    let written: Value = serde_json::from_str(block.split("\n```").next().unwrap()).unwrap();
    assert_eq!(written, descriptor);
}
