#![cfg(test)]
//! Who counts receives: the program that is there for it, and no other.

#[path = "../../vfio-user-server/tests/common/client.rs"]
mod client;

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use client::Client;

/// What the register for it reads after a conversation, of each server that has one.
fn told_by(program: &str) -> [u64; 2] {
    let directory = tempfile::tempdir().unwrap();
    ["rust-vmm", "ours"].map(|server| {
        let socket = directory.path().join(server);
        let mut running = Command::new(program).arg(server).arg(&socket).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let connection = loop {
            match UnixStream::connect(&socket) {
                Ok(connection) => break connection,
                Err(error) => assert!(Instant::now() < deadline, "{server}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let mut client = Client::new(connection);
        client.negotiate();
        let told = client.read(0, 0x10, 8);
        running.kill().unwrap();
        running.wait().unwrap();
        u64::from_le_bytes(told.try_into().unwrap())
    })
}

#[test]
fn receives_are_counted_where_nothing_is_measured() {
    assert_eq!(told_by(env!("CARGO_BIN_EXE_bench-peers")), [0, 0]);
    let told = told_by(env!("CARGO_BIN_EXE_bench-peers-counting"));
    assert!(told.iter().all(|it| *it > 0), "{told:?}");
}
