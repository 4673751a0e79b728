//! A guest's serial ports: ttyS1 is the first that it finds on PCI.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use guest_kit::{Builder, Guest};

/// For what takes moments, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(120);

/// A guest in which `port` is a program (`guest/port.rs`).
pub struct Ports {
    pub guest: Guest,
}

impl Ports {
    pub fn boot(guest: Builder) -> Self {
        static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
        let program =
            PROGRAM.get_or_init(|| guest_kit::program(include_str!("guest/port.rs")).unwrap());
        Self { guest: guest.file("/bin/port", program).boot().unwrap() }
    }

    /// Runs what must succeed; what it prints.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> String {
        self.guest.check(script, SOON).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens ttyS`number` as that of the shell's descriptors which is two more, and sets it up: raw, with `options` of stty.
    #[track_caller]
    pub fn open(&mut self, number: usize, options: &str) {
        let fd = number + 2;
        self.sh(&format!(
            "exec {fd}<>/dev/ttyS{number}; stty raw -echo clocal 115200 {options} <&{fd}"
        ));
    }

    /// Writes a line to ttyS`number`.
    #[track_caller]
    pub fn say(&mut self, number: usize, text: &str) {
        self.sh(&format!("echo '{text}' >&{}", number + 2));
    }

    /// The next line of ttyS`number`.
    #[track_caller]
    pub fn hear(&mut self, number: usize) -> String {
        let fd = number + 2;
        self.sh(&format!("timeout 100 head -n 1 <&{fd}")).trim_end().to_owned()
    }

    /// The driver's line for ttyS`number`: `tx`, `rx`, and what else it has counted. It names no error of which it has none.
    #[track_caller]
    pub fn driver_counts(&mut self, number: usize) -> BTreeMap<String, u64> {
        let line = self.sh(&format!("grep ^{number}: /proc/tty/driver/serial"));
        assert!(line.contains("uart:16550A"), "{line}");
        let counts = line.split_whitespace().filter_map(|field| field.split_once(':'));
        let known = ["tx", "rx", "fe", "pe", "brk", "oe", "bo"];
        let counts = counts.filter(|(name, _)| known.contains(name));
        counts.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
    }

    /// What `TIOCGICOUNT` has of it.
    #[track_caller]
    pub fn counts(&mut self, number: usize) -> BTreeMap<String, u64> {
        let text = self.sh(&format!("port counts <&{}", number + 2));
        let words: Vec<_> = text.split_whitespace().collect();
        words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].parse().unwrap())).collect()
    }

    /// Turns the guest off. QEMU has had nothing to complain about.
    #[track_caller]
    pub fn power_off(mut self) {
        self.guest.power_off(SOON).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.guest.qemu_messages(), "");
    }
}

/// Counts, written down.
pub fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Waits until `done`.
#[track_caller]
pub fn soon(what: &str, done: impl FnMut() -> bool) {
    within(SOON, what, done);
}

/// Waits so long until `done`.
#[track_caller]
pub fn within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
