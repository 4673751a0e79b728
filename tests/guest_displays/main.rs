//! A Linux guest's own drivers drive mdpy and mbochs, in QEMU, and what they draw is seen from outside. Every test boots
//! a guest, or a few of them.
//!
//! The guest's half of the tests is `display.sh`.
#![cfg(test)]

mod display;
mod mbochs;
mod mdpy;
#[path = "../common/picture.rs"]
mod picture;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/served.rs"]
mod served;
mod unseen;
