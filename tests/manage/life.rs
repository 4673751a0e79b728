//! The life of a device, as the kernel's mdev core has it: over the real sockets and commands.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::managed::{Made, Managed, ONE, end, soon};
use crate::vfio::{Client, command, count, errno, eventfd, version, words};

/// SET_IRQS: an eventfd that is signalled.
const EVENTFD_TRIGGER: u32 = 0x24;
/// The irq index by which a PCI device asks its user to go.
const REQ: u32 = 4;

/// A client that can be asked to go, and how it hears of that.
fn askable(made: &Made) -> (Client, std::os::fd::OwnedFd) {
    let mut client = Client::negotiated(&made.socket);
    let asked = eventfd(0);
    use std::os::fd::AsFd;
    client.set_irqs([EVENTFD_TRIGGER, REQ, 0, 1], &[], &[asked.as_fd()]).ok();
    (client, asked)
}

fn is_gone(managed: &Managed, uuid: &str) -> bool {
    !managed.path(&format!("devices/{uuid}")).exists()
}

#[test]
fn a_device_in_use_is_hidden_at_once_and_released_when_its_user_leaves() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-2", "--uuid", ONE]);
    let (mut user, asked) = askable(&made);
    let mut removing = managed.begin(&["remove", ONE]);
    soon("it is hidden", || !made.socket.exists());

    assert!(UnixStream::connect(&made.socket).is_err());
    let directory = format!("devices/{ONE}");
    soon("its state", || {
        managed.read(&format!("{directory}/state")).as_deref() == Some("unregistering")
    });
    for name in ["vfio-dev", "socket"] {
        assert!(managed.path(&format!("{directory}/{name}")).symlink_metadata().is_err(), "{name}");
    }
    soon("it is asked to go", || count(&asked) == 1);
    user.still_in_step();
    assert!(removing.try_wait().unwrap().is_none(), "answered before the release");
    // What it has is its own until its release.
    assert_eq!((managed.available("mtty-1"), managed.available("mtty-2")), (22, 11));
    let line = managed.say(&["create", "mtty-1", "--uuid", ONE]).refused(1);
    assert!(line.starts_with("EEXIST: ") && line.contains("is being removed"), "{line}");
    let listed = managed.list();
    assert_eq!(listed.pointer(&format!("/0/mtty/0/{ONE}/state")).unwrap(), "unregistering");

    drop(user);
    end(removing).ok();
    assert!(is_gone(&managed, ONE), "after the answer");
    assert_eq!((managed.available("mtty-1"), managed.available("mtty-2")), (24, 12));
    assert_eq!(managed.create(&["mdpy-vga", "--uuid", ONE]).node(), "vfio0");
}

#[test]
fn a_user_is_asked_every_10_s_and_named_in_the_log_once() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let (user, asked) = askable(&made);
    let removing = managed.begin(&["remove", &made.uuid]);
    let begun = Instant::now();
    let mut rounds = 0;
    soon("two rounds", || {
        rounds += count(&asked);
        rounds >= 2
    });
    let time = begun.elapsed();
    assert!(time > Duration::from_secs(9), "{time:?} from the first to the second");
    drop(user);
    end(removing).ok();
    let log = managed.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("is in use by")).collect();
    let [warning] = &warnings[..] else { panic!("{log}") };
    // The test is the client.
    let pid = std::process::id();
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    let comm = comm.trim_end();
    // It is the name of the thread that connected, or of the process.
    assert!(warning.contains(&format!("in use by pid {pid} ")), "{warning} {comm}");
    assert!(warning.contains(" WARN ") && warning.contains("vfio0 (mtty-1)"), "{warning}");
}

#[test]
fn a_user_that_does_not_go_is_sent_away_after_the_time_that_was_said() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let mut user = Client::negotiated(&made.socket);
    let begun = Instant::now();
    managed.say(&["remove", &made.uuid, "--force-after", "500ms"]).ok();
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    user.is_closed();
    assert_eq!(managed.available("mtty-1"), 24);
}

#[test]
fn of_two_removes_the_second_is_refused_unless_it_sends_the_user_away() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let mut user = Client::negotiated(&made.socket);
    let first = managed.begin(&["remove", &made.uuid]);
    soon("it is hidden", || !made.socket.exists());
    let line = managed.say(&["remove", &made.uuid]).refused(1);
    assert!(line.starts_with("EAGAIN: ") && line.contains("is being removed"), "{line}");
    user.still_in_step();
    managed.say(&["remove", &made.uuid, "--force-after", "0s"]).ok();
    end(first).ok();
    user.is_closed();
    let line = managed.say(&["remove", &made.uuid]).refused(1);
    assert!(line.starts_with("ENODEV: "), "{line}");
}

#[test]
fn many_removes_at_once_are_one_and_refusals() {
    let managed = Managed::start();
    for _ in 0..5 {
        let made = managed.create(&["mtty-1", "--uuid", ONE]);
        let removes: Vec<_> = (0..4).map(|_| managed.begin(&["remove", &made.uuid])).collect();
        let said: Vec<_> = removes.into_iter().map(end).collect();
        assert_eq!(said.iter().filter(|said| said.status.success()).count(), 1, "{said:?}");
        for said in said.iter().filter(|said| !said.status.success()) {
            assert!(said.err.contains("ENODEV") || said.err.contains("EAGAIN"), "{said:?}");
        }
        assert!(is_gone(&managed, ONE));
    }
}

#[test]
fn a_remove_whose_client_goes_is_not_undone() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let user = Client::negotiated(&made.socket);
    let mut removing = managed.begin(&["remove", &made.uuid]);
    soon("it is hidden", || !made.socket.exists());
    removing.kill().unwrap();
    removing.wait().unwrap();
    drop(user);
    soon("it is released", || is_gone(&managed, &made.uuid) && managed.available("mtty-1") == 24);
}

#[test]
fn who_has_connected_and_said_nothing_when_a_device_is_removed_is_refused() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let user = Client::negotiated(&made.socket);
    let mut late = Client::connect(&made.socket);
    let removing = managed.begin(&["remove", &made.uuid]);
    soon("it is hidden", || !made.socket.exists());
    soon("so says the log", || managed.log().contains("is in use by"));
    let json = crate::vfio::QEMU_CAPABILITIES;
    late.send(command::VERSION, 0, &version(0, 0, json), &[]);
    // Refused or cut off: it does not become the user.
    if let Some(reply) = late.receive() {
        reply.refused(errno::ENODEV);
    }
    drop(user);
    end(removing).ok();
}

#[test]
fn removes_while_clients_connect_end_and_give_all_back() {
    let managed = Managed::start();
    for _ in 0..20 {
        let made = managed.create(&["mtty-1"]);
        let socket = made.socket.clone();
        let connecting = std::thread::spawn(move || {
            let Ok(stream) = UnixStream::connect(&socket) else { return };
            let mut client = Client::new(stream);
            // Served, refused or cut off; never left waiting.
            let json = crate::vfio::QEMU_CAPABILITIES;
            let message = crate::vfio::message(1, command::VERSION, 0, &version(0, 0, json));
            use std::io::Write;
            if client.socket.write_all(&message).is_ok() {
                let _ = client.receive();
            }
        });
        managed.say(&["remove", &made.uuid]).ok();
        connecting.join().unwrap();
        assert_eq!(managed.available("mtty-1"), 24);
    }
}

#[test]
fn a_device_is_reset_between_two_accesses_of_its_user() {
    let managed = Managed::start();
    let made = managed.create(&["mtty-1"]);
    let mut user = Client::negotiated(&made.socket);
    // The scratch register of the port.
    user.write(0, 7, &[0x5a]);
    assert_eq!(user.read(0, 7, 1), [0x5a]);
    managed.say(&["reset", &made.uuid]).ok();
    assert_eq!(user.read(0, 7, 1), [0]);
    user.call(command::DEVICE_GET_INFO, &words(&[16, 0, 0, 0])).ok();
}

#[test]
fn nodes_are_the_lowest_that_are_free() {
    let managed = Managed::start();
    let made: Vec<_> = (0..4).map(|_| managed.create(&["mtty-1"])).collect();
    let nodes: Vec<_> = made.iter().map(Made::node).collect();
    assert_eq!(nodes, ["vfio0", "vfio1", "vfio2", "vfio3"]);
    managed.remove(&made[1]);
    managed.remove(&made[2]);
    assert_eq!(managed.create(&["mdpy-vga"]).node(), "vfio1");
    assert_eq!(managed.create(&["mdpy-vga"]).node(), "vfio2");
    assert_eq!(managed.create(&["mdpy-vga"]).node(), "vfio4");
}
