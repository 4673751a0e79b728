//! Clients that come and go as fast as they can, which is nobody else's concern.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Signal, kill_process};

use crate::contract::greeting;
use crate::managed::{Managed, ONE, soon};
use crate::vfio::Client;

#[test]
fn clients_that_come_and_go_all_the_time_hold_up_neither_commands_nor_the_end() {
    let mut managed = Managed::start_with(&["--loops", "2"]);
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    let (enough, place) = (AtomicBool::new(false), format!("devices/{ONE}/vfio-dev/vfio0"));
    thread::scope(|scope| {
        let flood = || {
            while !enough.load(Ordering::Relaxed) {
                // Of two that come at once the second may be refused.
                let Ok(stream) = UnixStream::connect(&made.socket) else { return };
                greeting(stream);
            }
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(flood)).collect();
        soon("they come", || managed.read(&format!("{place}/client")).is_some());
        for _ in 0..20 {
            let other = managed.create(&["mtty-1"]);
            assert!(managed.list().to_string().contains(&other.uuid));
            managed.remove(&other);
        }
        enough.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        // The files are true when it is over, and go on being so.
        let shown = || {
            (managed.read(&format!("{place}/open_count")), managed.read(&format!("{place}/client")))
        };
        soon("nobody uses it", || shown() == (Some("0".into()), None));
        let user = Client::negotiated(&made.socket);
        soon("it is used", || shown().1.is_some());
        assert_eq!(shown().0.as_deref(), Some("1"));
        drop(user);
        enough.store(false, Ordering::Relaxed);
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(flood)).collect();
        soon("they come again", || managed.read(&format!("{place}/client")).is_some());
        kill_process(managed.pid(), Signal::TERM).unwrap();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert_eq!(managed.finish(Signal::TERM).code(), Some(0), "{}", managed.log());
    assert!(!managed.run_dir().exists());
}
