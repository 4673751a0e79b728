//! A process that may not have what it wants: descriptors, memory.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::Resource;
use serde_json::json;

use crate::arena::Arena;
use crate::client::Client;
use crate::clock::Loop;
use crate::handing::{answer, connect, edid, refusal, send};
use crate::limits::{limit, limit_descriptors};
use crate::managed::soon;

#[test]
fn descriptors_have_run_out() {
    let arena = Arena::start();
    let pid = arena.managed.pid();
    let log = arena.goes_through("cannot take a client on: Too many open files", "", |arena| {
        limit_descriptors(pid, 3);
        let all: Vec<Client> = (0..12).map(|_| arena.connect()).collect();
        soon("it is told", || arena.log().iter().any(|line| line.contains("Too many open files")));
        std::thread::sleep(Duration::from_secs(1));
        drop(all);
        limit(pid, Resource::Nofile, None);
    });
    let said = log.iter().filter(|line| line.contains("cannot take a client on")).count();
    assert_eq!(said, 1, "{log:#?}");
}

/// Who cannot be taken on stays in front of a socket that can be read all the while.
#[test]
fn while_descriptors_are_out_nobody_is_busy() {
    let arena = Arena::start();
    let pid = arena.managed.pid();
    limit_descriptors(pid, 3);
    let all: Vec<Client> = (0..12).map(|_| arena.connect()).collect();
    soon("it is told", || arena.log().iter().any(|line| line.contains("Too many open files")));
    let (rested, of) = Loop::of(pid).rests(Duration::from_secs(1));
    assert!(rested > of / 4, "it has rested for {rested:?} of {of:?}");
    drop(all);
    limit(pid, Resource::Nofile, None);
    arena.use_it();
}

#[test]
fn a_server_that_can_open_no_more_says_so_to_who_hands_something_over() {
    let arena = Arena::start();
    let pid = arena.managed.pid();
    let path = arena.managed.directory().join("edid");
    std::fs::write(&path, edid(1)).unwrap();
    let file = std::fs::File::open(path).unwrap();
    let options = json!({ "edid": "mine" });
    let device = arena.neighbour().node();
    let line = json!({ "verb": "set", "device": device, "options": options, "fd": "edid" });
    let line = format!("{line}\n");
    let client = connect(&arena.managed.path("control"));
    send(&client, b"{\"verb\": \"list\"}\n", &[]);
    assert!(answer(&client)["ok"].is_object(), "it is taken on");
    limit_descriptors(pid, 0);
    send(&client, line.as_bytes(), &[file.as_fd()]);
    let refused = refusal(&answer(&client));
    limit(pid, Resource::Nofile, None);
    assert!(refused.starts_with("EMFILE: this process may have no more files open"), "{refused}");
    send(&client, line.as_bytes(), &[file.as_fd()]);
    assert_eq!(answer(&client)["ok"]["device"], device);
}

/// Asserts that a display that is too large is refused by name, and made as soon as it may be.
#[track_caller]
fn too_large(what: Resource, most: impl Fn(u64) -> u64, names: &[&str]) {
    let arena = Arena::start();
    let pid = arena.managed.pid();
    let statm = format!("/proc/{}/statm", pid.as_raw_nonzero());
    arena.is_not_told_of(|arena| {
        let pages = std::fs::read_to_string(&statm).unwrap();
        let size = pages.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 12;
        for _ in 0..20 {
            limit(pid, what, Some(most(size)));
            let line = arena.managed.say(&["create", "mbochs-large"]).refused(1);
            assert!(names.iter().any(|name| line.starts_with(name)), "{line}");
            assert_eq!(arena.managed.available("mbochs-large"), 3, "its share is given back");
            // What has little room goes on.
            arena.use_it();
        }
        limit(pid, what, None);
    });
    let made = arena.managed.create(&["mbochs-large"]);
    let mut client = Client::negotiated(&made.socket);
    assert_eq!(client.read(0, (64 << 20) - 4, 4), [0; 4]);
    drop(client);
    arena.managed.remove(&made);
}

#[test]
fn files_may_not_be_as_large_as_a_display_s_memory() {
    too_large(Resource::Fsize, |_| 32 << 20, &["EFBIG: "]);
}

#[test]
fn there_is_no_address_space_for_a_display_s_memory() {
    too_large(Resource::As, |size| size + (16 << 20), &["ENOMEM: "]);
}

/// The log is a file like any other: beyond the limit for files its lines are lost, and nothing else.
#[test]
fn the_log_may_not_grow() {
    let arena = Arena::start();
    let pid = arena.managed.pid();
    arena.use_it();
    let size = arena.managed.log().len() as u64;
    limit(pid, Resource::Fsize, Some(size));
    for _ in 0..5 {
        arena.use_it();
    }
    assert_eq!(arena.managed.log().len() as u64, size);
    limit(pid, Resource::Fsize, None);
    soon("the log goes on", || {
        arena.use_it(); // what comes and goes often is not told of every time
        arena.managed.log().len() as u64 > size
    });
}
