//! What it prints when it is asked: help, types, capabilities, version.

use std::fs::OpenOptions;

use serde_json::Value;

use crate::{complaint, mdev_user, say, shell};

const HELPS: [&[&str]; 13] = [
    &["--help"],
    &["-h"],
    &["help"],
    &["help", "serve"],
    &["serve", "--help"],
    &["run", "--help"],
    &["types", "--help"],
    &["help", "run"],
    &["completions", "--help"],
    &["help", "man"],
    &["help", "info"],
    &["help", "screenshot"],
    &["help", "wait"],
];

fn json(arguments: &[&str]) -> Value {
    let said = say(&mut mdev_user(arguments));
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn help_is_an_answer_not_an_error() {
    for arguments in HELPS {
        let said = say(&mut mdev_user(arguments));
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{arguments:?}");
        assert!(said.out.contains("\nUsage: mdev-user"), "{arguments:?}: {}", said.out);
    }
}

#[test]
fn help_is_in_ascii_and_fits_a_terminal() {
    for arguments in HELPS {
        let said = say(&mut mdev_user(arguments));
        for line in said.out.lines() {
            assert!(line.is_ascii() && line.len() <= 100, "{arguments:?}: {line}");
        }
    }
}

#[test]
fn each_command_is_explained() {
    let help = say(&mut mdev_user(&["--help"])).out;
    for word in [
        "serve",
        "run",
        "info",
        "screenshot",
        "wait",
        "types",
        "completions",
        "man",
        "--log-level",
        "--print-capabilities",
        "--version",
    ] {
        assert!(help.contains(word), "{word}");
    }
    // Lines are broken to fit the terminal.
    let help = |verb| {
        let text = say(&mut mdev_user(&["help", verb])).out;
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let serve = help("serve");
    for word in [
        "mtty-1, mtty-2, mdpy-vga, mdpy-xga, mdpy-hd, mbochs-small",
        "--socket-path",
        "--fd",
        "--allow-uid",
        "--ready-fd",
        "--once",
        "--poll-us",
        "Examples:",
    ] {
        assert!(serve.contains(word), "{word}");
    }
    let run = help("run");
    for word in [
        "mtty-1, mtty-2, mdpy-vga, mdpy-xga, mdpy-hd, mbochs-small",
        "--poll-us",
        "127",
        "serial0, serial1 and pace of an mtty, xres, yres and edid of an mbochs",
        "126",
        "128 + N",
        "Examples:",
    ] {
        assert!(run.contains(word), "{word}");
    }
}

#[test]
fn version_is_the_packages() {
    let expected = concat!("mdev-user ", env!("CARGO_PKG_VERSION"), "\n");
    for word in ["--version", "-V"] {
        let said = say(&mut mdev_user(&[word]));
        assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (0, expected, ""));
    }
}

#[test]
fn types_are_a_table_for_people() {
    let said = say(&mut mdev_user(&["types"]));
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    let rows: Vec<&str> = said.out.lines().collect();
    assert_eq!(
        rows,
        [
            "TYPE          AVAILABLE  API        NAME",
            "mtty-1               24  vfio-pci   Single port serial",
            "mtty-2               12  vfio-pci   Dual port serial",
            "mdpy-vga              4  vfio-pci   virtual display, 640x480 framebuffer",
            "mdpy-xga              4  vfio-pci   virtual display, 1024x768 framebuffer",
            "mdpy-hd               4  vfio-pci   virtual display, 1920x1080 framebuffer",
            "mbochs-small         64  vfio-pci   virtual display, 4 MB video memory",
            "mbochs-medium        16  vfio-pci   virtual display, 16 MB video memory",
            "mbochs-large          4  vfio-pci   virtual display, 64 MB video memory",
        ]
    );
}

#[test]
fn types_json_is_in_the_form_of_mdevctl() {
    // A list of parents, each with a list of types, each an object of its own.
    let value = json(&["types", "--json"]);
    let types = value[0]["mtty"].as_array().unwrap();
    assert_eq!(value.as_array().unwrap().len(), 1);
    for (kind, name, available, text) in [
        (&types[0], "mtty-1", 24, "Single port serial"),
        (&types[1], "mtty-2", 12, "Dual port serial"),
    ] {
        assert_eq!(kind[name]["available_instances"], available);
        assert_eq!(kind[name]["device_api"], "vfio-pci");
        assert_eq!(kind[name]["name"], text);
        assert_eq!(kind[name].get("description"), Some(&Value::Null));
        assert_eq!(kind.as_object().unwrap().len(), 1);
    }
    let hd = &value[0]["mdpy"][2]["mdpy-hd"];
    assert_eq!(hd["description"], "virtual display, 1920x1080 framebuffer");
    assert_eq!((&hd["name"], &hd["available_instances"]), (&"mdpy-hd".into(), &4.into()));
}

#[test]
fn capabilities_tell_a_program_what_it_needs() {
    let value = json(&["--print-capabilities"]);
    assert_eq!(value["type"], "vfio-user");
    assert_eq!(value["program"], "mdev-user");
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["protocol"]["major"], 0);
    assert_eq!(value["protocol"]["minor"], 0);
    assert_eq!(
        value["types"],
        serde_json::json!([
            "mtty-1",
            "mtty-2",
            "mdpy-vga",
            "mdpy-xga",
            "mdpy-hd",
            "mbochs-small",
            "mbochs-medium",
            "mbochs-large"
        ])
    );
    assert_eq!(
        value["features"],
        serde_json::json!([
            "allow-path",
            "allow-uid",
            "control-path",
            "fault",
            "fd",
            "listen-fds",
            "manage",
            "notify-socket",
            "once",
            "poll-us",
            "ready-fd",
            "sandbox",
            "seccomp"
        ])
    );
    // As with vhost-user's programs, other words are ignored.
    for others in [&["types"][..], &["garbage"], &["--bogus"], &["--version"], &["serve"]] {
        assert_eq!(json(&[&["--print-capabilities"], others].concat()), value, "{others:?}");
    }
    assert_eq!(json(&["--log-level", "debug", "--print-capabilities"]), value);
}

#[test]
fn output_that_cannot_be_written_is_an_error_but_a_reader_that_left_is_none() {
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    for arguments in [&["types"][..], &["types", "--json"], &["--print-capabilities"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = mdev_user(arguments).stdout(full).stderr(std::process::Stdio::piped()).spawn();
        let said = crate::end(child.unwrap());
        let expected = "cannot write to standard output: No space left on device";
        assert_eq!(complaint(&said, 1), expected, "{arguments:?}");

        let gone = gone.try_clone().unwrap();
        let child = mdev_user(arguments).stdout(gone).stderr(std::process::Stdio::piped()).spawn();
        let said = crate::end(child.unwrap());
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{arguments:?}");
    }
    assert_eq!(say(&mut shell("exec $0 types >&-")).status, 0);
}
