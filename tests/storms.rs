#![cfg(test)]
//! Clients in masses, and at the limits of what the process may hold.

#[path = "common/bodies.rs"]
mod bodies;
#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/limits.rs"]
mod limits;
#[path = "common/program.rs"]
mod program;
#[path = "common/watched.rs"]
mod watched;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bodies::{INTX, TRIGGER_EVENTFD, UNMASK_EVENTFD, map, memory};
use client::command::{
    DEVICE_GET_INFO, DEVICE_SET_IRQS, DMA_MAP, REGION_READ, REGION_WRITE, VERSION,
};
use client::errno::{EBUSY, EMFILE};
use client::{Client, NO_REPLY, QEMU_CAPABILITIES, access, eventfd, header, message, version};
use limits::limit_descriptors;
use rustix::process::{Pid, Signal, kill_process};
use watched::{Watched, within_5_s};

const INTX_TRIGGER_EVENTFD: [u32; 4] = [TRIGGER_EVENTFD, INTX, 0, 1];

#[test]
fn a_thousand_clients_that_come_and_go_leave_nothing() {
    let watched = Watched::serve();
    let whole = message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES));
    let mut user = watched.negotiated();
    user.still_in_step();
    let before = watched.resident();
    for number in 0..1000 {
        let mut client = watched.connect();
        // From nothing at all to the whole of VERSION, to which not every one of them awaits the answer. What is sent
        // may find that the server has let the client go for a later one.
        let _ = client.socket.write(&whole[..number % (whole.len() + 1)]);
    }
    user.still_in_step();
    drop(user);
    watched.serves_the_next();
    let growth = watched.resident().saturating_sub(before);
    assert!(growth < 2048, "{growth} KiB more than before");
}

/// Conformance: B42.
#[test]
fn a_hundred_clients_one_after_the_other_leave_nothing() {
    let watched = Watched::serve();
    let memory = memory(4096);
    let map = map(3, 0, 0, 4096);
    let mut mappings = Vec::new();
    let mut resident = Vec::new();
    for round in 0..100 {
        let mut client = watched.negotiated();
        client.call_with_fds(DMA_MAP, &map, &[memory.as_fd()]).ok();
        let (line, unmask) = (eventfd(0), eventfd(0));
        client.set_irqs(INTX_TRIGGER_EVENTFD, &[], &[line.as_fd()]).ok();
        client.set_irqs([UNMASK_EVENTFD, INTX, 0, 1], &[], &[unmask.as_fd()]).ok();
        if round % 2 == 0 {
            // In the middle of a message, with a descriptor.
            client.send_raw_with_fds(&header(1, DEVICE_SET_IRQS, 36, 0), &[line.as_fd()]);
        }
        drop(client);
        watched.holds_no_more_than_at_first();
        mappings.push(watched.mappings());
        resident.push(watched.resident());
    }
    assert_eq!(mappings[10], mappings[99], "mappings: {mappings:?}");
    assert!(resident[99] < resident[10] + 256, "resident, KiB: {resident:?}");
    watched.serves_the_next();
}

#[test]
fn without_descriptors_for_a_client_it_waits_and_is_served_later() {
    let watched = Watched::serve();
    let mut user = watched.negotiated();
    limit_descriptors(watched.program.pid(), 3);
    let mut silent: Vec<Client> = (0..3).map(|_| watched.connect()).collect();
    within_5_s("three are in", || watched.descriptors() == 4);

    let mut waiting = watched.connect();
    waiting.send_raw(&message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES)));
    let ticks = watched.ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(watched.ticks() - ticks <= 2, "it does not spin");
    // Its user notices one thing: a descriptor cannot come in.
    user.still_in_step();
    let line = eventfd(0);
    user.set_irqs(INTX_TRIGGER_EVENTFD, &[], &[line.as_fd()]).refused(EMFILE);
    user.still_in_step();

    silent.pop();
    let answered = Instant::now();
    waiting.receive().unwrap().refused(EBUSY);
    assert!(answered.elapsed() < Duration::from_secs(1), "after {:?}", answered.elapsed());
    // Another thread closes what has been let go.
    within_5_s("there is a descriptor again", || {
        user.set_irqs(INTX_TRIGGER_EVENTFD, &[], &[line.as_fd()]).error == 0
    });
    drop((user, silent));
    watched.serves_the_next();
}

#[test]
fn a_process_without_descriptors_says_so_once() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, log) = (directory.path().join("device.sock"), directory.path().join("log"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_mdev-user"))
        .args(["--log-level", "warn", "serve", "mtty-1", "--socket-path"])
        .arg(&socket)
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    let pid = Pid::from_child(&child);
    limit_descriptors(pid, 0);
    let waiting = Client::connect(&socket);
    std::thread::sleep(Duration::from_millis(600));
    drop(waiting);
    kill_process(pid, Signal::TERM).unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("cannot take a client on"), "{log}");
}

#[test]
fn strangers_cannot_hold_the_descriptors_that_the_user_needs() {
    let watched = Watched::serve();
    let mut user = watched.negotiated();
    limit_descriptors(watched.program.pid(), 15 + 253);
    let file = eventfd(0);
    let many = [file.as_fd(); 253];
    let strangers: Vec<Client> = (0..15)
        .map(|_| {
            let mut stranger = watched.connect();
            stranger.send_raw_with_fds(&header(1, DEVICE_GET_INFO, 32, 0)[..8], &many);
            stranger
        })
        .collect();
    within_5_s("what strangers send along is closed", || watched.descriptors() <= 1 + 15);
    let line = eventfd(0);
    user.set_irqs(INTX_TRIGGER_EVENTFD, &[], &[line.as_fd()]).ok();
    drop((user, strangers));
    watched.serves_the_next();
}

#[test]
fn a_flood_of_posted_writes_does_not_keep_a_second_client_waiting() {
    let watched = Watched::serve();
    let mut flooding = watched.negotiated();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let write = message(1, REGION_WRITE, NO_REPLY, &access(0, 7, 1, &[1]));
            let burst = write.repeat(1000);
            while !stop.load(Ordering::Relaxed) {
                flooding.send_raw(&burst);
            }
            flooding.still_in_step();
        });
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            let start = Instant::now();
            let mut second = watched.connect();
            second.call(VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EBUSY);
            longest = longest.max(start.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        assert!(longest < Duration::from_secs(1), "{longest:?}");
    });
    drop(flooding);
    watched.serves_the_next();
}

#[test]
fn an_idle_server_uses_no_time_polling_or_not() {
    for poll in ["0", "50", "1000"] {
        let watched = Watched::serve_with(&["--poll-us", poll]);
        let mut client = watched.negotiated();
        for _ in 0..2000 {
            client.call(REGION_READ, &access(0, 7, 1, &[])).ok();
        }
        assert!(watched.ticks() > 0, "it has been at work");
        std::thread::sleep(Duration::from_millis(50));
        let ticks = watched.ticks();
        std::thread::sleep(Duration::from_secs(1));
        assert!(watched.ticks() - ticks <= 1, "{} ticks, poll {poll}", watched.ticks() - ticks);
        client.still_in_step();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device.sock");
    let mut server = Command::new(env!("CARGO_BIN_EXE_mdev-user"))
        .args(["--log-level", "debug", "serve", "mtty-1", "--socket-path"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    // Some 200 bytes a round, into a pipe of 64 KiB.
    for _ in 0..1000 {
        let mut client = Client::connect(&path);
        client.call(REGION_READ, &[]).refused(22);
        client.socket.shutdown(std::net::Shutdown::Both).unwrap();
    }
    let mut client = Client::connect(&path);
    client.negotiate();
    client.still_in_step();
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    let deadline = Instant::now() + Duration::from_secs(4);
    let status = loop {
        match server.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = server.kill();
                panic!("it does not end");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(status.code(), Some(0));
}
