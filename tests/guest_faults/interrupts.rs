//! Interrupts that are lost, and one that does not end.

use guest_kit::{Guest, Tools};

use crate::{SOON, device, served};

const SHELL: &str = include_str!("../guest_mtty/card.sh");

/// A text through the port and back, in 2 s.
const HELLO: &str = "timeout 2 sh -c '
    exec 3<>/dev/$0
    stty raw -echo clocal -crtscts 115200 <&3
    echo hello >&3
    head -c 6 <&3' $(tty 1)";

/// Interrupts while the port is open and nothing is sent, until so many have come and no more do.
const STORM: &str = "sh -c '
    exec 3<>/dev/$0
    count() { sed -n \"s/^ *$1: *\\([0-9]*\\).*/\\1/p\" /proc/interrupts; }
    for second in $(seq 100); do
        before=$(count $1); sleep 1; after=$(count $1)
        [ $after -gt 100 ] && [ $after = $before ] && break
    done
    echo $after' $(tty 1) $(cat $card/irq)";

#[test]
fn lost_interrupts_stall_the_port_and_a_stuck_one_storms() {
    let tools = Tools::prepare().unwrap();
    let cards = [
        "lose-irq,index=intx,count=6",
        "lose-irq,index=intx,count=always",
        "stick-irq,index=intx,count=1000",
    ];
    let cards = cards.map(served);
    let mut guest = Guest::builder(&tools);
    for card in &cards {
        guest = guest.device(&device(card, 5000));
    }
    let mut guest = guest.boot().unwrap();
    guest.check(SHELL, SOON).unwrap();
    let mut on = |number: usize, script: &str| {
        let choose = "set -- $(grep -l 0x4348 /sys/bus/pci/devices/*/vendor)";
        let script = format!("{choose}; shift {number}; card=$(dirname $1); {script}");
        let output = guest.run(&script, SOON).unwrap();
        println!("card {number}: {output:?}");
        (output.status == 0, output.text.trim().to_owned())
    };

    let again = format!("for attempt in $(seq 20); do {HELLO} && break; done");
    // Which is lost on which occasion depends on how busy the machine is: the first attempt has no more than that.
    assert!(!on(0, HELLO).0, "the port stalls");
    assert!(on(0, &again).1.ends_with("hello"), "and works when it has been opened often enough");
    assert!(!on(1, HELLO).0 && !on(1, HELLO).0, "it never works");

    let (_, interrupts) = on(2, STORM);
    let interrupts: u32 = interrupts.parse().unwrap();
    // Two firings can be one interrupt to the guest, if its handler accesses the port more than once.
    assert!((101..1100).contains(&interrupts), "{interrupts}");
    assert!(on(2, &again).1.ends_with("hello"), "and it is over");

    assert_eq!(guest.qemu_messages(), "");
    guest.power_off(SOON).unwrap();
    cards.iter().for_each(|card| card.wait_for_log(": fault ", 1));
}
