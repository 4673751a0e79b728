//! Files that a manager may not open: `create` and `set` open them and hand them over.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;

use rustix::event::EventfdFlags;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::{Value, json};

use crate::handing::{ask, edid, hex, refusal};
use crate::managed::{Managed, ONE, TWO, end, program};
use crate::vfio::Client;

/// Region of the registers, where the EDID is at the beginning.
const BAR2: u32 = 2;

fn seen(user: &mut Client) -> Vec<u8> {
    user.read(BAR2, 0, 128)
}

fn attrs(managed: &Managed) -> Value {
    managed.list().pointer(&format!("/0/mbochs/0/{ONE}/attrs")).unwrap().clone()
}

fn open(managed: &Managed, name: &str) -> OwnedFd {
    File::open(managed.directory().join(name)).unwrap().into()
}

#[test]
fn what_is_handed_over_in_another_way_is_refused_and_nothing_has_changed() {
    let managed = Managed::start();
    let made = managed.create(&["mbochs-small", "--uuid", ONE]);
    let mut user = Client::negotiated(&made.socket);
    let before = seen(&mut user);
    fs::write(managed.directory().join("edid"), edid(1)).unwrap();
    let file = open(&managed, "edid");
    let held = managed.held_at_rest();
    let set = |options: Value, fd: Value| json!({ "verb": "set", "options": options, "fd": fd });
    let named = json!({ "edid": "edid" });
    let many = "EINVAL: more descriptors than one came with the line";
    for (request, count, words) in [
        (
            set(named.clone(), json!("edid")),
            0,
            "EINVAL: 'fd' is 'edid', and no descriptor came with the line",
        ),
        (set(named.clone(), json!("edid")), 2, many),
        (set(named.clone(), json!("edid")), 253, many),
        (set(named.clone(), json!(7)), 1, "EINVAL: 'fd' is a string"),
        (set(named.clone(), json!("xres")), 1, "EINVAL: 'fd' is 'edid', not 'xres'"),
        (
            set(json!({ "xres": "640" }), json!("edid")),
            1,
            "EINVAL: 'fd' is 'edid', and there is no such option beside it",
        ),
        (
            json!({ "verb": "create", "type": "mbochs-small", "fd": "edid" }),
            1,
            "EINVAL: 'fd' is 'edid', and there is no such option beside it",
        ),
        (
            json!({ "verb": "create", "type": "mtty-1,edid=x", "fd": "edid" }),
            1,
            "EINVAL: type mtty-1 has no option 'edid', only serial0, pace",
        ),
        (
            json!({ "verb": "set", "options": named }),
            1,
            "EINVAL: a descriptor came with 'set', and no 'fd' says what it is for",
        ),
        (
            json!({ "verb": "list" }),
            1,
            "EINVAL: a descriptor came with 'list', and no 'fd' says what it is for",
        ),
        (json!({ "verb": "list" }), 253, many),
        (json!({ "verb": "list", "fd": "edid" }), 1, "EINVAL: verb 'list' takes no 'fd'"),
    ] {
        let fds = vec![file.as_fd(); count];
        let refused = refusal(&ask(&managed.path("control"), &request, &fds));
        assert_eq!(refused, words, "{request} with {count}");
    }
    assert_eq!(seen(&mut user), before);
    assert_eq!(attrs(&managed), json!([]));
    assert_eq!(managed.held_at_rest(), held, "what was not wanted is closed");
}

#[test]
fn what_is_no_edid_is_refused_by_its_name_and_waited_for_by_nobody() {
    let managed = Managed::start();
    managed.create(&["mbochs-small", "--uuid", ONE]);
    let at = |name: &str| managed.directory().join(name);
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (name, size) in [("empty", 0), ("bad", 128), ("long", 1025), ("huge", 1 << 40)] {
        File::create(at(name)).unwrap().set_len(size).unwrap();
    }
    let unreadable = File::options().append(true).open(at("bad")).unwrap();
    let path = OFlags::PATH.bits().cast_signed();
    let no_file = File::options().read(true).custom_flags(path).open(at("bad")).unwrap();
    // With somebody who could write, so that a read would wait.
    let fifo = File::options().read(true).write(true).open(at("fifo")).unwrap();
    let others: [(OwnedFd, &str); 12] = [
        (fifo.into(), "is no regular file"),
        (std::io::pipe().unwrap().0.into(), "is no regular file"),
        (File::open("/").unwrap().into(), "is no regular file"),
        (File::open("/dev/zero").unwrap().into(), "is no regular file"),
        (UnixStream::pair().unwrap().0.into(), "is no regular file"),
        (rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap(), "is no regular file"),
        (unreadable.into(), "Bad file descriptor"),
        (no_file.into(), "Bad file descriptor"),
        (open(&managed, "empty"), "is no EDID: "),
        (open(&managed, "bad"), "is no EDID: it does not begin with 00 ff ff"),
        (open(&managed, "long"), "is no EDID: it has more than 1024 bytes"),
        (open(&managed, "huge"), "is no EDID: it has more than 1024 bytes"),
    ];
    for (fd, words) in &others {
        for request in [
            json!({ "verb": "set", "options": { "edid": "my monitor" }, "fd": "edid" }),
            json!({ "verb": "create", "type": "mbochs-small,edid=my monitor", "fd": "edid" }),
        ] {
            let refused = refusal(&ask(&managed.path("control"), &request, &[fd.as_fd()]));
            assert!(refused.starts_with("EINVAL: "), "{refused}");
            assert!(
                refused.contains("my monitor") && refused.contains(words),
                "{words}: {refused}"
            );
        }
    }
    for (name, words) in [
        ("none", "No such file or directory; name another file"),
        ("fifo", "is no regular file"),
        ("", "is no regular file"),
        ("bad", "is no EDID: it does not begin with 00 ff ff"),
    ] {
        let option = format!("edid={}", at(name).display());
        for said in [
            managed.say(&["set", &option]),
            managed.say(&["create", &format!("mbochs-small,{option}")]),
        ] {
            let line = said.refused(1);
            assert!(line.contains(words), "{option}: {line}");
        }
    }
    assert_eq!(attrs(&managed), json!([]));
}

#[test]
fn bytes_that_are_written_out_are_an_edid_or_refused() {
    let managed = Managed::start();
    let good = hex(&edid(1));
    let digits = good.strip_prefix("hex:").unwrap();
    for (value, words) in [
        ("hex:", "is no EDID: "),
        ("hex:00", "is no EDID: "),
        ("hex:0", "each two hexadecimal digits"),
        ("hex:zz", "each two hexadecimal digits"),
        ("hex:+1", "each two hexadecimal digits"),
        (&format!("hex:{}", &digits[2..]), "is no EDID: "),
        (&format!("hex:{}", digits.repeat(9)), "is no EDID: "),
    ] {
        let said = managed.say(&["create", &format!("mbochs-small,edid={value}")]);
        let line = said.err;
        assert!(line.contains(words), "{value}: {line}");
    }
    let upper = format!("mbochs-small,edid=hex:{}", digits.to_uppercase());
    let made = managed.create(&[&upper, "--uuid", ONE]);
    assert_eq!(seen(&mut Client::negotiated(&made.socket)), edid(1));
}

#[test]
fn a_file_that_only_who_asks_may_name_is_the_monitor_and_stays_it() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("monitor");
    fs::write(&file, edid(1)).unwrap();
    let path = file.to_str().unwrap();
    let mut managed = Managed::start_with(&["--config", "DIR/devices.json", "--save"]);
    let control = managed.path("control");
    let made = managed.create(&[&format!("mbochs-small,edid={path}"), "--uuid", ONE]);
    let mut user = Client::negotiated(&made.socket);
    assert_eq!(seen(&mut user), edid(1));
    assert_eq!(attrs(&managed), json!([{ "edid": hex(&edid(1)) }]));
    // By name the manager has none of it.
    for request in [
        json!({ "verb": "set", "options": { "edid": path } }),
        json!({ "verb": "create", "type": format!("mbochs-small,edid={path}") }),
    ] {
        let refused = refusal(&ask(&control, &request, &[]));
        assert!(refused.starts_with(&format!("EACCES: {path} is not below")), "{refused}");
    }
    // Where who asks is, and wherever the file has been read to.
    fs::write(&file, edid(2)).unwrap();
    let mut set = program();
    set.current_dir(elsewhere.path()).arg("set").arg("--run-dir").arg(managed.run_dir());
    end(set.args(["vfio0", "edid=monitor"]).spawn().unwrap()).ok();
    assert_eq!(seen(&mut user), edid(2));
    fs::write(&file, edid(3)).unwrap();
    let mut read = File::open(&file).unwrap();
    read.read_to_end(&mut Vec::new()).unwrap();
    let request = json!({ "verb": "set", "options": { "edid": "" }, "fd": "edid" });
    assert_eq!(ask(&control, &request, &[read.as_fd()])["ok"]["device"], "vfio0");
    assert_eq!(seen(&mut user), edid(3));
    assert_eq!(read.stream_position().unwrap(), 128);
    // What becomes of the file is nothing to the device, now or later.
    fs::remove_file(&file).unwrap();
    let mode = json!({ "verb": "create", "uuid": TWO, "type": "mtty-1" });
    assert_eq!(ask(&control, &mode, &[])["ok"]["uuid"], TWO);
    drop(user);
    let saved = fs::read(managed.directory().join("devices.json")).unwrap();
    assert!(managed.finish(rustix::process::Signal::TERM).success());
    drop(managed);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("devices.json"), saved).unwrap();
    let managed = Managed::start_in(directory, &["--config", "DIR/devices.json", "--save"]);
    assert_eq!(attrs(&managed), json!([{ "edid": hex(&edid(3)) }]));
    let socket = managed.path(&format!("devices/{ONE}/socket")).canonicalize().unwrap();
    assert_eq!(seen(&mut Client::negotiated(&socket)), edid(3));
}
