//! A guest into which devices are plugged.

use std::time::Duration;

use guest_kit::{Builder, Guest, Tools};

use crate::managed::Made;

/// For what takes moments, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(120);

/// A guest with the samples' drivers, and functions for their devices in its shell.
pub struct Plugged {
    pub guest: Guest,
}

impl Plugged {
    /// With the displays' drivers.
    pub fn builder() -> Builder {
        let tools = Tools::prepare().unwrap().with_mdpy_fb().unwrap();
        // The kernel's text console has no cursor, which would paint over what is drawn.
        let guest =
            Guest::builder(&tools).registers().kernel_argument("vt.global_cursor_default=0");
        guest.kernel_module("mdpy-fb").kernel_module("bochs")
    }

    pub fn boot(builder: Builder) -> Self {
        let mut plugged = Self { guest: builder.boot().unwrap() };
        plugged.prepare();
        plugged
    }

    /// What a guest that has booted is to know: after a reboot, too.
    pub fn prepare(&mut self) {
        self.sh(". /lib/pci.sh");
        self.sh(include_str!("../guest_mtty/card.sh"));
        self.sh(include_str!("devices.sh"));
        self.sh("load mdpy-fb; load bochs");
    }

    /// Runs what must succeed; what it prints.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> String {
        self.guest.check(script, SOON).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Plugs it in, by the name of its node.
    #[track_caller]
    pub fn plug(&mut self, made: &Made, slot: &str) {
        self.guest.plug(made.node(), slot, &made.socket).unwrap();
    }

    #[track_caller]
    pub fn unplug(&mut self, made: &Made) {
        self.guest.unplug(made.node(), SOON).unwrap();
    }

    /// Random bytes through each port of the card and back, and nothing was lost.
    #[track_caller]
    pub fn pass(&mut self, ports: usize, bytes: usize) {
        for port in 1..=ports {
            self.sh(&format!("pass {port} {bytes} 115200"));
            let line = self.sh(&format!("counters {port}"));
            assert!(
                [" oe:", " fe:", " pe:", " brk:"].iter().all(|it| !line.contains(it)),
                "{line}"
            );
        }
    }

    /// The kernel has found no fault in itself.
    #[track_caller]
    pub fn is_well(&mut self) {
        let output = self.guest.run("complaints", SOON).unwrap();
        assert_eq!((output.status, output.text.as_str()), (1, ""));
    }

    /// Turns the guest off. QEMU has had nothing to complain about.
    #[track_caller]
    pub fn power_off(mut self) {
        self.is_well();
        self.guest.power_off(SOON).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.guest.qemu_messages(), "");
    }
}
