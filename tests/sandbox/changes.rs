//! `set` under the sandbox of `serve`: what it may name, and what goes on working.

use std::fs;

use serde_json::{Value, json};

use crate::handing::{ask, edid, refusal};
use crate::managed::{Said, end, program};
use crate::server::Server;

#[track_caller]
fn set(server: &Server, options: &[&str]) -> Said {
    let place = server.path("");
    let place = place.to_str().unwrap().trim_end_matches('/');
    let options = options.iter().map(|it| it.replace("DIR", place));
    let mut command = program();
    end(command.args(["set", "-c"]).arg(server.path("control")).args(options).spawn().unwrap())
}

#[test]
fn what_neither_the_command_line_nor_allow_path_names_is_refused_in_words() {
    let server = Server::start(&["mtty-2", "--control-path", "DIR/control", "--serial0", "null"]);
    for (option, path) in [
        ("serial0=file:DIR/out", "out"),
        ("serial0=unix:DIR/port", "port"),
        ("serial1=unix:DIR/port,server=off", "port"),
        ("serial0=pty,path=DIR/link", "link"),
        ("serial0=null,logfile=DIR/device.log", "device.log"),
        ("serial0=pipe:DIR/pipe", "pipe.in"),
    ] {
        let complaint = set(&server, &[option]).refused(1);
        let expected = format!(
            "EACCES: {} is not below a directory that the server was given as --allow-path; \
             use one that is, or start the server with it",
            server.path(path).display()
        );
        assert_eq!(complaint, expected, "{option}");
    }
}

#[test]
fn an_edid_that_is_handed_over_can_be_had_from_anywhere_and_by_its_name_it_cannot() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("monitor");
    fs::write(&file, edid(1)).unwrap();
    let display = Server::start(&["mbochs-small", "--control-path", "DIR/control"]);
    // The kernel would refuse what the program did not.
    assert_ne!(display.sandbox()["landlock"], Value::Null);
    let request = json!({ "verb": "set", "options": { "edid": file } });
    let refused = refusal(&ask(&display.path("control"), &request, &[]));
    let expected = format!("EACCES: {} is not below a directory", file.display());
    assert!(refused.starts_with(&expected), "{refused}");
    set(&display, &[&format!("edid={}", file.display())]).ok();
    // Beside it: the server may take away what is there, and no more.
    fs::write(display.path("edid"), [0; 128]).unwrap();
    let complaint = set(&display, &["edid=DIR/edid"]).refused(1);
    assert!(complaint.contains("is no EDID: "), "{complaint}");
    for other in ["/dev/zero", "/", "/dev/null"] {
        let complaint = set(&display, &[&format!("edid={other}")]).refused(1);
        assert!(complaint.contains(&format!("{other} is no regular file")), "{complaint}");
    }
    set(&display, &["edid=auto"]).ok();
}

#[test]
fn what_allow_path_names_can_be_had_and_with_off_everything() {
    for option in [["--allow-path", "DIR"], ["--sandbox", "off"]] {
        let server =
            Server::start(&[&["mtty-2", "--control-path", "DIR/control"], &option[..]].concat());
        for spec in [
            "serial0=file:DIR/out",
            "serial0=unix:DIR/port",
            "serial0=pty,path=DIR/link",
            "serial1=null,logfile=DIR/device.log",
        ] {
            set(&server, &[spec]).ok();
        }
        assert!(server.path("device.log").exists() && server.path("link").is_symlink());
        assert!(!server.path("port").exists(), "it goes with its end");
    }
}

#[test]
fn a_device_comes_back_to_what_its_command_line_named() {
    let server = Server::start(&[
        "mtty-2",
        "--control-path",
        "DIR/control",
        "--serial0",
        "pty,path=DIR/link",
        "--serial1",
        "unix:DIR/port,logfile=DIR/device.log",
    ]);
    for _ in 0..2 {
        set(&server, &["serial0=null", "serial1=null"]).ok();
        assert!(!server.path("link").is_symlink() && !server.path("port").exists());
        let back = "serial1=unix:DIR/port,logfile=DIR/device.log,logappend=on";
        set(&server, &["serial0=pty,path=DIR/link", back]).ok();
        assert!(server.path("link").is_symlink() && server.path("port").exists());
    }
}

#[test]
fn terminals_and_hosts_can_be_had_and_names_are_looked_up() {
    let server = Server::start(&["mtty-2", "--control-path", "DIR/control"]);
    let said = set(&server, &["serial0=pty", "serial1=tcp:localhost:0"]).ok();
    assert!(said.contains("port 0 is at /dev/pts/") && said.contains("port 1 is at "), "{said}");
    // Whatever this machine's resolver makes of it, the server goes on.
    let complaint = set(&server, &["serial0=tcp:no-such-host.invalid:1,server=off"]).refused(1);
    assert!(complaint.contains("no-such-host.invalid"), "{complaint}");
    set(&server, &["serial0=null", "serial1=null"]).ok();
}
