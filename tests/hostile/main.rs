//! Enemies of the built program. Of each: it gets the right answer or its connection ends, nobody else comes to harm, and
//! the log has a useful line about it and not many ([`Arena::withstands`](arena::Arena::withstands)), or, of what is only
//! answered, none ([`Arena::is_not_told_of`](arena::Arena::is_not_told_of)).
//!
//! What each message is answered is in `crates/vfio-user-server/tests`, what brought other servers down in `peers_*.rs`.
#![cfg(test)]

#[path = "../common/bodies.rs"]
mod bodies;
#[path = "../../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "../common/handing.rs"]
mod handing;
#[path = "../common/limits.rs"]
mod limits;
#[path = "../common/managed.rs"]
mod managed;

mod arena;
mod clock;
mod descriptors;
mod messages;
mod pace;
mod room;
mod scarce;
mod signals;
mod verbs;
