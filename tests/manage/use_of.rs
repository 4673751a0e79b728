//! Devices of one manager do not get into each other's way.

use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::managed::{Managed, end, soon};
use crate::vfio::Client;

#[test]
fn types_tell_what_is_left() {
    let managed = Managed::start_with(&["--mtty-ports", "5", "--mdpy-max", "0"]);
    managed.create(&["mtty-2"]);
    let out = managed.say(&["types"]).ok();
    let rows: Vec<Vec<_>> =
        out.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    let expected = [
        ["TYPE", "AVAILABLE"],
        ["mtty-1", "3"],
        ["mtty-2", "1"],
        ["mdpy-vga", "0"],
        ["mdpy-xga", "0"],
        ["mdpy-hd", "0"],
        ["mbochs-small", "64"],
        ["mbochs-medium", "16"],
        ["mbochs-large", "4"],
    ];
    assert_eq!(rows, expected);
    let json: serde_json::Value =
        serde_json::from_str(&managed.say(&["types", "--json"]).ok()).unwrap();
    assert_eq!(json.pointer("/0/mtty/0/mtty-1/available_instances").unwrap(), 3);
}

#[test]
fn the_verbs_of_one_device_reach_it_by_uuid_and_by_node() {
    let managed = Managed::start();
    let (one, two) = (managed.create(&["mtty-1"]), managed.create(&["mdpy-vga"]));
    for (name, kind) in [(&*one.uuid, "mtty-1"), ("vfio0", "mtty-1"), (&*two.uuid, "mdpy-vga")] {
        let out = managed.say(&["info", "--device", name, "--json"]).ok();
        let info: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(info["devices"].as_array().unwrap().len(), 1);
        assert_eq!(info["devices"][0]["type"], kind);
    }
    managed.say(&["screenshot", "--device", &two.uuid, "/dev/null"]).ok();
    managed.say(&["serial", "--device", &one.uuid, "lines", "0", "dcd=off"]).ok();
    let timeout = ["--timeout", "1s"];
    for (verb, rest, way) in [
        ("screenshot", &["/dev/null"][..], "--device"),
        ("wait", &["--not-blank"], "--device"),
        ("serial", &["break", "0"], "--device"),
        ("send", &["0", "x"], "--device"),
        ("expect", &["0", "x"], "--device"),
        ("set", &["pace=on"], "in front of OPTION=VALUE"),
        ("fault", &["off"], "in front of SPEC"),
        ("reset", &[], "as the last word"),
    ] {
        let line = managed.say(&[&[verb], rest].concat()).refused(1);
        let expected = format!("EINVAL: name a 'device' ({way}), one of vfio0, vfio1");
        assert!(line.ends_with(&expected), "{verb}: {line}");
        // What it says is the way out.
        let display = ["wait", "screenshot"].contains(&verb);
        let name = if display { "vfio1" } else { "vfio0" };
        let named = match way {
            "--device" => [&[verb, way, name], rest].concat(),
            "as the last word" => [&[verb], rest, &[name]].concat(),
            _ => [&[verb, name], rest].concat(),
        };
        let limit = if ["wait", "send", "expect"].contains(&verb) { &timeout[..] } else { &[] };
        let said = managed.say(&[&named, limit].concat());
        assert!(!said.err.contains("name a 'device'") && said.status.code() != Some(2), "{said:?}");
    }
    let list = managed.say(&["list"]).ok();
    let mut rows: Vec<_> = list.lines().map(str::to_owned).collect();
    rows.sort();
    let mut expected = vec![
        format!("{} mtty mtty-1 manual vfio0 registered", one.uuid),
        format!("{} mdpy mdpy-vga manual vfio1 registered", two.uuid),
    ];
    expected.sort();
    assert_eq!(rows, expected);
}

#[test]
fn devices_come_and_go_while_another_is_used_on_the_same_loop() {
    let managed = Managed::start_with(&["--loops", "1"]);
    let made = managed.create(&["mtty-1"]);
    let mut user = Client::negotiated(&made.socket);
    for round in 0..10u8 {
        let other = managed.create(&["mbochs-small"]);
        user.write(0, 7, &[round]);
        let others = Client::negotiated(&other.socket);
        assert_eq!(user.read(0, 7, 1), [round]);
        let removing = managed.begin(&["remove", &other.uuid]);
        soon("it is hidden", || !other.socket.exists());
        user.still_in_step();
        drop(others);
        end(removing).ok();
        assert_eq!(user.read(0, 7, 1), [round]);
    }
}

#[test]
fn whoever_talks_nonsense_to_the_manager_disturbs_nobody() {
    let managed = Managed::start_with(&["--loops", "1"]);
    let (made, other) = (managed.create(&["mtty-1"]), managed.create(&["mtty-1"]));
    let mut user = Client::negotiated(&made.socket);
    let mut garbage = UnixStream::connect(&other.socket).unwrap();
    let _ = garbage.write_all(&[0xff; 4096]);
    let mut control = UnixStream::connect(managed.path("control")).unwrap();
    let _ = control.write_all(&vec![b'x'; 128 << 10]);
    for _ in 0..100 {
        user.still_in_step();
    }
    managed.remove(&other);
    user.still_in_step();
}
