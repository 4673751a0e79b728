//! A manager that ends, as it should or not.

use std::fs;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::managed::{Managed, ONE, TWO, end};
use crate::vfio::Client;

#[test]
fn sigterm_ends_it_at_once_with_users_and_who_waits_and_leaves_nothing() {
    let mut managed = Managed::start();
    let devices = [managed.create(&["mtty-1"]), managed.create(&["mbochs-small"])];
    let mut users = devices.each_ref().map(|made| Client::negotiated(&made.socket));
    let removing = managed.begin(&["remove", &devices[0].uuid]);
    crate::managed::soon("it is hidden", || !devices[0].socket.exists());
    assert_eq!(managed.finish(Signal::TERM).code(), Some(0), "{}", managed.log());
    users.iter_mut().for_each(Client::is_closed);
    let line = end(removing).refused(1);
    assert!(line.contains("ending") || line.contains("has ended"), "{line}");
    assert!(!managed.run_dir().exists());
}

#[test]
fn a_directory_that_was_there_stays_and_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    let mut managed = Managed::start_in(directory, &[]);
    managed.create(&["mtty-1"]);
    managed.finish(Signal::TERM);
    assert_eq!(fs::read_dir(managed.run_dir()).unwrap().count(), 0);
}

#[test]
fn after_a_kill_users_get_an_error_and_the_next_manager_starts_clean() {
    let config = &["--config", "DIR/devices.json", "--save"];
    let managed = Managed::start_with(config);
    let one = managed.create(&["mtty-2", "--uuid", ONE]);
    let two = managed.create(&["mbochs-small,xres=640,yres=480", "--uuid", TWO]);
    let mut user = Client::negotiated(&one.socket);
    user.still_in_step();
    let directory = managed.kill();
    // No hang: the connection is closed.
    user.is_closed();
    assert!(two.socket.exists(), "nobody was there to remove it");
    assert!(UnixStream::connect(&two.socket).is_err());
    // Of a device that is not among the definitions, say.
    fs::create_dir(directory.path().join("run/devices/left")).unwrap();
    fs::write(directory.path().join("run/note"), "mine").unwrap();

    let mut managed = Managed::start_in(directory, config);
    let listed = managed.list();
    for (parent, uuid, kind) in [("mtty", ONE, "mtty-2"), ("mbochs", TWO, "mbochs-small")] {
        let device = listed.pointer(&format!("/0/{parent}/0/{uuid}")).unwrap();
        assert_eq!(
            (device["mdev_type"].as_str(), device["start"].as_str()),
            (Some(kind), Some("auto"))
        );
    }
    let mut names: Vec<_> = fs::read_dir(managed.path("devices"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [ONE, TWO]);
    Client::negotiated(&one.socket).still_in_step();
    assert_eq!((managed.available("mtty-1"), managed.available("mbochs-small")), (22, 63));
    // Not ours, and the directory was there before this manager.
    assert_eq!(managed.finish(Signal::TERM).code(), Some(0));
    let left: Vec<_> = fs::read_dir(managed.run_dir())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["note"]);
}
