//! What the driver makes of the card, and what it sends through the ports.

use crate::card::{Card, SIZES};
use crate::served::Served;

/// Configuration space: offset and bytes of what is not 0.
const CONFIG: [(usize, &[u8]); 9] = [
    (0x00, &[0x48, 0x43, 0x53, 0x32]),
    // Status: DEVSEL medium, no capabilities. Revision and class.
    (0x06, &[0x00, 0x02]),
    (0x08, &[0x10, 0x02, 0x00, 0x07]),
    (0x2c, &[0x48, 0x43, 0x53, 0x32]),
    (0x3d, &[0x01]),
    (0x40, &[0x23, 0x00, 0x00, 0x80]),
    (0x44, &[0x23, 0x00, 0x00, 0x00, 0x23, 0x00, 0x00, 0x00]),
    (0x4c, &[0x23, 0x00, 0x00, 0x00]),
    (0x60, b"PCI Serial/UART"),
];

/// What the guest decides: command register, BARs, interrupt line.
const PROGRAMMED: [std::ops::Range<usize>; 3] = [0x04..0x06, 0x10..0x18, 0x3c..0x3d];

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.trim().chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Configuration space and the ports' attributes.
fn is_bound_as_the_reference_says(card: &mut Card) {
    println!(
        "{}",
        card.sh("hexdump -C $card/config; dmesg | grep 4348; cat /proc/tty/driver/serial")
    );
    let config = bytes_of(&card.sh("hex $card/config"));
    assert!(config.len() >= 0x100);
    let mut fixed = config.clone();
    PROGRAMMED.iter().for_each(|range| fixed[range.clone()].fill(0));
    let mut expected = vec![0; config.len()];
    for (offset, bytes) in CONFIG {
        expected[offset..][..bytes.len()].copy_from_slice(bytes);
    }
    assert_eq!(fixed, expected);
    assert_eq!(config[0x04] & 0x01, 0x01, "I/O is decoded");
    assert_eq!(config[0x05] & 0x04, 0x00, "INTx is not disabled");

    let irq = card.sh("cat $card/irq").trim().to_owned();
    for port in 1..=card.ports {
        let bar = &config[0x0c + 4 * port..][..4];
        let bar = u32::from_le_bytes(bar.try_into().unwrap());
        assert_eq!(bar & 0x3, 0x1, "BAR {} is of I/O", port - 1);
        let attributes = [
            ("type", "4"),
            ("port", &format!("0x{:X}", bar & !0x3)),
            ("irq", &irq),
            ("uartclk", "1843200"),
            ("xmit_fifo_size", "16"),
            // SHARE_IRQ, FIXED_TYPE, BOOT_AUTOCONF, SKIP_TEST: the kernel's quirk for this very card.
            ("flags", "0x19000040"),
            ("rx_trig_bytes", "8"),
        ];
        for (name, expected) in attributes {
            let value = card.attribute(port, name);
            println!("port {port}: {name} {value}");
            assert_eq!(value, expected, "{name} of port {port}");
        }
    }
    let second_bar = &config[0x14..0x18];
    assert_eq!(second_bar == [0; 4], card.ports == 1, "{second_bar:?}");
}

/// Each size on each port, and on all at once.
fn carries_all_sizes(card: &mut Card) {
    for size in SIZES {
        for port in 1..=card.ports {
            card.pass(port, size, 115_200);
        }
        if card.ports > 1 {
            card.pass_all(size, 115_200);
        }
    }
    card.nothing_was_lost();
}

/// Below 2400 baud the driver has every character interrupt.
fn carries_slow_characters(card: &mut Card) {
    for size in SIZES {
        card.pass_all(size, 1200);
    }
    for port in 1..=card.ports {
        assert_eq!(card.attribute(port, "rx_trig_bytes"), "1");
    }
    card.nothing_was_lost();
}

fn carries_at_every_trigger_level(card: &mut Card) {
    for trigger in [1, 4, 14, 8] {
        println!("trigger level {trigger}");
        for port in 1..=card.ports {
            card.sh(&format!("set_trigger {port} {trigger}"));
        }
        for size in [1, 3, 4, 5, 13, 14, 15, 16, 17, 1024] {
            card.pass_all(size, 115_200);
        }
    }
    card.nothing_was_lost();
}

fn is_driven_and_loses_nothing(kind: &str, ports: usize) {
    let served = Served::start(kind);
    let mut card = Card::boot(served.guest(), ports);
    is_bound_as_the_reference_says(&mut card);
    carries_all_sizes(&mut card);
    carries_slow_characters(&mut card);
    carries_at_every_trigger_level(&mut card);
    card.power_off();
    served.end();
}

#[test]
fn linux_drives_both_ports_of_mtty_2_and_loses_nothing() {
    is_driven_and_loses_nothing("mtty-2", 2);
}

#[test]
fn linux_drives_the_port_of_mtty_1_and_loses_nothing() {
    is_driven_and_loses_nothing("mtty-1", 1);
}
