//! Guests whose devices are managed; and docs/manage.md, pasted.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use guest_kit::{Error, Guest, Tools, vfio_user_device};

use crate::managed::{Managed, end, soon};
use crate::pasted::{RUNNING_GUEST, Shell, blocks, section};

const SOON: Duration = Duration::from_secs(120);

#[test]
fn manage_md_goes_from_nothing_to_a_guest_and_back() {
    let page = section("");
    let blocks = blocks(&page.replace(&section(RUNNING_GUEST), ""));
    let [manager, types, device, guest, look, change, remove, force, config] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    // That is what the test does.
    assert_eq!(manager.lines().last().unwrap(), "mdev-user manage --run-dir $DIR");
    let managed = Managed::start();
    let mut shell = Shell::new(&managed);
    let out = shell.paste(types).ok();
    assert!(out.starts_with("TYPE ") && out.ends_with("\n12\n"), "{out}");
    let out = shell.paste(&format!("{device}\necho \"uuid='$uuid' socket='$socket'\"")).ok();
    assert!(out.contains(" mtty mtty-2 manual vfio0 registered\n"), "{out}");
    shell.variables += &format!("\n{}", out.lines().last().unwrap());
    let out = shell.paste(guest).ok();
    let argument = out.lines().last().unwrap();

    let tools = Tools::prepare().unwrap();
    let mut guest = Guest::builder(&tools).device(argument).boot().unwrap();
    guest.check("echo hello > /dev/ttyS1", SOON).unwrap();
    let out = shell.paste(look).ok();
    assert!(out.starts_with(&format!("{} ", guest.pid())), "{out}");
    assert!(out.contains("open count 1") && out.ends_with("\nhello\n"), "{out}");

    let out = shell.paste(change).ok();
    assert!(out.starts_with("port 0 is at 127.0.0.1:"), "{out}");
    assert_eq!(out.lines().count(), 1, "{out}");
    guest.check("stty -F /dev/ttyS1 && echo hello > /dev/ttyS1", SOON).unwrap();

    let removing = shell.begin(remove);
    soon("it is hidden", || !managed.path("vfio/devices/vfio0").exists());
    // The guest goes on with what it has.
    guest.check("echo again > /dev/ttyS1", SOON).unwrap();
    guest.power_off(SOON).unwrap();
    drop(guest);
    end(removing).ok();
    assert_eq!(managed.available("mtty-2"), 12);
    assert_eq!(force, &remove.replace("$DIR ", "$DIR --force-after 10s "));
    assert_eq!(
        config,
        &format!("{} --config devices.json --save", manager.lines().last().unwrap())
    );
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
