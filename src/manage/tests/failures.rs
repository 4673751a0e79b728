//! Devices that cannot be served: what had been taken for them is free again, and what was said of them is taken back.

use super::*;

#[test]
fn a_device_that_clients_cannot_come_to_is_released_and_what_was_said_is_true_again() {
    let running = Running::start();
    let listening = running.devices.events.listen().unwrap();
    running.ask(|manager| manager.begin(UUID, serial())).unwrap();
    let created = running.handle.parents().make(&serial().spec, UUID).unwrap();
    // It has a share when the other one comes.
    running.create(OTHER).unwrap();
    assert_eq!(running.available(), "22\n");
    fs::create_dir(running.directory.path().join("vfio/devices/vfio0")).unwrap();
    running.place(created.device).unwrap_err();
    assert_eq!(running.available(), "23\n");
    assert!(!running.exists());
    let events = told(&listening);
    let of_it: Vec<_> =
        events.iter().filter(|it| it["uuid"] == UUID.to_string()).cloned().collect();
    assert_eq!(names(&of_it), ["created", "released"]);
    assert!(of_it.iter().all(|it| it["node"] == "vfio0"), "{of_it:?}");
    fs::remove_dir(running.directory.path().join("vfio/devices/vfio0")).unwrap();
    running.create(UUID).unwrap();
}

#[test]
fn a_device_whose_files_cannot_be_written_is_taken_away_again() {
    let running = Running::start();
    running.ask(|manager| manager.begin(UUID, serial())).unwrap();
    let in_the_way = format!("devices/{UUID}/vfio-dev/mine");
    fs::create_dir_all(running.directory.path().join(in_the_way)).unwrap();
    let created = running.handle.parents().make(&serial().spec, UUID).unwrap();
    running.place(created.device).unwrap_err();
    soon("it is released", || !running.exists() && running.available() == "24\n");
    running.create(UUID).unwrap();
}

#[test]
fn how_many_there_can_be_is_right_again_after_it_could_not_be_written() {
    let running = Running::start();
    running.create(UUID).unwrap();
    let (staging, away) =
        (running.directory.path().join(".staging"), running.directory.path().join("away"));
    // Nothing can be made there, as if there were no room.
    fs::rename(&staging, &away).unwrap();
    fs::write(&staging, "").unwrap();
    let _ = running.remove();
    assert_eq!(running.available(), "23\n");
    fs::remove_file(&staging).unwrap();
    fs::rename(&away, &staging).unwrap();
    soon("it is written", || running.available() == "24\n");
    // As many as were said to be when it could be written last.
    running.create(OTHER).unwrap();
    assert_eq!(running.available(), "23\n");
}
