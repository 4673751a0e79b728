//! As many devices as there can be, all in use at once.

use std::collections::BTreeSet;

use crate::managed::{Made, Managed, soon};
use crate::vfio::Client;

/// Traffic that each kind of device has something to say to: config space, and a register.
fn traffic(user: &mut Client, kind: &str) {
    /// Region of the PCI configuration space.
    const CONFIG: u32 = 7;
    let id = user.read(CONFIG, 0, 4);
    if kind == "mtty-1" {
        assert_eq!(id, [0x48, 0x43, 0x53, 0x32]);
        user.write(0, 7, &[0xa5]);
        assert_eq!(user.read(0, 7, 1), [0xa5]);
    }
    user.still_in_step();
}

#[test]
fn twenty_four_ports_four_displays_and_256_mb_are_served_at_once_and_given_back() {
    const KINDS: [(&str, u32, &str); 3] =
        [("mtty-1", 24, "ENOSPC"), ("mdpy-hd", 4, "EUSERS"), ("mbochs-large", 4, "ENOSPC")];

    let managed = Managed::start_with(&["--loops", "3"]);
    // What is opened once, by whatever comes first, is not to be counted.
    for (kind, _, _) in KINDS {
        let made = managed.create(&[kind]);
        drop(Client::negotiated(&made.socket));
        managed.remove(&made);
    }
    let before = managed.held_at_rest();
    let resident = managed.resident();

    let mut all: Vec<(&str, Made, Client)> = Vec::new();
    for (kind, count, errno) in KINDS {
        for left in (0..count).rev() {
            let made = managed.create(&[kind]);
            assert_eq!(managed.available(kind), left, "{kind}");
            let user = Client::negotiated(&made.socket);
            all.push((kind, made, user));
        }
        let line = managed.say(&["create", kind]).refused(1);
        assert!(line.starts_with(&format!("{errno}: ")), "{line}");
    }
    for _ in 0..20 {
        all.iter_mut().for_each(|(kind, _, user)| traffic(user, kind));
    }
    let nodes: BTreeSet<_> = all.iter().map(|(_, made, _)| made.node().to_owned()).collect();
    assert_eq!(nodes.len(), 32);
    assert!(managed.resident() > resident + 24_000);
    soon("each is open", || {
        all.iter().all(|(_, made, _)| {
            let name = format!("devices/{}/vfio-dev/{}/open_count", made.uuid, made.node());
            managed.read(&name).as_deref() == Some("1")
        })
    });

    // From the middle outwards: nothing depends on the order.
    while !all.is_empty() {
        let (kind, made, user) = all.remove(all.len() / 2);
        let free = managed.available(kind);
        drop(user);
        managed.remove(&made);
        assert_eq!(managed.available(kind), free + 1, "{kind}");
        if all.len().is_multiple_of(8) {
            all.iter_mut().for_each(|(kind, _, user)| traffic(user, kind));
        }
    }
    for directory in ["devices", "vfio/devices", ".staging"] {
        let left = std::fs::read_dir(managed.path(directory)).unwrap().count();
        assert_eq!(left, 0, "{directory}");
    }
    soon("descriptors and mappings are given back", || managed.held() == before);
    // Of some 33 MB, most of them mdpy's pictures; the allocator keeps a little for the next ones.
    soon("so is memory", || managed.resident() < resident + 4096);
}

/// Its threads by name, but for those that close descriptors: how many there are depends on how busy they were.
fn threads(managed: &Managed) -> Vec<String> {
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", managed.pid().as_raw_nonzero())).unwrap();
    // One may end while it is looked at.
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let mut names: Vec<_> = tasks.filter_map(|task| name(task.unwrap())).collect();
    names.retain(|name| name != "closer\n");
    names.sort();
    names
}

/// Context switches of all its threads.
fn switches(managed: &Managed) -> u64 {
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", managed.pid().as_raw_nonzero())).unwrap();
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
    let all: String = tasks.filter_map(|task| of(task.unwrap())).collect();
    let lines = all.lines().filter(|line| line.contains("voluntary_ctxt_switches:"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

/// Every name below its run directory.
fn tree(managed: &Managed) -> BTreeSet<std::path::PathBuf> {
    let (mut names, mut left) = (BTreeSet::new(), vec![managed.run_dir()]);
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            names.insert(entry.path());
        }
    }
    names
}

#[test]
fn sixty_devices_that_come_and_go_three_times_leave_nothing_and_idle_ones_wake_no_thread() {
    const KINDS: [&str; 3] = ["mtty-1", "mdpy-vga", "mbochs-small"];

    let pools = ["--mtty-ports", "20", "--mdpy-max", "20", "--mbochs-mb", "80", "--loops", "2"];
    let managed = Managed::start_with(&pools);
    for kind in KINDS {
        let made = managed.create(&[kind]);
        drop(Client::negotiated(&made.socket));
        managed.remove(&made);
    }
    let at_rest = managed.held_at_rest();
    let held = || (managed.held(), threads(&managed));
    let before = (at_rest, threads(&managed));
    let files = tree(&managed);
    for round in 0..3 {
        let made: Vec<_> = (0..60).map(|number| managed.create(&[KINDS[number % 3]])).collect();
        assert_eq!(KINDS.map(|kind| managed.available(kind)), [0, 0, 0]);
        let mut users: Vec<_> = made.iter().map(|made| Client::negotiated(&made.socket)).collect();
        users.iter_mut().for_each(Client::still_in_step);
        if round == 0 {
            // Each loop looks once whether those who have connected have said something, after 5 s.
            soon("no thread is woken for 3 s", || {
                let before = switches(&managed);
                std::thread::sleep(std::time::Duration::from_secs(3));
                switches(&managed) == before
            });
            users.iter_mut().for_each(Client::still_in_step);
        }
        drop(users);
        made.iter().for_each(|made| managed.remove(made));
        assert_eq!(KINDS.map(|kind| managed.available(kind)), [20, 20, 20]);
        assert_eq!(tree(&managed), files, "round {round}");
        soon("descriptors, mappings and threads are as before", || held() == before);
    }
}
