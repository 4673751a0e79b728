//! The registers of a port, byte by byte and without a driver, as a good 16550A has them.

use crate::card::Card;
use crate::served::Served;

const STEPS: [(&str, &str, &str); 9] = [
    (
        "IER, IIR, LCR, MCR, LSR, MSR and SCR of a port that was never opened",
        "for register in 1 2 3 4 5 6 7; do echo $(inb $register); done | xargs",
        "00 01 00 00 60 b0 00",
    ),
    ("scratch", "outb 7 5a; inb 7", "5a"),
    (
        "the divisor is kept, and DLAB leaves RBR and IER alone",
        "outb 3 80; outb 0 0c; outb 1 01; outb 3 00
         echo $(inb 0) $(inb 1); outb 3 80; echo $(inb 0) $(inb 1); outb 3 00",
        "00 00\n0c 01",
    ),
    (
        "IIR shows whether the FIFOs are on",
        "outb 2 07; outb 2 c1; echo $(inb 2); outb 2 00; echo $(inb 2)",
        "c1\n01",
    ),
    ("loop mode brings MCR's lines to MSR", "outb 4 1a; printf %x $((0x$(inb 6) & 0xf0)); outb 4 00", "90"),
    (
        "16 bytes fill the receiver; the transmitter is empty again",
        "outb 2 07; outb 2 01
         for byte in 00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff; do outb 0 $byte; done
         echo $(inb 5); for byte in $(seq 16); do echo $(inb 0); done | xargs; echo $(inb 5)",
        "61\n00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff\n60",
    ),
    (
        "the 17th waits in the transmitter until there is room",
        "for byte in $(seq 10 26); do outb 0 $byte; done
         echo $(inb 5); echo $(inb 0) $(inb 5); for byte in $(seq 16); do echo $(inb 0); done | xargs; echo $(inb 5)",
        "01\n10 61\n11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26\n60",
    ),
    (
        "in loop mode nobody waits: the 17th overruns, and LSR's error bits clear when read",
        "outb 4 10; for byte in $(seq 10 26); do outb 0 $byte; done
         echo $(inb 5) $(inb 5); for byte in $(seq 16); do echo $(inb 0); done | xargs; echo $(inb 5); outb 4 00",
        "63 61\n10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25\n60",
    ),
    (
        "modem lines that loop mode has switched are told once",
        "inb 6 >/tmp/forget; outb 4 10; echo $(inb 6) $(inb 6); outb 4 00; echo $(inb 6) $(inb 6)",
        "0b 00\nbb b0",
    ),
];

#[test]
fn the_registers_are_those_of_a_good_16550a_and_the_driver_takes_the_card_back() {
    let served = Served::start("mtty-2");
    let mut card = Card::boot(served.guest(), 2);
    card.sh("unbind && echo 1 >$card/enable");
    for (what, script, expected) in STEPS {
        let found = card.sh(script);
        println!("{what}: {}", found.trim().replace('\n', " / "));
        assert_eq!(found.trim(), expected, "{what}");
    }
    card.sh("echo 0 >$card/enable; bind");
    card.look();
    card.ports_work();
    card.power_off();
    served.end();
}
