//! What `info` says of it.

use std::path::Path;

use rustix::process::{Pid, Resource, getrlimit};
use serde_json::{Value, json};

use crate::handing::{answer, connect, send};
use crate::limits::{limit, limit_descriptors};
use crate::managed::{Managed, end, program};
use crate::refusals::without_landlock;
use crate::server::Server;

fn allows(sandbox: &Value) -> Vec<&str> {
    let allows = sandbox["landlock"]["allows"].as_array();
    allows.unwrap_or_else(|| panic!("{sandbox}")).iter().map(|it| it.as_str().unwrap()).collect()
}

fn line(what: &str, path: &Path) -> String {
    format!("{what} {}", path.display())
}

#[test]
fn each_mode_is_shown_as_it_is() {
    for (options, mode, seccomp, is_on) in [
        (&[][..], "auto", "kill", true),
        (&["--seccomp", "log"], "auto", "log", true),
        (&["--seccomp", "off"], "auto", "off", true),
        (&["--sandbox", "off"], "off", "off", false),
    ] {
        let all = [&["mtty-1", "--control-path", "DIR/control"], options].concat();
        let sandbox = Server::start(&all).sandbox();
        assert_eq!((&sandbox["mode"], &sandbox["seccomp"]), (&json!(mode), &json!(seccomp)));
        assert_eq!(sandbox["no_new_privs"], is_on, "{sandbox}");
        assert_eq!(sandbox["landlock"].is_object(), is_on, "{sandbox}");
        assert_eq!(sandbox["core_limit"] == 0, is_on || core_limit() == 0, "{sandbox}");
    }
}

#[test]
fn a_filter_that_was_there_before_is_not_taken_for_one_of_its_own() {
    for options in [["--sandbox", "off"], ["--seccomp", "off"]] {
        let all = [&["mtty-1", "--control-path", "DIR/control"], &options[..]].concat();
        let sandbox = without_landlock(|| Server::start(&all)).sandbox();
        assert_eq!(sandbox["seccomp"], "off", "{sandbox}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_unknown_and_not_off() {
    let server = Server::start(&["mtty-1", "--control-path", "DIR/control"]);
    let client = connect(&server.path("control"));
    let info = || {
        send(&client, b"{\"verb\":\"info\"}\n", &[]);
        answer(&client)["ok"]["sandbox"].take()
    };
    let before = info();
    assert_eq!((&before["seccomp"], &before["no_new_privs"]), (&json!("kill"), &json!(true)));
    // From here on it can open nothing.
    let pid = Pid::from_child(&server.child);
    limit_descriptors(pid, 0);
    let sandbox = info();
    for member in ["seccomp", "no_new_privs", "landlock"] {
        assert_eq!(sandbox[member], "unknown", "{member}: {sandbox}");
    }
    limit(pid, Resource::Nofile, None);
    assert_eq!(info(), before);
}

fn core_limit() -> u64 {
    getrlimit(Resource::Core).current.unwrap_or(u64::MAX)
}

#[test]
fn what_is_allowed_is_what_the_command_line_names() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let server = Server::start(&[
        "mtty-2",
        "--serial0",
        &format!("null,logfile={}", log.display()),
        "--control-path",
        "DIR/control",
        "--allow-path",
        "DIR",
    ]);
    let sandbox = server.sandbox();
    let allows = allows(&sandbox);
    for expected in [line("write", &server.path("")), line("write", &log), "any TCP port".into()] {
        let expected = expected.trim_end_matches('/');
        assert!(allows.contains(&expected), "{expected}: {allows:?}");
    }
    assert!(!allows.contains(&&*line("write", directory.path())), "{allows:?}");
}

#[test]
fn a_display_has_neither_terminals_nor_tcp() {
    let server = Server::start(&["mdpy-vga", "--control-path", "DIR/control"]);
    let sandbox = server.sandbox();
    let allows = allows(&sandbox);
    let is_odd = |it: &&str| it.contains("TCP") || it.contains("/dev") || it.starts_with("write");
    assert_eq!(allows.iter().copied().find(is_odd), None, "{allows:?}");
}

#[test]
fn a_manager_s_is_shown_beside_its_devices() {
    let managed = Managed::start_with(&["--allow-path", "DIR"]);
    let info: Value = serde_json::from_str(&managed.say(&["info", "--json"]).ok()).unwrap();
    assert_eq!(info["devices"], json!([]));
    let sandbox = &info["sandbox"];
    let allows = allows(sandbox);
    for path in [managed.directory().to_owned(), managed.run_dir()] {
        let path = path.canonicalize().unwrap();
        assert!(allows.contains(&&*line("write", &path)), "{path:?}: {allows:?}");
    }
    // Its own goes at the end. Files beside that are not its to take away.
    let managed = Managed::start();
    let info: Value = serde_json::from_str(&managed.say(&["info", "--json"]).ok()).unwrap();
    let place = managed.directory().canonicalize().unwrap();
    let of_place: Vec<_> = self::allows(&info["sandbox"])
        .into_iter()
        .filter(|it| it.ends_with(place.to_str().unwrap()))
        .collect();
    assert_eq!(of_place, [line("remove directories of", &place)]);
}

#[test]
fn a_saved_file_among_others_is_warned_of() {
    for (variable, what) in [
        ("HOME", "your home directory"),
        ("XDG_RUNTIME_DIR", "the run-time directory of your session"),
        ("TMPDIR", "the directory for temporary files"),
    ] {
        let warning = format!("the sandbox leaves all of {what} open");
        for (file, sandbox, is_warned) in [
            ("DIR/devices.json", "auto", true),
            ("DIR/devices.json", "off", false),
            ("DIR/own/devices.json", "auto", false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir(directory.path().join("own")).unwrap();
            let mut command = program();
            command.env(variable, directory.path());
            let options = ["--config", file, "--save", "--sandbox", sandbox];
            let managed = Managed::start_by(command, directory, &options);
            let log = managed.log();
            assert_eq!(log.contains(&warning), is_warned, "{variable} {file} {sandbox}: {log}");
        }
    }
}

#[test]
fn for_people_it_is_the_last_few_lines() {
    let server = Server::start(&["mdpy-vga", "--control-path", "DIR/control"]);
    let mut command = program();
    let said = end(command.args(["info", "-c"]).arg(server.path("control")).spawn().unwrap()).ok();
    let (_, last) = said.rsplit_once("\n\n").unwrap();
    let lines: Vec<_> = last.lines().collect();
    assert_eq!(
        lines[..3],
        ["sandbox auto", "  privileges no_new_privs yes", "  calls      seccomp kill"]
    );
    assert!(
        lines[3].starts_with("  files      Landlock ABI ") && lines[3].contains(": read /proc, ")
    );
    assert_eq!(lines[4..], ["  core files 0"]);
}
