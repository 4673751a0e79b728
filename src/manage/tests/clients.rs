//! Users of devices, and what is heard and said of them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::manage::news::Change;

#[path = "../../../crates/vfio-user-server/tests/common/client.rs"]
mod vfio;
use vfio::Client;

const NODE: &str = "devices/00000000-0000-0000-0000-000000000001/vfio-dev/vfio0";

impl Running {
    fn shown(&self) -> (Option<String>, Option<String>) {
        (self.read(&format!("{NODE}/open_count")), self.read(&format!("{NODE}/client")))
    }
}

#[test]
fn of_a_client_that_comes_and_goes_all_the_time_little_waits_and_its_end_is_true() {
    let running = Running::start();
    let socket = running.create(UUID).unwrap();
    let listening = running.devices.events.listen().unwrap();
    let (begun, has_begun) = channel();
    let (go_on, gone_on) = channel::<()>();
    running.handle.tell(move |_| {
        begun.send(()).unwrap();
        let _ = gone_on.recv();
    });
    has_begun.recv().unwrap();
    // The manager does something else meanwhile.
    (0..300).for_each(|_| drop(Client::negotiated(&socket)));
    drop(go_on);
    let known = running.devices.named(Some("vfio0"), "--device").unwrap();
    soon("nobody uses it", || {
        let user = running.devices.tell(&known, |it, id| it.get(id).map(Endpoint::user));
        user.unwrap().is_none()
    });
    running.ask(|_| ());
    let events = told(&listening);
    let names = names(&events);
    assert!((2..20).contains(&names.len()), "{names:?}");
    for pair in names.chunks(2) {
        assert_eq!(pair, ["opened", "closed"], "{names:?}");
    }
    assert_eq!(running.shown(), (Some("0\n".into()), None));
    let user = Client::negotiated(&socket);
    soon("its user is shown", || running.shown().1.is_some());
    assert_eq!(running.shown().0.as_deref(), Some("1\n"));
    drop(user);
    soon("it is not used", || running.shown() == (Some("0\n".into()), None));
}

#[test]
fn a_user_that_left_at_once_is_told_of_without_a_name() {
    let running = Running::start();
    running.create(UUID).unwrap();
    let listening = running.devices.events.listen().unwrap();
    running.ask(|manager| {
        let id = manager.instances[&UUID].place.as_ref().unwrap().id;
        // What is left of it says nothing.
        let all = [Change::Came, Change::Left, Change::Known(None)];
        manager.hear(0, all.map(|change| (id, change)).into());
    });
    let events = told(&listening);
    assert_eq!(names(&events), ["opened", "closed"]);
    assert!(events.iter().all(|it| it["client"].is_null()), "{events:?}");
}

#[test]
fn a_user_that_leaves_while_its_device_is_hidden_is_not_waited_for() {
    let running = Running::start();
    let socket = running.create(UUID).unwrap();
    running.ask(move |manager| {
        let user = Client::negotiated(&socket);
        let id = manager.instances[&UUID].place.as_ref().unwrap().id;
        let is_used = |manager: &Manager| {
            let (sender, receiver) = channel();
            manager.lanes.post(0, move |event_loop| {
                sender.send(event_loop.get(id).and_then(Endpoint::user).is_some()).unwrap();
            });
            receiver.recv().unwrap()
        };
        assert!(is_used(manager));
        manager.begin_removal(UUID, None);
        drop(user);
        // Heard with what waits already, and so before what hiding has come to.
        soon("it leaves", || !is_used(manager));
    });
    soon("it is released", || !running.exists());
}

#[test]
fn who_wants_a_device_to_go_and_leaves_is_forgotten_and_the_soonest_deadline_counts() {
    let running = Running::start();
    let socket = running.create(UUID).unwrap();
    let mut user = Client::negotiated(&socket);
    let hour = Some(Duration::from_secs(3600));
    let remove = |force_after| {
        let handle = running.handle.clone();
        thread::spawn(move || {
            let (client, _other) = UnixStream::pair().unwrap();
            handle.remove(UUID, force_after, client)
        })
    };
    let first = remove(hour);
    let waiters = || running.ask(|manager| manager.instances[&UUID].waiters.len());
    soon("it waits", || waiters() == 1);
    for _ in 0..50 {
        let (client, other) = UnixStream::pair().unwrap();
        drop(other);
        assert!(running.handle.remove(UUID, hour, client).is_err());
    }
    assert!(waiters() <= 2, "{}", waiters());
    let second = remove(Some(Duration::ZERO));
    soon("it is released", || !running.exists());
    first.join().unwrap().unwrap();
    second.join().unwrap().unwrap();
    user.is_closed();
}

#[test]
fn what_hiding_has_come_to_is_of_the_device_that_was_hidden() {
    use crate::manage::instance::Hidden;
    let running = Running::start();
    let socket = running.create(UUID).unwrap();
    let mut user = Client::negotiated(&socket);
    soon("it is used", || running.shown().1.is_some());
    running.ask(|manager| {
        let other = Place { lane: 7, ..manager.instances[&UUID].place.clone().unwrap() };
        manager.hidden(UUID, &other, Hidden { unregister: None, user: None });
        assert!(!manager.instances[&UUID].off);
        manager.begin_removal(UUID, None);
        manager.hidden(UUID, &other, Hidden { unregister: None, user: None });
        assert!(!manager.instances[&UUID].off);
    });
    user.still_in_step();
    drop(user);
    soon("it is released", || !running.exists());
}

/// Counts how often its user is asked to go.
struct Asked(Arc<AtomicU32>);

impl VfioDevice for Asked {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
    fn request(&mut self, _: u32, _: &mut Context) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn the_end_asks_users_to_go_before_they_are_let_go() {
    let running = Running::start();
    let asked = Arc::new(AtomicU32::new(0));
    let what = Description::pci(1, 1).bar(0, BarKind::Memory32, Region::trapped(16));
    let device: Box<dyn VfioDevice> = Box::new(Asked(Arc::clone(&asked)));
    let device = Vfio::new().alloc(|_| Ok((what, device))).unwrap();
    running.ask(|manager| manager.begin(UUID, serial())).unwrap();
    let socket = running.place(device).unwrap();
    let mut user = Client::negotiated(&socket);
    drop(running);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    user.is_closed();
}

#[test]
fn the_first_user_of_a_device_is_heard_of_whatever_waits_to_be_told_of_others() {
    let running = Running::start();
    running.create(UUID).unwrap();
    let (id, news) = running.ask(|manager| {
        (manager.instances[&UUID].place.as_ref().unwrap().id, manager.lanes.news(0).unwrap())
    });
    let (lane_goes_on, lane_rests) = channel::<()>();
    running.ask(move |manager| {
        manager.lanes.post(0, move |_| {
            let _ = lane_rests.recv();
            // A message about others is on its way to the manager before the new device is.
            [Change::Came, Change::Left].into_iter().for_each(|change| news.add(id, change));
        });
    });
    let handle = running.handle.clone();
    let creating = thread::spawn(move || handle.create(OTHER, serial(), true).unwrap());
    let socket = running.directory.path().join("vfio/devices/vfio1");
    soon("it can be connected to", || socket.exists());
    let (manager_goes_on, manager_rests) = channel::<()>();
    running.handle.tell(move |_| {
        let _ = manager_rests.recv();
    });
    drop(lane_goes_on);
    let _user = Client::negotiated(&socket);
    drop(manager_goes_on);
    creating.join().unwrap();
    let count = format!("devices/{OTHER}/vfio-dev/vfio1/open_count");
    soon("it is open", || running.read(&count).as_deref() == Some("1\n"));
}
