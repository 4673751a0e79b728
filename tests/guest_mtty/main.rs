//! A Linux guest's own serial driver drives mtty, in QEMU. Every test boots a guest, or a few of them.
//!
//! The guest's half of the tests is `card.sh`.
#![cfg(test)]

mod card;
mod driver;
mod hot_plug;
mod lives;
mod refusals;
mod registers;
mod run;
#[path = "../common/served.rs"]
mod served;
