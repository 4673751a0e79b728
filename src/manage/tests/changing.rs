use super::*;

#[test]
fn only_a_device_that_is_there_to_stay_is_known_and_saved_as_it_was_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("devices.json");
    let running = Running::start_with(1, Definitions::read(Some(&path), true).unwrap());
    running.create(UUID).unwrap();
    let set_stage = |stage| {
        running.ask(move |manager| manager.instances.get_mut(&UUID).unwrap().stage = stage);
    };
    let change = |value| {
        let after = Definition::parse(&format!("mtty-1,serial0={value}")).unwrap();
        running.handle.changed(UUID, after)
    };
    let is_known = |value: &str| {
        let saved = fs::read_to_string(&path).unwrap().contains(value);
        let listed = running.ask(|manager| manager.list()).to_string().contains(value);
        assert_eq!(saved, listed, "{value}");
        saved
    };
    for stage in [Stage::Initialized, Stage::Unregistering] {
        set_stage(stage);
        let failure = change("null").unwrap_err();
        assert_eq!(failure.errno, Errno::AGAIN);
        assert!(failure.message.contains("is being removed"), "{}", failure.message);
        assert!(!is_known("null"), "{stage:?}");
    }
    set_stage(Stage::Registered);
    change("null").unwrap();
    assert!(is_known("null"));
    running.remove().unwrap();
    assert_eq!(change("loopback").unwrap_err().errno, Errno::AGAIN);
}
