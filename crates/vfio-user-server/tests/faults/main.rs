#![cfg(test)]
//! Faults on demand: what a client meets, at which message, and who does not meet it.

#[path = "../common/client.rs"]
mod client;
#[path = "../common/irqs.rs"]
mod irqs;
#[path = "../common/server.rs"]
mod server;

mod counts;
mod interrupts;
mod later;
mod log_lines;
mod messages;
mod spec;

use std::path::PathBuf;

use client::{Client, Reply, access, command};
use server::Server;

/// A server of two devices on one loop: one without faults, and the path of one with these.
fn faulty(faults: &[&str]) -> (Server, PathBuf) {
    let server = Server::of(irqs::description);
    let path = server.add("faulty.sock", irqs::description, faults);
    (server, path)
}

/// Reads 4 bytes of BAR 0, whatever the answer.
#[track_caller]
fn read(client: &mut Client, offset: u64) -> Reply {
    client.call(command::REGION_READ, &access(0, offset, 4, &[]))
}
