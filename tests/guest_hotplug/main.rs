//! Managed devices come and go while guests run. Every test boots a guest, or two of them.
//!
//! The guest's half of the tests is `devices.sh`, with `card.sh` of the tests of mtty.
#![cfg(test)]

mod guest;
mod leaving;
#[path = "../common/managed.rs"]
mod managed;
mod neighbour;
mod page;
#[path = "../common/pasted.rs"]
mod pasted;
#[path = "../common/picture.rs"]
mod picture;
#[path = "../common/random.rs"]
mod random;
mod rounds;
mod slots;
#[path = "../../crates/vfio-user-server/tests/common/client.rs"]
mod vfio;
