//! What QEMU, and the guest in it, make of each fault of `--fault`.
//!
//! The effects hold for any QEMU that these tests can be run with; the messages are those of QEMU 11.1, and are looked
//! for in no other. `docs/faults.md` quotes them: what is asserted here is there.
#![cfg(test)]

mod accesses;
mod interrupts;
mod realize;
#[path = "../common/served.rs"]
mod served;

use std::time::Duration;

use guest_kit::{Tools, vfio_user_device};
use served::Served;

/// For what takes moments, on a machine that is busy.
const SOON: Duration = Duration::from_secs(120);

const DOCUMENT: &str = include_str!("../../docs/faults.md");

/// A card with one port and this fault.
#[track_caller]
fn served(fault: &str) -> Served {
    assert!(DOCUMENT.contains(&format!("`{fault}`")), "docs/faults.md has no `{fault}`");
    Served::start_with("mtty-1", &["--fault", fault])
}

/// QEMU's argument for it. QEMU waits so long for an answer.
fn device(served: &Served, timeout_ms: u32) -> String {
    let mut device: serde_json::Value =
        serde_json::from_str(&vfio_user_device(&served.socket())).unwrap();
    device["x-msg-timeout"] = timeout_ms.into();
    device.to_string()
}

/// Asserts that QEMU has said all of this, or nothing if there is nothing.
#[track_caller]
fn has_said(messages: &str, expected: &[&str]) {
    let version = Tools::prepare().unwrap().qemu().version();
    for text in expected {
        assert!(DOCUMENT.contains(text), "docs/faults.md does not quote {text:?}");
        let other = (version.major, version.minor) != (11, 1);
        assert!(
            other || messages.contains(text),
            "QEMU {version} did not say {text:?}: {messages}"
        );
    }
    assert!(!expected.is_empty() || messages.is_empty(), "{messages}");
}
