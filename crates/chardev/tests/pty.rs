#![cfg(test)]
//! A pseudo-terminal, as those see it who open it.

mod support;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::time::Duration;

use chardev::Event::{Connected, Disconnected};
use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};

use support::{Port, Random, open};

fn client(port: &Port) -> File {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags);
    options.open(port.chardev.address().unwrap()).unwrap()
}

fn fetch(client: &mut File, into: &mut Vec<u8>, most: usize) {
    let mut bytes = vec![0; most];
    match client.read(&mut bytes) {
        Ok(count) => into.extend(&bytes[..count]),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

#[test]
fn a_terminal_that_nobody_has_open_costs_nothing() {
    let mut port = Port::open("pty");
    assert!(!port.chardev.is_connected() && port.events.is_empty());
    port.send(b"kept");
    port.during(Duration::from_millis(300));
    assert!(port.turns < 20, "{} turns", port.turns);
    drop(client(&port));
    port.during(Duration::from_millis(300));
    assert!(port.turns < 40, "{} turns", port.turns);
}

#[test]
fn each_who_opens_the_terminal_gets_what_was_sent_before() {
    let mut port = Port::open("pty");
    port.send(b"booting\n");
    for word in ["booting\n", "again\r\n"] {
        let mut client = client(&port);
        let mut found = Vec::new();
        port.until("replay", |_| {
            fetch(&mut client, &mut found, 99);
            found.len() == word.len()
        });
        assert_eq!(found, word.as_bytes());
        client.write_all(b"typed").unwrap();
        drop(client);
        port.until("gone", |port| !port.chardev.is_connected());
        port.send(b"again\r\n");
    }
    port.until("input", |port| port.input.len() == 10);
    assert_eq!(port.input, b"typedtyped");
    assert_eq!(port.events, [Connected, Disconnected, Connected, Disconnected]);
    assert_eq!(port.chardev.dropped(), 0);
}

#[test]
fn the_terminal_is_raw_and_raw_again_for_the_next() {
    let mut port = Port::open("pty");
    for _ in 0..2 {
        let client = client(&port);
        port.until("connected", |port| port.chardev.is_connected());
        let mut modes = tcgetattr(&client).unwrap();
        assert!(!modes.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON));
        assert!(!modes.output_modes.contains(OutputModes::OPOST));
        modes.local_modes |= LocalModes::ECHO | LocalModes::ICANON;
        tcsetattr(&client, OptionalActions::Now, &modes).unwrap();
        drop(client);
        port.until("gone", |port| !port.chardev.is_connected());
    }
}

#[test]
fn random_bytes_pass_both_ways_at_once_and_whole_however_either_side_stalls() {
    let mut port = Port::open("pty");
    let mut random = Random(7);
    let (down, up) = (random.bytes(100_000), random.bytes(100_000));
    let mut client = client(&port);
    port.output = down.clone();
    let (mut sent, mut found) = (0, Vec::new());
    port.until("both ways", |port| {
        if random.below(4) != 0 {
            let end = (sent + 1 + random.below(5_000)).min(up.len());
            sent += client.write(&up[sent..end]).unwrap_or(0);
        }
        if random.below(4) != 0 {
            fetch(&mut client, &mut found, 1 + random.below(5_000));
        }
        let room = if random.below(3) == 0 { 0 } else { 1 + random.below(4096) };
        port.accept_input(room);
        found.len() == down.len() && port.input.len() == up.len()
    });
    assert!(found == down && port.input == up);
}

#[test]
fn a_peer_that_does_not_read_stops_the_stream_and_wakes_nobody() {
    let mut port = Port::open("pty");
    let mut client = client(&port);
    port.until("connected", |port| port.chardev.is_connected());
    let all = Random(8).bytes(400_000);
    port.output = all.clone();
    port.during(Duration::from_millis(100));
    port.until("stuck", |port| !port.has_work());
    assert!(!port.output.is_empty());
    let mut found = Vec::new();
    port.until("all", |_| {
        fetch(&mut client, &mut found, 9999);
        found.len() == all.len()
    });
    assert!(found == all);
}

#[test]
fn what_one_client_did_not_read_the_next_one_gets() {
    let mut port = Port::open("pty,history=1000000");
    let all = Random(12).bytes(100_000);
    let first = client(&port);
    port.until("connected", |port| port.chardev.is_connected());
    port.output = all.clone();
    port.during(Duration::from_millis(50));
    assert!(port.output.len() < all.len());
    drop(first);
    port.until("gone", |port| !port.chardev.is_connected());
    let mut second = client(&port);
    let mut found = Vec::new();
    port.until("all", |_| {
        fetch(&mut second, &mut found, 9999);
        found.len() == all.len()
    });
    assert!(found == all);
}

#[test]
fn a_link_leads_to_the_terminal_and_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    let text = format!("pty,path={}", link.display());
    // One that is left of a terminal that is no more.
    symlink("/dev/pts/4194303", &link).unwrap();
    let port = Port::open(&text);
    assert_eq!(link.read_link().unwrap().to_str(), port.chardev.address().as_deref());
    let refusal = open(&text).unwrap_err().to_string();
    assert!(refusal.ends_with("remove it, or use another path for the link"), "{refusal}");
    drop(port);
    assert!(link.symlink_metadata().is_err());

    // What is not ours stays.
    std::fs::write(&link, "mine").unwrap();
    assert!(open(&text).is_err());
    assert_eq!(std::fs::read(&link).unwrap(), b"mine");
    std::fs::remove_file(&link).unwrap();
    symlink("elsewhere", &link).unwrap();
    assert!(open(&text).is_err());
}

#[test]
fn who_opens_writes_and_leaves_at_once_is_heard() {
    let mut port = Port::open("pty");
    let mut all = Vec::new();
    for round in 0..20 {
        let word = format!("round {round}\n");
        client(&port).write_all(word.as_bytes()).unwrap();
        all.extend(word.as_bytes());
        port.until("heard", |port| port.input.len() == all.len());
    }
    assert_eq!(port.input, all);
    // And nothing goes on for it.
    let turns = port.turns;
    port.during(Duration::from_millis(200));
    assert!(port.turns - turns < 20 && !port.chardev.is_connected());
}

#[test]
fn what_a_client_wrote_that_has_left_is_there_when_there_is_room_however_little_at_a_time() {
    let mut port = Port::open("pty");
    let all = Random(14).bytes(1000);
    let mut client = client(&port);
    port.until("connected", |port| port.chardev.is_connected());
    port.accept_input(0);
    client.write_all(&all).unwrap();
    drop(client);
    port.until("gone", |port| !port.chardev.is_connected());
    assert_eq!((port.input.len(), port.has_work()), (0, false));
    port.accept_input(256);
    port.until("all", |port| port.input.len() == all.len());
    assert!(port.input == all);
}

#[test]
fn a_link_that_somebody_has_replaced_stays() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    let port = Port::open(&format!("pty,path={}", link.display()));
    std::fs::remove_file(&link).unwrap();
    symlink("/dev/null", &link).unwrap();
    drop(port);
    assert_eq!(link.read_link().unwrap().to_str(), Some("/dev/null"));
}
