//! Definitions in a file, in mdevctl's form.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::managed::{Managed, ONE, TWO, launch, soon};

const CONFIG: [&str; 2] = ["--config", "DIR/devices.json"];
const SAVED: [&str; 3] = ["--config", "DIR/devices.json", "--save"];

fn with_config(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("devices.json"), text).unwrap();
    directory
}

fn saved(managed: &Managed) -> Value {
    serde_json::from_slice(&fs::read(managed.directory().join("devices.json")).unwrap()).unwrap()
}

#[test]
fn a_file_that_is_wrong_is_refused_by_name_before_anything_is_made() {
    for text in ["", "{", "[]x", r#"[{"mtty":[{"1":{"mdev_type":"mtty-1"}}]}]"#] {
        let directory = with_config(text);
        let mut manager = launch(directory.path(), &CONFIG);
        assert_eq!(manager.wait().unwrap().code(), Some(1), "{text}");
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(log.contains("devices.json: "), "{log}");
        assert!(!directory.path().join("run").exists());
    }
    let directory = tempfile::tempdir().unwrap();
    let mut manager = launch(directory.path(), &CONFIG);
    assert_eq!(manager.wait().unwrap().code(), Some(1));
}

#[test]
fn what_cannot_be_made_is_said_and_the_others_are_there() {
    let text = json!([{
        "mdpy": [{ ONE: { "mdev_type": "mdpy-vga", "start": "auto", "attrs": [] } }],
        "mbochs": [{ TWO: {
            "mdev_type": "mbochs-small", "start": "auto", "attrs": [{ "edid": "/no/such" }],
        }}],
    }]);
    let managed = Managed::start_in(with_config(&text.to_string()), &CONFIG);
    soon("it is said", || {
        let log = managed.log();
        log.contains(" ERROR ") && log.contains(TWO)
    });
    assert_eq!(managed.read(&format!("devices/{ONE}/state")).as_deref(), Some("registered"));
    assert!(!managed.path(&format!("devices/{TWO}")).exists());
}

#[test]
fn what_is_to_be_started_by_hand_waits() {
    let text = json!([{
        "mtty": [
            { ONE: { "mdev_type": "mtty-2", "start": "manual", "attrs": [{ "pace": "on" }] } },
            { TWO: { "mdev_type": "mtty-1", "start": "auto" } },
        ],
    }]);
    let managed = Managed::start_in(with_config(&text.to_string()), &CONFIG);
    assert!(!managed.path(&format!("devices/{ONE}")).exists());
    assert!(managed.path(&format!("devices/{TWO}")).exists());
    managed.create(&["mtty-1"]);
    // Without --save the file is nobody's to change.
    assert_eq!(saved(&managed), text);
}

#[test]
fn what_comes_and_goes_is_written_back_and_nothing_else() {
    let manual = json!({ "mdev_type": "mtty-2", "start": "manual", "attrs": [{ "pace": "on" }] });
    let directory = with_config(&json!([{ "mtty": [{ ONE: manual.clone() }] }]).to_string());
    let file = directory.path().join("devices.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let managed = Managed::start_in(directory, &[&SAVED[..], &["--allow-path", "DIR"]].concat());
    let log = managed.directory().join("port.log");
    let device = format!("mtty-1,serial0=null,,logfile={},pace=off", log.display());
    let made = managed.create(&[&device, "--uuid", TWO]);
    let spec = format!("null,logfile={}", log.display());
    let expected = json!([{ "mtty": [
        { ONE: manual.clone() },
        { TWO: {
            "mdev_type": "mtty-1", "start": "auto", "attrs": [{ "serial0": spec }, { "pace": "off" }],
        }},
    ]}]);
    assert_eq!(saved(&managed), expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    managed.remove(&made);
    assert_eq!(saved(&managed), json!([{ "mtty": [{ ONE: manual }] }]));
    let names = fs::read_dir(managed.directory()).unwrap().map(|it| it.unwrap().file_name());
    let mut names: Vec<_> = names.map(|it| it.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["devices.json", "log", "port.log", "run"]);
}

#[test]
fn what_list_prints_is_what_config_takes() {
    let managed = Managed::start();
    managed.create(&["mbochs-small,xres=640,yres=480", "--uuid", ONE]);
    let text = managed.say(&["list", "--json"]).ok().replace("manual", "auto");
    drop(managed);
    let managed = Managed::start_in(with_config(&text), &CONFIG);
    let listed = managed.list();
    let device = listed.pointer(&format!("/0/mbochs/0/{ONE}")).unwrap();
    assert_eq!(device["attrs"], json!([{ "xres": "640" }, { "yres": "480" }]));
    assert_eq!(device["state"], "registered");
}
