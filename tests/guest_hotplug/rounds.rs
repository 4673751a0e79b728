//! Devices of all kinds, again and again, beside a guest that is not to notice.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;

use crate::guest::Plugged;
use crate::managed::{Made, Managed, program, soon};
use crate::neighbour::Neighbour;
use crate::picture::{Picture, Screen};
use crate::vfio::Client;

const ROUNDS: u8 = 10;
const SEED: u64 = 7;
const XGA: (usize, usize) = (1024, 768);
/// What the monitor of mbochs-medium prefers.
const PREFERRED: (usize, usize) = (1280, 800);

/// A display of a manager's.
struct Shown<'a> {
    managed: &'a Managed,
    made: &'a Made,
}

impl Screen for Shown<'_> {
    fn screenshot(&self) -> Command {
        let mut command = program();
        command.arg("screenshot").arg("--run-dir").arg(self.managed.run_dir());
        command.args(["--device", &self.made.uuid]);
        command
    }
}

/// Every path below the run directory.
fn tree(managed: &Managed) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![managed.run_dir()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            found.insert(path.display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                directories.push(path);
            }
        }
    }
    found
}

/// Nobody uses it.
#[track_caller]
fn is_free(managed: &Managed, made: &Made) {
    let node = format!("devices/{}/vfio-dev/{}", made.uuid, made.node());
    soon("it is free", || {
        managed.read(&format!("{node}/open_count")).as_deref() == Some("0")
            && !managed.path(&format!("{node}/client")).exists()
    });
    assert_eq!(managed.read(&format!("{node}/state")).as_deref(), Some("registered"));
}

#[test]
fn devices_of_all_kinds_are_plugged_used_and_unplugged_ten_times_while_a_neighbour_copies() {
    // All are served by the same thread.
    let managed = Managed::start_with(&["--loops", "1", "--allow-path", "DIR"]);
    let port = managed.directory().join("port");
    let copying = format!("mtty-1,serial0=unix:{}", port.display());
    let kinds = [&*copying, "mtty-2", "mdpy-xga", "mbochs-medium"];
    // What is opened once, by whatever comes first, is not to be counted.
    for kind in kinds {
        let made = managed.create(&[kind]);
        drop(Client::negotiated(&made.socket));
        managed.remove(&made);
    }
    let (held, files) = (managed.held_at_rest(), tree(&managed));

    let all = kinds.map(|kind| managed.create(&[kind]));
    let [copied, card, mdpy, mbochs] = &all;
    let pictures = [Picture::random(XGA, SEED), Picture::random(PREFERRED, SEED)];
    let (neighbour, mut guest) = thread::scope(|scope| {
        let neighbour = scope.spawn(|| Neighbour::start(copied, &port, SEED));
        let builder = Plugged::builder().slot("one", 0).slot("two", 8).slot("three", 32);
        let builder =
            builder.file("/xga", &pictures[0].xrgb()).file("/medium", &pictures[1].xrgb());
        let guest = Plugged::boot(builder);
        (neighbour.join().unwrap(), guest)
    });
    let shown = [mdpy, mbochs].map(|made| Shown { managed: &managed, made });

    let mut plugged = [(card, "one"), (mdpy, "two"), (mbochs, "three")];
    for round in 1..=ROUNDS {
        for (made, slot) in plugged {
            guest.plug(made, slot);
        }
        neighbour.goes_on();
        guest.sh("eventually has_ports 2");
        guest.sh("eventually has_fb mdpy-fb && eventually has_fb bochs-drmdrmfb && set_mode bochs-drmdrmfb");
        guest.pass(2, 1000);
        let pixel = format!(r"\{:03o}\{:03o}\{:03o}\0", round, 2 * round, 3 * round);
        guest.sh(&format!("draw mdpy-fb /xga '{pixel}'; draw bochs-drmdrmfb /medium '{pixel}'"));
        for (picture, shown) in pictures.iter().zip(&shown) {
            picture.with(&[[3 * round, 2 * round, round]]).comes(shown);
        }
        neighbour.goes_on();
        // In another order in every round.
        plugged.rotate_left(1);
        for (made, _) in plugged {
            guest.unplug(made);
            is_free(&managed, made);
        }
        guest.sh("! find_card >/dev/null && [ -z \"$(cat /proc/fb)\" ]");
        neighbour.goes_on();
        println!("round {round}");
        if round == ROUNDS / 2 {
            for made in [card, mdpy, mbochs] {
                managed.say(&["reset", &made.uuid]).ok();
            }
            Picture::gradient(XGA).is_seen(&shown[0]);
        }
    }

    guest.power_off();
    neighbour.end(&managed, copied);
    for made in &all {
        is_free(&managed, made);
        managed.remove(made);
    }
    assert_eq!(tree(&managed), files);
    soon("descriptors and mappings are given back", || managed.held() == held);
    let log = managed.log();
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
}
