//! As many devices as there can be, all in use at once.

use std::collections::BTreeSet;

use crate::managed::{Made, Managed, soon};
use crate::vfio::Client;

/// Traffic that each kind of device has something to say to: config space, and a register.
fn traffic(user: &mut Client, kind: &str) {
    /// Region of the PCI configuration space.
    const CONFIG: u32 = 7;
    let id = user.read(CONFIG, 0, 4);
    if kind == "mtty-1" {
        assert_eq!(id, [0x48, 0x43, 0x53, 0x32]);
        user.write(0, 7, &[0xa5]);
        assert_eq!(user.read(0, 7, 1), [0xa5]);
    }
    user.still_in_step();
}

#[test]
fn twenty_four_ports_four_displays_and_256_mb_are_served_at_once_and_given_back() {
    const KINDS: [(&str, u32, &str); 3] =
        [("mtty-1", 24, "ENOSPC"), ("mdpy-hd", 4, "EUSERS"), ("mbochs-large", 4, "ENOSPC")];

    let managed = Managed::start_with(&["--loops", "3"]);
    // What is opened once, by whatever comes first, is not to be counted.
    for (kind, _, _) in KINDS {
        let made = managed.create(&[kind]);
        drop(Client::negotiated(&made.socket));
        managed.remove(&made);
    }
    let before = managed.held_at_rest();

    let mut all: Vec<(&str, Made, Client)> = Vec::new();
    for (kind, count, errno) in KINDS {
        for left in (0..count).rev() {
            let made = managed.create(&[kind]);
            assert_eq!(managed.available(kind), left, "{kind}");
            let user = Client::negotiated(&made.socket);
            all.push((kind, made, user));
        }
        let line = managed.say(&["create", kind]).refused(1);
        assert!(line.starts_with(&format!("{errno}: ")), "{line}");
    }
    for _ in 0..20 {
        all.iter_mut().for_each(|(kind, _, user)| traffic(user, kind));
    }
    let nodes: BTreeSet<_> = all.iter().map(|(_, made, _)| made.node().to_owned()).collect();
    assert_eq!(nodes.len(), 32);
    soon("each is open", || {
        all.iter().all(|(_, made, _)| {
            let name = format!("devices/{}/vfio-dev/{}/open_count", made.uuid, made.node());
            managed.read(&name).as_deref() == Some("1")
        })
    });

    // From the middle outwards: nothing depends on the order.
    while !all.is_empty() {
        let (kind, made, user) = all.remove(all.len() / 2);
        let free = managed.available(kind);
        drop(user);
        managed.remove(&made);
        assert_eq!(managed.available(kind), free + 1, "{kind}");
        if all.len().is_multiple_of(8) {
            all.iter_mut().for_each(|(kind, _, user)| traffic(user, kind));
        }
    }
    for directory in ["devices", "vfio/devices", ".staging"] {
        let left = std::fs::read_dir(managed.path(directory)).unwrap().count();
        assert_eq!(left, 0, "{directory}");
    }
    soon("descriptors and mappings are given back", || managed.held() == before);
}
