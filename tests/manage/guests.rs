//! Guests whose devices are managed; and docs/manage.md, pasted.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use guest_kit::{Error, Guest, Tools, vfio_user_device};

use crate::managed::{Managed, ONE, soon};
use crate::pasted::{Block, RUNNING_GUEST, Reader, blocks, section};
use crate::vfio::Client;

const SOON: Duration = Duration::from_secs(120);

#[test]
fn manage_md_goes_from_nothing_to_the_end_whoever_pastes_it() {
    for has_runtime_dir in [true, false] {
        let blocks = blocks(&section("").replace(&section(RUNNING_GUEST), ""));
        let [manager, types, device, guest, look, _change, remove, force, config] = &blocks[..]
        else {
            panic!("{blocks:?}")
        };
        let mut reader = Reader::new(has_runtime_dir);
        reader.start(manager);
        let out = reader.paste(types);
        assert!(out.starts_with("TYPE ") && out.ends_with("\n12\n"), "{out}");
        let out = reader.paste(device);
        assert!(out.contains(" mtty mtty-2 manual vfio0 registered\n"), "{out}");
        let out = reader.paste(guest);
        let argument = out.lines().last().unwrap();
        let socket = reader.path("vfio/devices/vfio0").canonicalize().unwrap();
        assert_eq!(argument, vfio_user_device(&socket));
        // In place of QEMU, which only shows what it is given here.
        let user = Client::negotiated(&socket);
        soon("it is open", || {
            reader.path(&format!("devices/{ONE}/vfio-dev/vfio0/client")).exists()
        });
        let lines = look.lines.lines().take(2).collect::<Vec<_>>().join("\n");
        let out = reader.paste(&Block { lines, ..look.clone() });
        assert!(out.contains("open count 1"), "{out}");

        // Who has waited long enough.
        reader.begin(remove);
        soon("it is hidden", || !socket.exists());
        let lines = force.lines.replace("10s", "1ms");
        assert_eq!(reader.paste(&Block { lines, ..force.clone() }), "");
        assert_eq!(reader.end(remove), "");
        assert_eq!(reader.available("mtty-2"), 12);
        drop(user);

        reader.interrupt(manager);
        reader.start(config);
        reader.paste(device);
        reader.interrupt(config);
        reader.start(config);
        assert!(reader.path(&format!("devices/{ONE}/socket")).exists());
        reader.interrupt(config);
    }
}

#[test]
fn manage_md_has_a_guest_with_a_device_that_is_changed_and_waited_for() {
    let blocks = blocks(&section("").replace(&section(RUNNING_GUEST), ""));
    let [manager, types, device, guest, look, change, remove, ..] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    let mut reader = Reader::new(true);
    reader.start(manager);
    reader.paste(types);
    reader.paste(device);
    let out = reader.paste(guest);
    let argument = out.lines().last().unwrap();

    let tools = Tools::prepare().unwrap();
    let mut guest = Guest::builder(&tools).device(argument).boot().unwrap();
    guest.check("echo hello > /dev/ttyS1", SOON).unwrap();
    let out = reader.paste(look);
    assert!(out.starts_with(&format!("{} ", guest.pid())), "{out}");
    assert!(out.contains("open count 1") && out.ends_with("\nhello\n"), "{out}");

    let out = reader.paste(change);
    assert!(out.starts_with("port 0 is at 127.0.0.1:"), "{out}");
    assert_eq!(out.lines().count(), 1, "{out}");
    guest.check("stty -F /dev/ttyS1 && echo hello > /dev/ttyS1", SOON).unwrap();

    reader.begin(remove);
    soon("it is hidden", || !reader.path("vfio/devices/vfio0").exists());
    // The guest goes on with what it has.
    guest.check("echo again > /dev/ttyS1", SOON).unwrap();
    guest.power_off(SOON).unwrap();
    drop(guest);
    assert_eq!(reader.end(remove), "");
    assert_eq!(reader.available("mtty-2"), 12);
    reader.interrupt(manager);
}

#[test]
fn a_guest_whose_manager_is_killed_has_an_error_and_no_hang() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let tools = Tools::prepare().unwrap();
    let mut guest = Guest::builder(&tools).device(&vfio_user_device(&made.socket)).boot().unwrap();
    guest.check("stty -F /dev/ttyS1 raw -echo && echo hello > /dev/ttyS1", SOON).unwrap();
    let _directory = managed.kill();
    // The driver finds that the port's registers are not there any more, and the guest goes on; or QEMU ends, which 11.1
    // can do when the guest is busy with the device at that moment.
    match guest.run("stty -F /dev/ttyS1 9600; cat /proc/tty/driver/serial", SOON) {
        Ok(output) => {
            assert!(output.text.contains("Input/output error"), "{}", output.text);
            guest.check("echo alive", SOON).unwrap();
        }
        Err(error) => assert!(matches!(error, Error::QemuEnded { .. }), "{error}"),
    }
    guest.kill();
}

#[test]
fn a_guest_hangs_up_when_something_else_is_plugged_in_and_finds_what_is_there_then() {
    let managed = Managed::start_with(&["--allow-path", "DIR"]);
    let made = managed.create(&["mtty-1,serial0=null"]);
    let tools = Tools::prepare().unwrap();
    let mut guest = Guest::builder(&tools).device(&vfio_user_device(&made.socket)).boot().unwrap();
    guest.check("stty -F /dev/ttyS1 raw -echo -clocal", SOON).unwrap();
    // It minds the carrier: what reads ends when that drops.
    guest.check("{ cat /dev/ttyS1; echo over > /tmp/over; } > /dev/null 2>&1 &", SOON).unwrap();
    let reads = || managed.say(&["info"]).ok().contains("from the guest DTR RTS");
    soon("the guest reads", reads);
    let port = managed.directory().canonicalize().unwrap().join("port");
    // Somebody is there from the first moment on, so that it is the pause that the guest has seen.
    let listener = UnixListener::bind(&port).unwrap();
    managed.say(&["set", &format!("serial0=unix:{},server=off", port.display())]).ok();
    let (mut peer, _) = listener.accept().unwrap();
    guest.check("while ! test -e /tmp/over; do sleep 0.1; done", SOON).unwrap();
    // To open it waits for a carrier.
    guest.check("echo again > /dev/ttyS1", SOON).unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    let mut text = [0; 6];
    peer.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"again\n");
    guest.power_off(SOON).unwrap();
}
