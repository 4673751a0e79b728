//! A manager as its users meet it: devices that come and go at run time, and the files that say how they do.
#![cfg(test)]

#[path = "../common/handing.rs"]
mod handing;
#[path = "../common/managed.rs"]
mod managed;
#[path = "../common/pasted.rs"]
mod pasted;
#[path = "../common/shape.rs"]
mod shape;
#[path = "../../crates/vfio-user-server/tests/common/client.rs"]
mod vfio;

mod capacity;
mod config;
mod contract;
mod crash;
mod documents;
mod edid_files;
mod events;
mod floods;
mod full;
mod guests;
mod handed;
mod life;
mod mistakes;
mod neighbours;
mod order;
mod races;
mod refusals;
mod set;
mod use_of;
