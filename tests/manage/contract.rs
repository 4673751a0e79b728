//! Rows of docs/life-cycle.md over the real sockets and commands: what is made, opened and given back.

use std::fs::{self, File};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use crate::managed::{Managed, ONE, TWO, TYPES, end, soon};
use crate::vfio::{Client, command, errno, version};

/// What there is of each type still, in the order of `types`.
fn all_available(managed: &Managed) -> [u32; 8] {
    TYPES.map(|kind| managed.available(kind))
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// The error number of the answer to VERSION; `None` if the connection was closed instead.
pub fn greeting(stream: UnixStream) -> Option<u32> {
    let mut client = Client::new(stream);
    let json = crate::vfio::QEMU_CAPABILITIES;
    let message = crate::vfio::message(1, command::VERSION, 0, &version(0, 0, json));
    client.socket.write_all(&message).ok()?;
    client.receive().map(|reply| reply.error)
}

#[test]
fn what_cannot_be_made_gives_back_all_that_was_taken_for_it() {
    let managed = Managed::start_with(&["--allow-path", "DIR"]);
    let directory = managed.directory().canonicalize().unwrap();
    let dir = directory.display();
    fs::write(directory.join("edid"), "no EDID").unwrap();
    let _busy = UnixListener::bind(directory.join("busy")).unwrap();
    // What is opened once, by whatever comes first, is not to be counted.
    managed.remove(&managed.create(&["mtty-2"]));
    let (mut descriptors, mut still) = (0, 0);
    soon("it is at rest", || {
        let now = managed.descriptors();
        still = if now == descriptors { still + 1 } else { 0 };
        descriptors = now;
        still > 100
    });
    let available = all_available(&managed);
    for (device, words) in [
        (format!("mbochs-small,edid={dir}/edid"), "no EDID"),
        (format!("mtty-1,serial0=unix:{dir}/busy"), "in use"),
        (format!("mtty-1,serial0=unix:{dir}/nobody,,server=off"), "cannot connect"),
        // The first port is made, and its socket; the second cannot be.
        (format!("mtty-2,serial0=unix:{dir}/first,serial1=unix:{dir}/busy"), "in use"),
        (format!("mtty-2,serial0=unix:{dir}/first,serial1=pipe:{dir}/none"), "FIFO"),
    ] {
        let line = managed.say(&["create", &device, "--uuid", ONE]).refused(1);
        assert!(line.contains(words), "{device}: {line}");
        assert_eq!(all_available(&managed), available, "{device}");
        assert!(!directory.join("first").exists(), "{device}");
        for name in ["devices", "vfio/devices", ".staging"] {
            assert_eq!(entries(&managed.path(name)), 0, "{device}: {name}");
        }
    }
    soon("descriptors are given back", || managed.descriptors() == descriptors);
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    assert_eq!(made.node(), "vfio0", "the lowest index is free again");
}

#[test]
fn available_instances_are_right_at_every_step() {
    let managed = Managed::start();
    assert_eq!(all_available(&managed), [24, 12, 4, 4, 4, 64, 16, 4]);
    // A share is as large as the type; of mdpy each device is one.
    let steps: [(&str, [u32; 8]); 6] = [
        ("mtty-2", [22, 11, 4, 4, 4, 64, 16, 4]),
        ("mtty-1", [21, 10, 4, 4, 4, 64, 16, 4]),
        ("mdpy-hd", [21, 10, 3, 3, 3, 64, 16, 4]),
        ("mbochs-large", [21, 10, 3, 3, 3, 48, 12, 3]),
        ("mbochs-small", [21, 10, 3, 3, 3, 47, 11, 2]),
        ("mbochs-medium", [21, 10, 3, 3, 3, 43, 10, 2]),
    ];
    let mut made = Vec::new();
    for (kind, expected) in steps {
        made.push(managed.create(&[kind]));
        assert_eq!(all_available(&managed), expected, "{kind}");
        let types: Value = serde_json::from_str(&managed.say(&["types", "--json"]).ok()).unwrap();
        let said = |path: &str| types.pointer(&format!("/0/{path}/available_instances")).unwrap();
        assert_eq!(*said("mtty/0/mtty-1"), expected[0]);
        assert_eq!(*said("mbochs/2/mbochs-large"), expected[7]);
    }
    while let Some(last) = made.pop() {
        managed.remove(&last);
        let expected = made.len().checked_sub(1).map(|at| steps[at].1);
        assert_eq!(all_available(&managed), expected.unwrap_or([24, 12, 4, 4, 4, 64, 16, 4]));
    }
}

#[test]
fn a_removed_device_in_use_keeps_its_node_and_its_share_until_its_release() {
    let managed = Managed::start_with(&["--mtty-ports", "3"]);
    let made = managed.create(&["mtty-2", "--uuid", ONE]);
    let user = Client::negotiated(&made.socket);
    let removing = managed.begin(&["remove", ONE]);
    soon("it is hidden", || !made.socket.exists());
    let line = managed.say(&["create", "mtty-2", "--uuid", TWO]).refused(1);
    assert!(line.starts_with("ENOSPC: "), "{line}");
    let other = managed.create(&["mtty-1", "--uuid", TWO]);
    assert_eq!(other.node(), "vfio1", "vfio0 is not free yet");
    drop(user);
    end(removing).ok();
    assert_eq!(managed.create(&["mtty-2", "--uuid", ONE]).node(), "vfio0");
}

#[test]
fn a_device_has_one_user_and_stays_as_it_is_for_the_next() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    let mut user = Client::negotiated(&made.socket);
    user.write(0, 7, &[0x5a]); // the port's scratch register
    let second = UnixStream::connect(&made.socket).unwrap();
    assert_eq!(greeting(second), Some(errno::EBUSY));
    user.still_in_step();
    drop(user);
    let count = format!("devices/{ONE}/vfio-dev/vfio0/open_count");
    soon("it is closed", || managed.read(&count).as_deref() == Some("0"));
    let mut next = Client::negotiated(&made.socket);
    assert_eq!(next.read(0, 7, 1), [0x5a]);
    assert_eq!(made.node(), "vfio0");
}

#[test]
fn an_open_while_it_is_removed_finds_nobody_and_is_not_told_that_it_is_busy() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let user = Client::negotiated(&made.socket);
    // The socket's file itself, whatever becomes of its name.
    let flags = rustix::fs::OFlags::PATH.bits().cast_signed();
    let held = File::options().read(true).custom_flags(flags).open(&made.socket).unwrap();
    let removing = managed.begin(&["remove", &made.uuid]);
    soon("it is hidden", || !made.socket.exists());
    let refusal = |path: &Path| UnixStream::connect(path).unwrap_err().raw_os_error();
    assert_eq!(refusal(&made.socket), Some(2), "ENOENT");
    let held_path = format!("/proc/self/fd/{}", held.as_raw_fd());
    // Its name goes a moment before nobody listens.
    soon("nobody listens", || UnixStream::connect(&held_path).is_err());
    assert_eq!(refusal(Path::new(&held_path)), Some(111), "ECONNREFUSED");
    drop(user);
    end(removing).ok();
}

#[test]
fn a_device_whose_user_is_killed_is_released() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let client = Client::negotiated(&made.socket);
    let connection = OwnedFd::from(client.socket);
    let mut holder =
        Command::new("sleep").arg("1000").stdin(Stdio::from(connection)).spawn().unwrap();
    let mut removing = managed.begin(&["remove", &made.uuid]);
    soon("it is hidden", || !made.socket.exists());
    assert!(removing.try_wait().unwrap().is_none());
    holder.kill().unwrap();
    holder.wait().unwrap();
    end(removing).ok();
    assert_eq!(managed.available("mtty-1"), 24);
}

/// Asks for a display's picture. Returns its description and its memory.
fn plane(control: &Path) -> (Value, File) {
    let mut stream = UnixStream::connect(control).unwrap();
    stream.write_all(b"{\"verb\":\"plane\"}\n").unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 4096];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let size = recvmsg(&stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    let rights = ancillary.drain().find_map(|part| match part {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    let answer: Value = serde_json::from_slice(&buffer[..size]).unwrap();
    (answer["ok"]["plane"].clone(), rights.expect("a descriptor").into())
}

#[test]
fn a_viewer_that_holds_a_picture_keeps_neither_device_nor_share_and_can_still_look() {
    let managed = Managed::start();
    let made = managed.create(&["mdpy-vga", "--uuid", ONE]);
    let user = Client::negotiated(&made.socket);
    let (description, memory) = plane(&managed.path("control"));
    assert_eq!(description["width"], 640);
    let removing = managed.begin(&["remove", ONE]);
    soon("it is hidden", || !made.socket.exists());
    drop(user);
    end(removing).ok();
    assert_eq!(all_available(&managed), [24, 12, 4, 4, 4, 64, 16, 4]);
    let mut row = [0xff; 2560];
    memory.read_exact_at(&mut row, 0).unwrap();
    assert_eq!(managed.create(&["mdpy-vga", "--uuid", ONE]).node(), "vfio0");
}
