//! Serial ports in a Linux guest, joined to the host and to other guests: what the stock driver sends and receives is
//! what the other end has. Every test boots a guest, or a few of them.
#![cfg(test)]

mod breaks;
mod data;
mod gdb;
mod pairs;
mod ports;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/served.rs"]
mod served;
