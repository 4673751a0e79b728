//! Serial ports on the host: what is on the line between a guest and whoever talks to it.
#![cfg(test)]

mod card;
mod ends;
mod expect;
mod guest;
mod hostile;
mod leaving;
mod lines;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/random.rs"]
mod random;
mod refusals;
#[path = "../common/served.rs"]
mod served;
mod set;
mod stdio;
#[path = "../common/terminal.rs"]
mod terminal;
#[path = "../../crates/vfio-user-server/tests/common/client.rs"]
mod vfio;
mod volume;
mod words;
