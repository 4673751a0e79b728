//! What docs/control.md says of a manager is so.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::managed::{Managed, ONE};
use crate::shape::same_shape;
use crate::vfio::Client;

fn control_md() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/control.md")).unwrap()
}

#[test]
fn a_manager_answers_as_control_md_has_it() {
    let text = control_md();
    let block = text.split("\n```json manage\n").nth(1).unwrap().split("\n```").next().unwrap();
    let managed = Managed::start();
    let mut control = BufReader::new(UnixStream::connect(managed.path("control")).unwrap());
    let mut next = {
        let mut stream = BufReader::new(control.get_ref().try_clone().unwrap());
        move || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()
        }
    };
    let mut user = None;
    let mut checked = 0;
    for line in block.lines() {
        let written: Value = serde_json::from_str(line).unwrap();
        if written.get("verb").is_some() {
            writeln!(control.get_mut(), "{line}").unwrap();
            continue;
        }
        if written.get("event").is_some() {
            user = Some(Client::negotiated(&managed.path("vfio/devices/vfio0")));
        }
        let answer = next();
        assert!(same_shape(&answer, &written), "{line}: {answer}");
        for member in ["id", "error", "event", "uuid", "node", "type"] {
            assert_eq!(answer.get(member), written.get(member), "{line}: {answer}");
        }
        checked += 1;
    }
    assert_eq!(checked, 9);
    assert!(user.is_some());
}

#[test]
fn the_run_directory_has_what_control_md_says() {
    let text = control_md();
    let rows = text.lines().skip_while(|line| !line.starts_with("| below DIR |")).skip(2);
    let named: BTreeSet<String> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').nth(1).unwrap().trim_end_matches('/').to_owned())
        .collect();
    let managed = Managed::start();
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    let _user = Client::negotiated(&made.socket);
    let client = managed.path(&format!("devices/{ONE}/vfio-dev/vfio0/client"));
    // The last that is written.
    crate::managed::soon("it says who uses it", || client.exists());
    let mut found = BTreeSet::new();
    let mut directories = vec![managed.run_dir()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                directories.push(path.clone());
            }
            let name = path.strip_prefix(managed.run_dir()).unwrap().to_str().unwrap();
            let name = name.replace(ONE, "UUID").replace("vfio0", "vfioN");
            let parts: Vec<_> = name.split('/').collect();
            let name = match parts[..] {
                ["mdev_supported_types", _, ..] => "mdev_supported_types/TYPE".into(),
                ["devices", "UUID", "vfio-dev", "vfioN", ..] => {
                    "devices/UUID/vfio-dev/vfioN".into()
                }
                _ => name,
            };
            found.insert(name);
        }
    }
    // The directories above them.
    for name in [
        "devices",
        "devices/UUID",
        "devices/UUID/vfio-dev",
        "mdev_supported_types",
        "vfio",
        "vfio/devices",
        ".staging",
    ] {
        assert!(found.remove(name), "{name}");
    }
    assert_eq!(named, found);
}
