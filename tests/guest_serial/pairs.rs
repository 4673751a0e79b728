//! Two guests that are joined by their ports: the recipe "Two guests" of docs/devices/mtty.md. And two ports of one.

use guest_kit::vfio_user_device;

use crate::ports::{Ports, soon};
use crate::served::Served;

/// Both ends of a wire say something, and hear it.
#[track_caller]
fn talk(round: &str, one: &mut Ports, other: &mut Ports) {
    for number in 1..=3 {
        let text = format!("{round}: question {number}");
        one.say(1, &text);
        assert_eq!(other.hear(1), text);
        let text = format!("{round}: answer {number}");
        other.say(1, &text);
        assert_eq!(one.hear(1), text);
    }
}

/// The other has just opened its port, and heard what had waited for it. Until it was set up it may have echoed some of
/// that: a terminal does.
#[track_caller]
fn forget_echoes(one: &mut Ports, other: &mut Ports) {
    other.say(1, "here I am");
    one.sh("while read -r line <&3; do case $line in *'here I am') break; esac; done");
}

fn is_connected(served: &Served) -> bool {
    served.info()["ports"][0]["connected"] == true
}

#[test]
fn two_guests_talk_and_go_on_when_a_qemu_or_a_server_was_killed_and_one_talks_to_itself() {
    let directory = tempfile::tempdir().unwrap();
    let wire = format!("unix:{}", directory.path().join("wire").display());
    let serve_one = || Served::start_controlled("mtty-1", &["--serial0", &wire]);
    let other_end = format!("{wire},server=off,reconnect-ms=100");
    let serve_other = || Served::start_controlled("mtty-1", &["--serial0", &other_end]);
    // The recipe has them in this order; they may come in any.
    let (served_other, crossed) =
        (serve_other(), Served::start_with("mtty-2", &["--serial0", "crossover"]));
    let served = serve_one();
    let mut one = Ports::boot(served.guest().device(&vfio_user_device(&crossed.socket())));
    let mut other = Ports::boot(served_other.guest());
    one.open(1, "");
    other.open(1, "");
    talk("at first", &mut one, &mut other);

    println!("one guest alone: ttyS2 and ttyS3 are a crossover");
    one.open(2, "");
    one.open(3, "");
    one.say(2, "there");
    assert_eq!(one.hear(3), "there");
    one.say(3, "and back");
    assert_eq!(one.hear(2), "and back");

    println!("a QEMU is killed");
    other.guest.kill();
    served_other.wait_for_log(" has left", 1);
    // Nobody is there to read it yet.
    one.say(1, "are you still there?");
    let mut other = Ports::boot(served_other.guest());
    other.open(1, "");
    assert_eq!(other.hear(1), "are you still there?");
    forget_echoes(&mut one, &mut other);
    talk("after a QEMU", &mut one, &mut other);

    println!("the server that goes to the other is killed, and its QEMU");
    drop(other);
    drop(served_other);
    soon("its peer notices", || !is_connected(&served));
    one.say(1, "nobody is here");
    let served_other = serve_other();
    soon("it comes back", || is_connected(&served));
    let mut other = Ports::boot(served_other.guest());
    other.open(1, "");
    assert_eq!(other.hear(1), "nobody is here");
    forget_echoes(&mut one, &mut other);
    talk("after a server", &mut one, &mut other);

    println!("the server that the other goes to is killed, and its QEMU");
    drop(one);
    drop(served);
    soon("its peer notices", || !is_connected(&served_other));
    other.say(1, "nobody is there");
    let served = serve_one();
    soon("the other comes to it", || is_connected(&served_other));
    let mut one = Ports::boot(served.guest());
    one.open(1, "");
    assert_eq!(one.hear(1), "nobody is there");
    forget_echoes(&mut other, &mut one);
    talk("after the other server", &mut one, &mut other);

    one.power_off();
    other.power_off();
    served.end();
    served_other.end();
}
