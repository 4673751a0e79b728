//! A Linux guest's serial ports on the host: what they are for. Every test boots a guest.
#![cfg(test)]

mod console;
mod peer;
#[path = "../common/served.rs"]
mod served;
mod stdio;
#[path = "../common/terminal.rs"]
mod terminal;
