//! Devices that are removed while they are in a guest that runs.

use serde_json::json;

use crate::guest::{Plugged, SOON};
use crate::managed::{Made, Managed, end, soon};
use crate::vfio::Client;

/// A card that the guest's driver has found.
#[track_caller]
fn plugged(managed: &Managed, guest: &mut Plugged) -> Made {
    let made = managed.create(&["mtty-2"]);
    guest.plug(&made, "one");
    guest.sh("eventually has_ports 2");
    made
}

#[test]
fn what_is_removed_while_it_is_plugged_in_is_released_when_the_guest_has_let_go_of_it() {
    let managed = Managed::start();
    let mut guest = Plugged::boot(Plugged::builder().slot("one", 0).slot("two", 0));

    println!("refused: one that is used, and one that is not there");
    let used = managed.create(&["mtty-1"]);
    let user = Client::negotiated(&used.socket);
    let refused = guest.guest.plug("card", "two", &used.socket).unwrap_err().to_string();
    assert!(refused.ends_with("version reply: Device or resource busy"), "{refused}");
    drop(user);
    managed.remove(&used);
    let refused = guest.guest.plug("card", "two", &used.socket).unwrap_err().to_string();
    assert!(refused.contains("Failed to connect") && refused.contains("No such file"), "{refused}");

    println!("removed while the guest uses it");
    let made = plugged(&managed, &mut guest);
    let mut removing = managed.begin(&["remove", &made.uuid]);
    soon("it is hidden", || !made.socket.exists());
    guest.pass(2, 1000);
    let refused = guest.guest.plug("card", "two", &made.socket).unwrap_err().to_string();
    assert!(refused.contains("Failed to connect"), "{refused}");
    assert!(removing.try_wait().unwrap().is_none(), "it waits for the guest");
    assert_eq!(managed.available("mtty-2"), 11);
    guest.unplug(&made);
    assert_eq!(end(removing).ok(), "");
    assert_eq!(managed.available("mtty-2"), 12);

    println!("a guest that does not answer, and does");
    let made = plugged(&managed, &mut guest);
    let name = json!({ "id": made.node() });
    guest.guest.execute("stop", &json!({})).unwrap();
    guest.guest.execute("device_del", &name).unwrap();
    guest.guest.execute("device_del", &name).unwrap();
    let mut removing = managed.begin(&["remove", &made.uuid]);
    soon("it is hidden", || !made.socket.exists());
    assert!(removing.try_wait().unwrap().is_none(), "it waits for the guest");
    guest.guest.execute("cont", &json!({})).unwrap();
    guest.guest.wait_for_event("DEVICE_DELETED", made.node(), SOON).unwrap();
    assert_eq!(end(removing).ok(), "");
    let messages = guest.guest.qemu_messages();
    assert!(
        messages.lines().all(|line| line.ends_with("failed to read header: EOF")),
        "{messages}"
    );

    println!("taken away by force, which the guest's driver notices and survives");
    let made = plugged(&managed, &mut guest);
    guest.sh("exec 3<>/dev/$(tty 1)");
    assert_eq!(managed.say(&["remove", "--force-after", "100ms", &made.uuid]).ok(), "");
    let output = guest.guest.run("exec 3>&-; echo hello >/dev/$(tty 1)", SOON).unwrap();
    assert!(output.text.contains("Input/output error"), "{}", output.text);
    guest.unplug(&made);
    guest.sh("! find_card >/dev/null");
    println!("and another one in its place");
    let made = plugged(&managed, &mut guest);
    guest.pass(2, 1000);
    guest.unplug(&made);
    managed.remove(&made);
    guest.is_well();
    guest.guest.power_off(SOON).unwrap();
}
