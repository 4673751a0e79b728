//! mtty's card, as a test in the guest sees it.

use std::time::{Duration, Instant};

use guest_kit::{Builder, Guest};

/// For what takes moments, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(120);

/// Burst lengths around the depth and the trigger level of the FIFOs, around the 8 bits of a counter, and beyond the
/// driver's own buffer.
pub const SIZES: [usize; 10] = [1, 7, 8, 15, 16, 17, 32, 255, 4096, 16384];

/// A guest with the card, and functions for it in its shell.
pub struct Card {
    pub guest: Guest,
    /// How many ports it shall have.
    pub ports: usize,
}

impl Card {
    /// Boots a guest in which the driver has bound all of the card's ports.
    pub fn boot(guest: Builder, ports: usize) -> Self {
        let start = Instant::now();
        let mut card = Self { guest: guest.boot().unwrap(), ports };
        println!("the guest is up after {:.1} s", start.elapsed().as_secs_f32());
        card.look();
        card
    }

    /// In a kernel that has just booted or has just been given the card.
    pub fn look(&mut self) {
        self.sh(include_str!("card.sh"));
        self.sh("find_card && driver_is serial");
        assert_eq!(self.sh("ttys").lines().count(), self.ports);
    }

    /// Runs what must succeed; what it prints.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> String {
        self.guest.check(script, SOON).unwrap_or_else(|error| panic!("{error}"))
    }

    /// An attribute of a port's tty.
    pub fn attribute(&mut self, port: usize, name: &str) -> String {
        self.sh(&format!("attribute {port} {name}")).trim().to_owned()
    }

    /// Random bytes through one port.
    #[track_caller]
    pub fn pass(&mut self, port: usize, bytes: usize, speed: u32) {
        println!("port {port}: {bytes} bytes at {speed} baud");
        self.sh(&format!("pass {port} {bytes} {speed}"));
    }

    /// Random bytes through all ports at once.
    #[track_caller]
    pub fn pass_all(&mut self, bytes: usize, speed: u32) {
        println!("all ports: {bytes} bytes at {speed} baud");
        let ports = self.ports;
        self.sh(&format!(
            "jobs= failed=
             for port in $(seq {ports}); do pass $port {bytes} {speed} & jobs=\"$jobs $!\"; done
             for job in $jobs; do wait $job || failed=yes; done
             [ -z $failed ]"
        ));
    }

    /// Says that the ports work, in a few seconds.
    #[track_caller]
    pub fn ports_work(&mut self) {
        for port in 1..=self.ports {
            self.pass(port, 17, 115_200);
        }
        self.pass_all(2048, 115_200);
        self.nothing_was_lost();
    }

    /// The driver has received what it has sent, on each port, and knows of no overrun, parity or framing error and
    /// of no break.
    #[track_caller]
    pub fn nothing_was_lost(&mut self) {
        for port in 1..=self.ports {
            let line = self.sh(&format!("counters {port}"));
            let value = |name: &str| {
                line.split_whitespace()
                    .find_map(|field| field.strip_prefix(name)?.strip_prefix(':'))
            };
            assert_eq!(value("uart"), Some("16550A"), "{line}");
            assert!(value("tx").is_some_and(|tx| tx != "0"), "{line}");
            assert_eq!(value("tx"), value("rx"), "{line}");
            // The driver names what it has counted.
            for error in ["oe", "fe", "pe", "brk"] {
                assert_eq!(value(error), None, "{line}");
            }
            println!("port {port}: {}", line.trim());
        }
    }

    /// Turns the guest off. QEMU has had nothing to complain about.
    pub fn power_off(mut self) {
        self.guest.power_off(SOON).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.guest.qemu_messages(), "");
    }
}
