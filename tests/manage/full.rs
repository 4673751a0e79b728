//! A manager that has no more descriptors, or no more places for those who ask it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::{Resource, getrlimit};

use crate::managed::{Managed, PATIENCE, shell, soon};

/// Asks, and returns the answer.
fn ask(control: &mut BufReader<UnixStream>, request: &str) -> String {
    writeln!(control.get_mut(), "{request}").unwrap();
    let mut answer = String::new();
    control.read_line(&mut answer).unwrap();
    answer
}

fn connect(managed: &Managed) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(managed.path("control")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

#[test]
fn without_descriptors_a_manager_can_still_be_asked_and_rid_of_devices() {
    let limited = shell(r#"ulimit -n 64; exec "$0" "$@""#);
    let managed = Managed::start_by(limited, tempfile::tempdir().unwrap(), &["--loops", "1"]);
    let mut made = Vec::new();
    let refused = loop {
        match managed.say(&["create", "mtty-1"]) {
            said if said.status.success() => made.push(said.out.trim_end().to_owned()),
            said => break said.refused(1),
        }
    };
    assert!(refused.starts_with("EMFILE: ") && refused.contains("ulimit -n"), "{refused}");
    // As many as want to, all the time.
    let idle: Vec<_> = (0..8)
        .flat_map(|_| &made)
        .map(|made| UnixStream::connect(made.split_once(' ').unwrap().1).unwrap())
        .collect();
    // What is kept back is held as well.
    soon("all descriptors are in use", || managed.descriptors() >= 64);
    for made in &made {
        let (uuid, _) = made.split_once(' ').unwrap();
        assert!(managed.say(&["list"]).ok().contains(uuid));
        managed.say(&["remove", uuid, "--force-after", "1ms"]).ok();
    }
    drop(idle);
    assert_eq!(managed.available("mtty-1"), 24);
}

#[test]
fn the_limit_of_descriptors_is_raised_as_far_as_that_may_be() {
    let hard = getrlimit(Resource::Nofile).maximum.map_or("unlimited".into(), |it| it.to_string());
    let limited = shell(r#"ulimit -Sn 32; exec "$0" "$@""#);
    let managed = Managed::start_by(limited, tempfile::tempdir().unwrap(), &[]);
    let limits = format!("/proc/{}/limits", managed.pid().as_raw_nonzero());
    let limits = fs::read_to_string(limits).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(words, [&hard, &hard], "{line}");
    (0..12).for_each(|_| drop(managed.create(&["mtty-1"])));
}

#[test]
fn of_256_who_ask_nothing_the_one_that_has_for_longest_makes_room() {
    const LIST: &str = r#"{"verb":"list"}"#;

    let managed = Managed::start();
    let mut clients: Vec<_> = (0..256).map(|_| connect(&managed)).collect();
    // All are there, and what has been asked is how long ago.
    for client in clients.iter_mut().rev() {
        assert!(ask(client, LIST).contains(r#""ok""#));
    }
    assert_eq!(managed.say(&["list"]).ok(), "");
    let mut said = String::new();
    clients.pop().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("EAGAIN") && said.contains("connect again"), "{said}");
    // Those who ask for something stay.
    for client in &mut clients {
        assert!(ask(client, r#"{"verb":"events"}"#).contains(r#""ok""#));
    }
    let mut last = connect(&managed);
    assert!(ask(&mut last, r#"{"verb":"events"}"#).contains(r#""ok""#));
    let line = managed.say(&["list"]).refused(1);
    assert!(line.starts_with("EAGAIN: 256 connections are open already"), "{line}");
    drop(clients.pop());
    soon("there is room", || managed.say(&["list"]).status.success());
}
