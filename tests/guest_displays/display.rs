//! A display, as a test in the guest sees it.

use std::process::Command;
use std::time::{Duration, Instant};

use guest_kit::{Builder, Guest};

use crate::picture::{Picture, Screen};
use crate::served::Served;

/// For what takes moments, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(120);

impl Screen for Served {
    fn screenshot(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
        command.arg("screenshot").arg("-c").arg(self.control());
        command
    }
}

/// A guest with the display, and functions for it in its shell.
pub struct Display {
    pub guest: Guest,
    /// `VENDOR:DEVICE`
    id: &'static str,
}

impl Display {
    /// Boots a guest that has the display, and no driver for it yet. The picture is in its file `/picture`.
    pub fn boot(guest: Builder, id: &'static str, picture: &Picture) -> Self {
        let start = Instant::now();
        let guest = guest.registers().file("/picture", &picture.xrgb()).boot().unwrap();
        println!("the guest is up after {:.1} s", start.elapsed().as_secs_f32());
        let mut display = Self { guest, id };
        display.look();
        display
    }

    /// In a kernel that has just booted.
    pub fn look(&mut self) {
        self.sh(include_str!("display.sh"));
        let id = self.id;
        self.sh(&format!("pci_find {id}"));
    }

    /// Runs what must succeed; what it prints.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> String {
        self.guest.check(script, SOON).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, without the last end of line.
    #[track_caller]
    pub fn line(&mut self, script: &str) -> String {
        self.sh(script).trim_end().to_owned()
    }

    /// What a file in the guest holds.
    #[track_caller]
    pub fn bytes(&mut self, file: &str) -> Vec<u8> {
        let hex = self.line(&format!("hexdump -v -e '1/1 \"%02x \"' {file}"));
        hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// Turns the guest off. QEMU has had nothing to complain about.
    pub fn power_off(mut self) {
        self.guest.power_off(SOON).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.guest.qemu_messages(), "");
    }
}
