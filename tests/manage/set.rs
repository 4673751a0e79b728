//! `set` and `fault`: devices that are changed while they are used.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use crate::managed::{Managed, ONE, TWO, end, program, soon};
use crate::vfio::{Client, access, command};

const SAVED: [&str; 5] = ["--config", "DIR/devices.json", "--save", "--allow-path", "DIR"];

/// Region of the registers, where the EDID is at the beginning; and region of the client's side of it.
const BAR2: u32 = 2;
const EDID: u32 = 9;

/// An option that names a file of the test's own.
fn file(managed: &Managed, option: &str, name: &str) -> String {
    format!("{option}{}", managed.directory().canonicalize().unwrap().join(name).display())
}

fn edid(user: &mut Client) -> Vec<u8> {
    user.read(BAR2, 0, 256)
}

/// Pixels of the preferred mode, by its detailed timing.
fn preferred(edid: &[u8]) -> (u32, u32) {
    let pixels = |low: usize, high: usize| u32::from(edid[low]) | u32::from(edid[high] >> 4) << 8;
    (pixels(56, 58), pixels(59, 61))
}

fn attrs(managed: &Managed, uuid: &str) -> Value {
    let list = managed.list();
    let parents = list[0].as_object().unwrap().values();
    let devices = parents.flat_map(|devices| devices.as_array().unwrap());
    devices.filter_map(|device| device.get(uuid)).next().unwrap()["attrs"].clone()
}

#[test]
fn a_command_line_that_is_wrong_is_refused_before_anything_is_asked() {
    for (arguments, words) in [
        (&["set", "pace=on"][..], "--run-dir"),
        (&["set", "--run-dir", "/tmp/x"], "OPTION=VALUE"),
        (&["set", "--run-dir", "/tmp/x", ONE], "what is to be set is missing"),
        (&["set", "--run-dir", "/tmp/x", ONE, TWO, "a=1"], "is no OPTION=VALUE"),
        (&["fault", "stall"], "--run-dir"),
        (&["fault", "--run-dir", "/tmp/x", ONE], "what is to go wrong is missing"),
        (&["fault", "--run-dir", "/tmp/x", "vfio", "stall"], "there is no fault 'vfio'"),
        (&["fault", "--run-dir", "/tmp/x", "stall", "off"], "off takes all faults away"),
        (&["fault", "--run-dir", "/tmp/x", "error"], "fault error lacks errno=ERRNO"),
    ] {
        let said = end(program().args(arguments).spawn().unwrap());
        assert_eq!(said.status.code(), Some(2), "{arguments:?}: {said:?}");
        assert!(said.err.contains(words), "{arguments:?}: {said:?}");
    }
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"serial0=file:/\xff");
    let mut command = program();
    let said = end(command.args(["set", "-c", "/tmp/x"]).arg(bytes).spawn().unwrap());
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    assert!(said.err.contains("UTF-8"), "{said:?}");
}

#[test]
fn what_cannot_be_set_is_refused_and_nothing_has_changed() {
    let managed = Managed::start_with(&SAVED);
    let display = managed.create(&["mbochs-small,xres=640,yres=480", "--uuid", ONE]);
    let serial = managed.create(&["mtty-1", "--uuid", TWO]);
    managed.create(&["mdpy-vga"]);
    let saved = fs::read_to_string(managed.directory().join("devices.json")).unwrap();
    let mut user = Client::negotiated(&display.socket);
    let before = edid(&mut user);
    fs::write(managed.directory().join("bad"), [0; 128]).unwrap();
    let (bad, none) = (file(&managed, "edid=", "bad"), file(&managed, "edid=", "none"));
    let directory = file(&managed, "edid=", "");
    for (arguments, words) in [
        (&["xres=1"][..], "EINVAL: name a 'device'"),
        (&["vfio9", "xres=640"], "ENODEV: there is no device 'vfio9'"),
        (&[ONE, "serial0=null"], "EINVAL: type mbochs-small has no option 'serial0', only"),
        (&["vfio2", "xres=640"], "EINVAL: type mdpy-vga has no option 'xres', nor any other"),
        (&[ONE, "xres=wide"], "EINVAL: xres is a number of pixels, not 'wide'"),
        (&[ONE, "yres=500", "xres=4096"], "EINVAL: xres is 400 to 4095, not 4096"),
        (&[ONE, "xres=1024"], "EINVAL: mbochs-small shows 800x600 at most"),
        (&[ONE, "edid=off", "xres=640"], "EINVAL: xres and yres are for an EDID that is made"),
        (&[ONE, "edid=/etc/passwd"], "EINVAL: /etc/passwd is no EDID: "),
        (&[ONE, &bad], "is no EDID: it does not begin with 00 ff ff"),
        (&[ONE, &none], "No such file or directory; name another file"),
        (&[ONE, &directory], "is no regular file"),
        (&[TWO, "serial0=file:/tmp/x"], "EACCES: /tmp/x is not below a directory"),
        (&[TWO, "serial0=stdio"], "EINVAL: stdio would be the manager's own"),
        (&[TWO, "serial0=null,logfile=/tmp/x"], "EACCES: /tmp/x is not below a directory"),
        (&[TWO, "serial1=null"], "EINVAL: type mtty-1 has no option 'serial1'"),
    ] {
        let line = managed.say(&[&["set"], arguments].concat()).refused(1);
        assert!(line.contains(words), "{arguments:?}: {line}");
    }
    assert_eq!(edid(&mut user), before);
    assert_eq!(attrs(&managed, ONE), json!([{ "xres": "640" }, { "yres": "480" }]));
    assert_eq!(attrs(&managed, TWO), json!([]));
    assert_eq!(fs::read_to_string(managed.directory().join("devices.json")).unwrap(), saved);
    drop(Client::negotiated(&serial.socket));
}

#[test]
fn a_device_that_is_being_removed_is_not_changed() {
    let managed = Managed::start();
    let made = managed.create(&["mbochs-small", "--uuid", ONE]);
    let mut user = Client::negotiated(&made.socket);
    let before = edid(&mut user);
    let removing = managed.begin(&["remove", ONE]);
    soon("it is hidden", || !made.socket.exists());
    for verb in [&["set", ONE, "edid=off"][..], &["fault", ONE, "disconnect"]] {
        let line = managed.say(verb).refused(1);
        assert!(line.starts_with("EAGAIN: vfio0 is being removed"), "{line}");
    }
    assert_eq!(edid(&mut user), before);
    drop(user);
    end(removing).ok();
}

#[test]
fn the_guest_reads_the_new_edid_at_its_next_access() {
    let managed = Managed::start_with(&SAVED);
    let made = managed.create(&["mbochs-medium,yres=600", "--uuid", ONE]);
    let mut user = Client::negotiated(&made.socket);
    let first = edid(&mut user);
    assert_eq!(preferred(&first), (1280, 600));
    // What is not named stays.
    assert_eq!(managed.say(&["set", "xres=1024"]).ok(), "");
    let second = edid(&mut user);
    assert_eq!(preferred(&second), (1024, 600));
    assert_eq!(second[..128].iter().fold(0u8, |sum, it| sum.wrapping_add(*it)), 0);

    managed.say(&["set", "vfio0", "edid=off"]).ok();
    assert_eq!(edid(&mut user), [0; 256]);
    assert_eq!(user.read(EDID, 0x14, 4), [2, 0, 0, 0], "the link is down");
    assert_eq!(user.read(EDID, 0x08, 4), [0; 4], "its size");
    assert_eq!(attrs(&managed, ONE), json!([{ "edid": "off" }]));

    fs::write(managed.directory().join("monitor"), &first[..128]).unwrap();
    managed.say(&["set", ONE, &file(&managed, "edid=", "monitor")]).ok();
    assert_eq!(edid(&mut user), first);
    assert_eq!(user.read(EDID, 0x14, 4), [1, 0, 0, 0], "the link is up");
    assert_eq!(user.read(EDID, 0x08, 4), [128, 0, 0, 0]);

    // One that a client has plugged in gives way, and nothing else is touched.
    user.write(EDID, 0x14, &[2, 0, 0, 0]);
    assert_eq!(edid(&mut user), [0; 256]);
    managed.say(&["set", ONE, "edid=auto", "xres=1600", "yres=900"]).ok();
    assert_eq!(preferred(&edid(&mut user)), (1600, 900));
    drop(user);
    let open_count = format!("devices/{ONE}/vfio-dev/vfio0/open_count");
    soon("it is closed", || managed.read(&open_count).as_deref() == Some("0"));
    assert_eq!(preferred(&edid(&mut Client::negotiated(&made.socket))), (1600, 900));
}

#[test]
fn a_manager_that_comes_back_makes_devices_as_they_were_set() {
    let managed = Managed::start_with(&SAVED);
    managed.create(&["mtty-2,serial0=null", "--uuid", ONE]);
    managed.create(&["mbochs-small", "--uuid", TWO]);
    let end = file(&managed, "serial1=unix:", "port,history=9");
    managed.say(&["set", ONE, &end, "serial0=loopback"]).ok();
    managed.say(&["set", TWO, "xres=720"]).ok();
    UnixStream::connect(managed.directory().join("port")).unwrap();
    let expected = json!([{ "serial0": "loopback" }, { "serial1": &end[8..] }]);
    assert_eq!(attrs(&managed, ONE), expected);
    let directory = managed.kill();
    let managed = Managed::start_in(directory, &SAVED);
    assert_eq!(attrs(&managed, ONE), expected);
    assert_eq!(attrs(&managed, TWO), json!([{ "xres": "720" }]));
    UnixStream::connect(managed.directory().join("port")).unwrap();
    // And again, of one that came out of the file.
    managed.say(&["set", ONE, "serial1=loopback"]).ok();
    assert!(!managed.directory().join("port").exists());
    let saved = fs::read(managed.directory().join("devices.json")).unwrap();
    let saved: Value = serde_json::from_slice(&saved).unwrap();
    let device = saved.pointer(&format!("/0/mtty/0/{ONE}")).unwrap();
    let attrs = json!([{ "serial0": "loopback" }, { "serial1": "loopback" }]);
    assert_eq!(*device, json!({ "mdev_type": "mtty-2", "start": "auto", "attrs": attrs }));
    drop(managed.kill());
}

#[test]
fn who_set_at_once_do_so_one_after_the_other_and_what_is_listed_and_saved_is_what_runs() {
    let managed = Managed::start_with(&SAVED);
    let made = managed.create(&["mbochs-medium,xres=640,yres=400", "--uuid", ONE]);
    let mut user = Client::negotiated(&made.socket);
    let [mut wide, mut high] =
        [(); 2].map(|()| BufReader::new(UnixStream::connect(managed.path("control")).unwrap()));
    let together = Barrier::new(2);
    for round in 0..100 {
        let (x, y) = (640 + 8 * (round % 50), 400 + 2 * (round % 50));
        let say = |control: &mut BufReader<UnixStream>, option: &str, value: u32| {
            let options = json!({ option: value.to_string() });
            let request = json!({ "verb": "set", "device": ONE, "options": options });
            let mut answer = String::new();
            together.wait();
            writeln!(control.get_mut(), "{request}").unwrap();
            control.read_line(&mut answer).unwrap();
            assert!(!answer.contains("errno"), "{answer}");
        };
        thread::scope(|scope| {
            scope.spawn(|| say(&mut wide, "xres", x));
            scope.spawn(|| say(&mut high, "yres", y));
        });
        assert_eq!(preferred(&edid(&mut user)), (x, y), "round {round}");
        let expected = json!([{ "xres": x.to_string() }, { "yres": y.to_string() }]);
        assert_eq!(attrs(&managed, ONE), expected, "round {round}");
        let saved = fs::read(managed.directory().join("devices.json")).unwrap();
        let saved: Value = serde_json::from_slice(&saved).unwrap();
        let saved = saved.pointer(&format!("/0/mbochs/0/{ONE}/attrs"));
        assert_eq!(saved, Some(&expected), "round {round}");
    }
}

#[test]
fn a_fault_befalls_a_device_from_when_it_is_given_until_it_is_taken_away() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    let mut user = Client::negotiated(&made.socket);
    let read = |user: &mut Client| user.call(command::REGION_READ, &access(0, 7, 1, &[]));
    read(&mut user).ok();
    managed.say(&["fault", "error,errno=EIO,command=region-read,region=bar0,at=2"]).ok();
    read(&mut user).ok();
    read(&mut user).refused(5);
    read(&mut user).ok();
    // Others in its place, which begin to count now.
    managed.say(&["fault", ONE, "error,errno=ENXIO,command=region-read,count=always"]).ok();
    read(&mut user).refused(6);
    soon("the log has it", || managed.log().contains("at=2 acted once (matched 3)"));
    managed.say(&["fault", "vfio0", "off"]).ok();
    read(&mut user).ok();
    soon("the log has it", || managed.log().contains("count=always acted once (matched 1)"));
    drop(user);
    managed.remove(&made);
}

#[test]
fn a_verb_fault_that_is_malformed_is_refused_in_words() {
    let managed = Managed::start();
    managed.create(&["mtty-1"]);
    let mut control = BufReader::new(UnixStream::connect(managed.path("control")).unwrap());
    for (request, words) in [
        (r#"{"verb":"fault"}"#, "'faults' is a list of strings, empty to take all away"),
        (r#"{"verb":"fault","faults":"stall"}"#, "'faults' is a list of strings"),
        (r#"{"verb":"fault","faults":[1]}"#, "'faults' is a list of strings"),
        (r#"{"verb":"fault","faults":["stall","x"]}"#, "'x': there is no fault 'x'"),
        (r#"{"verb":"fault","faults":[],"spec":1}"#, "verb 'fault' takes no 'spec'"),
    ] {
        writeln!(control.get_mut(), "{request}").unwrap();
        let mut answer = String::new();
        control.read_line(&mut answer).unwrap();
        assert!(answer.contains(r#""errno":"EINVAL""#) && answer.contains(words), "{answer}");
    }
}
