//! Guests that boot, use what they have, have it plugged and unplugged, reboot, power off and are killed.

use std::process::Command;
use std::thread;
use std::time::Duration;

use guest_kit::{Tools, vfio_user_device};

use crate::guest::{Plugged, SOON};
use crate::managed::{Made, Managed, end, program};
use crate::picture::{Picture, Screen};
use crate::stage::Turn;

/// A display of a guest's: its type, driver and mode.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    driver: &'static str,
    mode: (usize, usize),
}

const MDPY: [Kind; 2] = [
    Kind { name: "mdpy-vga", driver: "mdpy-fb", mode: (640, 480) },
    Kind { name: "mdpy-xga", driver: "mdpy-fb", mode: (1024, 768) },
];
/// With the mode that the monitor prefers.
const MBOCHS: [Kind; 2] = [
    Kind { name: "mbochs-small", driver: "bochs-drmdrmfb", mode: (800, 600) },
    Kind { name: "mbochs-medium", driver: "bochs-drmdrmfb", mode: (1280, 800) },
];

struct Display {
    kind: Kind,
    made: Made,
    /// In the guest, at the driver's name.
    picture: Picture,
}

struct Shown<'a>(&'a Managed, &'a Made);

impl Screen for Shown<'_> {
    fn screenshot(&self) -> Command {
        let mut command = program();
        command.arg("screenshot").arg("--run-dir").arg(self.0.run_dir());
        command.args(["--device", &self.1.uuid]);
        command
    }
}

/// The life of one guest.
pub fn act(turn: &mut Turn<'_>) {
    // One of the two comes later, and now and then, so that at times there is one guest alone.
    if turn.number == 1 && turn.random.once_in(3) {
        thread::sleep(Duration::from_secs(5));
        return;
    }
    let card = turn.create("mtty-2,serial1=null");
    let kinds = [turn.random.pick(&MDPY), turn.random.pick(&MBOCHS)];
    let displays = kinds.map(|kind| {
        let picture = Picture::random(kind.mode, turn.random.next());
        Display { kind, made: turn.create(kind.name), picture }
    });
    let mut builder = Plugged::builder().reboots().slot("one", 0).slot("two", 8).slot("three", 32);
    for display in &displays {
        builder = builder.file(&format!("/{}", display.kind.driver), &display.picture.xrgb());
    }
    // Each is there from the beginning, or plugged in.
    let mut absent = Vec::new();
    let all = [(&card, "one"), (&displays[0].made, "two"), (&displays[1].made, "three")];
    for (made, slot) in all {
        if turn.random.once_in(3) {
            builder = builder.device(&vfio_user_device(&made.socket));
        } else {
            absent.push((made, slot));
        }
    }
    let in_slots = absent.clone();
    let mut guest = Plugged::boot(builder);
    turn.stage.did("boots", 1);

    for round in 1..=1 + turn.random.below(3) as u8 {
        for (made, slot) in absent.drain(..) {
            guest.plug(made, slot);
            turn.stage.did("plugs", 1);
        }
        drive(turn, &mut guest, &card, &displays, round);
        if turn.random.once_in(4) {
            guest.guest.reboot(SOON).unwrap_or_else(|error| panic!("{error}"));
            guest.prepare();
            turn.stage.did("reboots", 1);
            drive(turn, &mut guest, &card, &displays, round + 100);
        }
        if !turn.is_on() {
            break;
        }
        for &(made, slot) in &in_slots {
            if turn.random.once_in(2) {
                guest.unplug(made);
                turn.stage.did("unplugs", 1);
                absent.push((made, slot));
            }
        }
    }
    leave(turn, guest, &[&card, &displays[0].made, &displays[1].made]);
}

/// Uses all that it has.
fn drive(turn: &mut Turn<'_>, guest: &mut Plugged, card: &Made, displays: &[Display], round: u8) {
    let managed = turn.managed();
    guest.sh("eventually has_ports 2");
    let bytes = 100 + turn.random.below(3000);
    guest.pass(1, bytes);
    turn.stage.did("bytes through ports", bytes as u64);

    // The other port ends nowhere but at the commands.
    let word = format!("w{:x}w", turn.random.next());
    guest.sh(&format!(
        "exec 5<>/dev/$(tty 2); stty raw -echo clocal -crtscts 115200 <&5; echo {word} >&5"
    ));
    managed.say(&["expect", "--device", &card.uuid, "1", &word, "--timeout", "60s"]).ok();
    let send = managed.begin(&["send", "--device", &card.uuid, "1", &format!("{word}\\n")]);
    assert_eq!(guest.sh("head -n 1 <&5; exec 5>&-").trim_end(), word, "what was sent");
    end(send).ok();
    turn.stage.did("words each way", 1);

    for Display { kind, made, picture } in displays {
        let Kind { driver, mode, .. } = kind;
        guest.sh(&format!("eventually has_fb {driver}"));
        if *driver != "mdpy-fb" {
            guest.sh(&format!("set_mode {driver}"));
        }
        let pixel = [round, round.wrapping_mul(2), round.wrapping_mul(3)];
        let [red, green, blue] = pixel;
        guest.sh(&format!(r"draw {driver} /{driver} '\{blue:03o}\{green:03o}\{red:03o}\0'"));
        picture.with(&[pixel]).comes(&Shown(managed, made));
        let mode = format!("{}x{}", mode.0, mode.1);
        let wait = ["wait", "--device", &made.uuid, "--not-blank", "--stable", "200ms", "--mode"];
        managed.say(&[&wait[..], &[&mode, "--timeout", "60s"]].concat()).ok();
        turn.stage.did("pictures", 1);
    }
}

/// In one of the ways that there are.
fn leave(turn: &mut Turn<'_>, mut guest: Plugged, all: &[&Made]) {
    let managed = turn.managed();
    match turn.random.below(4) {
        0 => {
            guest.power_off();
            turn.stage.did("guests powered off", 1);
        }
        1 => {
            let busy = "while :; do cat /mdpy-fb >/dev/fb$(fb mdpy-fb); done";
            let _ends_with_the_guest = guest.guest.start(busy).unwrap();
            turn.rest(500);
            guest.guest.kill();
            turn.stage.did("guests killed", 1);
        }
        // What it uses is removed, and it is waited for.
        2 => {
            for made in all {
                turn.forget(made);
            }
            let removing: Vec<_> =
                all.iter().map(|it| managed.begin(&["remove", &it.uuid])).collect();
            turn.rest(300);
            if turn.random.once_in(2) {
                guest.power_off();
                turn.stage.did("guests powered off", 1);
            } else {
                guest.guest.kill();
                turn.stage.did("guests killed", 1);
            }
            for removed in removing {
                end(removed).ok();
            }
            turn.stage.did("removed in use", all.len() as u64);
            return;
        }
        // And is not: QEMU then may end by itself, or complain.
        _ => {
            for made in all {
                turn.forget(made);
                managed.say(&["remove", &made.uuid, "--force-after", "100ms"]).ok();
            }
            turn.stage.did("removed by force", all.len() as u64);
            guest.guest.kill();
            turn.stage.did("guests killed", 1);
            return;
        }
    }
    for made in all {
        turn.remove(made);
    }
}

/// Once, before the clock runs: what guests are made of.
pub fn prepare() {
    Tools::prepare().unwrap().with_mdpy_fb().unwrap();
}
