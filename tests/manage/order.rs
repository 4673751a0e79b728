//! What a script sees when devices come and go, and in which order.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};

use crate::contract::greeting;
use crate::managed::{Managed, ONE};
use crate::vfio::Client;

/// Hears of names that come and go in directories, in their order.
struct Watcher {
    inotify: OwnedFd,
    names: BTreeMap<i32, &'static str>,
}

impl Watcher {
    fn new(managed: &Managed, directories: &[&'static str]) -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let flags =
            WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM;
        let watch = |name: &&'static str| {
            (inotify::add_watch(&inotify, managed.path(name), flags).unwrap(), *name)
        };
        let names = directories.iter().map(watch).collect();
        Self { inotify, names }
    }

    /// What has happened: `+` for a name that has come, `-` for one that has gone.
    fn take(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut seen = Vec::new();
        while let Ok(event) = reader.next() {
            let came = ReadFlags::CREATE | ReadFlags::MOVED_TO;
            let sign = if event.events().intersects(came) { '+' } else { '-' };
            let name = event.file_name().unwrap().to_str().unwrap();
            seen.push(format!("{sign}{}/{name}", self.names[&event.wd()]));
        }
        seen
    }
}

#[test]
fn names_come_and_go_in_the_kernels_order() {
    let managed = Managed::start();
    let watched =
        ["devices", "vfio/devices", "mdev_supported_types/mtty-1", "mdev_supported_types/mtty-2"];
    let watcher = Watcher::new(&managed, &watched);
    let made = managed.create(&["mtty-1", "--uuid", ONE]);
    let device = format!("devices/{ONE}");
    let available = ["mtty-1", "mtty-2"]
        .map(|kind| format!("+mdev_supported_types/{kind}/available_instances"));
    let [one, two] = &available;
    let came = format!("+{device}");
    let expected = [&*came, "+vfio/devices/vfio0", one, two];
    assert_eq!(watcher.take(), expected);

    let user = Client::negotiated(&made.socket);
    let removing = managed.begin(&["remove", ONE]);
    crate::managed::soon("it is hidden", || !made.socket.exists());
    assert_eq!(watcher.take(), ["-vfio/devices/vfio0"]);
    drop(user);
    crate::managed::end(removing).ok();
    assert_eq!(watcher.take(), [format!("-{device}").as_str(), one, two]);

    // What cannot be made comes and goes without a socket.
    let all: Vec<_> = (0..12).map(|_| managed.create(&["mtty-2"])).collect();
    watcher.take();
    managed.say(&["create", "mtty-1", "--uuid", ONE]).refused(1);
    assert_eq!(watcher.take(), [format!("+{device}"), format!("-{device}")]);
    assert_eq!(all.len(), 12);
}

#[test]
fn whoever_sees_a_node_can_connect_and_whoever_sees_its_socket_go_cannot() {
    let managed = Managed::start();
    let device = managed.path(&format!("devices/{ONE}"));
    let (node, link) = (device.join("vfio-dev/vfio0"), device.join("socket"));
    let done = Arc::new(AtomicBool::new(false));
    let watch = |seen: PathBuf, socket: PathBuf, done: Arc<AtomicBool>| {
        thread::spawn(move || {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                if seen.symlink_metadata().is_ok() {
                    // Refused only by one that has gone since.
                    if UnixStream::connect(&socket).is_err() {
                        let gone = seen.symlink_metadata().is_err();
                        assert!(gone, "{} is there, and nobody listens", seen.display());
                    }
                    times += 1;
                }
            }
            times
        })
    };
    let socket = managed.path("vfio/devices/vfio0");
    let watchers = [
        watch(node, socket.clone(), Arc::clone(&done)),
        watch(link.clone(), link, Arc::clone(&done)),
    ];
    for round in 0..20 {
        let made = managed.create(&["mtty-1", "--uuid", ONE]);
        let user = (round % 2 == 0).then(|| Client::negotiated(&made.socket));
        // By this the socket can be reached when its name is gone.
        let socket = rustix::fs::open(&made.socket, OFlags::PATH, Mode::empty()).unwrap();
        let handle = PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd()));
        if user.is_none() {
            UnixStream::connect(&handle).expect("a handle does as well");
        }
        let removing = managed.begin(&["remove", ONE]);
        crate::managed::soon("it is hidden", || !made.socket.exists());
        if let Ok(late) = UnixStream::connect(&handle) {
            // Not a moment later, and nobody answers that one any more, but to refuse it.
            assert_ne!(greeting(late), Some(0), "it is gone, and serves");
        }
        drop(user);
        crate::managed::end(removing).ok();
    }
    done.store(true, Ordering::Relaxed);
    for watcher in watchers {
        assert!(watcher.join().unwrap() > 0, "never seen");
    }
}

#[test]
fn files_say_who_uses_a_device() {
    let managed = Managed::start();
    let made = managed.create(&["mdpy-xga", "--uuid", ONE]);
    let name = |name: &str| format!("devices/{ONE}/vfio-dev/vfio0/{name}");
    let read = |file: &str| managed.read(&name(file));
    assert_eq!(read("state").as_deref(), Some("registered"));
    assert_eq!((read("open_count").as_deref(), read("client")), (Some("0"), None));
    let target =
        |file: &str| managed.path(&format!("devices/{ONE}/{file}")).canonicalize().unwrap();
    let below = |file: &str| managed.path(file).canonicalize().unwrap();
    assert_eq!(target("mdev_type"), below("mdev_supported_types/mdpy-xga"));
    assert_eq!(target("socket"), below("vfio/devices/vfio0"));
    assert_eq!(target("socket"), made.socket);

    let user = Client::negotiated(&made.socket);
    let pid = std::process::id();
    crate::managed::soon("it is open", || read("open_count").as_deref() == Some("1"));
    crate::managed::soon("it says by whom", || {
        read("client").is_some_and(|text| text.starts_with(&format!("{pid} ")))
    });
    drop(user);
    crate::managed::soon("it is closed", || {
        (read("open_count").as_deref(), read("client")) == (Some("0"), None)
    });
}
