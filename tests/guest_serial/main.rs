//! A Linux guest's serial ports on the host: consoles, data, breaks, a debugger, guests that talk to each other. Every test
//! boots a guest, or a few of them.
#![cfg(test)]

mod breaks;
mod console;
mod data;
mod gdb;
mod pairs;
mod peer;
mod ports;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/served.rs"]
mod served;
mod stdio;
#[path = "../common/terminal.rs"]
mod terminal;
