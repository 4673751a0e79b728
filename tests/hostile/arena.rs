//! Two devices of one loop in one process: one is attacked, the other one's client wants to notice nothing of it.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bodies::{INTX, SCR, TRIGGER_EVENTFD, TRIGGER_NONE};
use crate::client::command::VERSION;
use crate::client::{Client, QEMU_CAPABILITIES, count, errno, eventfd, version};
use crate::clock::{Clock, Loop};
use crate::managed::{Made, Managed, soon};

/// What the neighbour has in its video memory, and where.
const TEXT: &[u8] = b"nobody but my client writes here";
const PLACE: u64 = 0x1234;
/// Region and offset of the identity of a Bochs display.
const IDENTITY: (u32, u64) = (2, 0x500);
/// More than this a client that has left must not have cost, KiB.
const GROWTH: u64 = 4 << 10;
/// Lines a second that a device's log lets through: of those who come and go, and of those who misbehave.
const RATE: u64 = 10 + 10;

pub struct Arena {
    pub managed: Managed,
    /// A serial card.
    pub attacked: Made,
    neighbour: Made,
    /// The server is to be stopped by signals, which the neighbour must notice.
    pub is_stopped: bool,
}

/// Lets the neighbour's client end, however the attack did.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Arena {
    #[track_caller]
    pub fn start() -> Self {
        Self::of(Managed::start_with(&["--loops", "1"]))
    }

    /// In a manager with one loop and no device.
    #[track_caller]
    pub fn of(managed: Managed) -> Self {
        let attacked = managed.create(&["mtty-1"]);
        let neighbour = managed.create(&["mbochs-small"]);
        Self { managed, attacked, neighbour, is_stopped: false }
    }

    /// A display.
    pub fn neighbour(&self) -> &Made {
        &self.neighbour
    }

    /// A connection to the attacked device on which nothing has been said.
    pub fn connect(&self) -> Client {
        Client::connect(&self.attacked.socket)
    }

    /// The attacked device's user; who was that before may still be leaving.
    #[track_caller]
    pub fn client(&self) -> Client {
        let mut client = None;
        soon("the device has a new user", || {
            let mut next = self.connect();
            let reply = next.call(VERSION, &version(0, 0, QEMU_CAPABILITIES));
            assert!([0, errno::EBUSY].contains(&reply.error), "{reply:?}");
            let is_user = reply.error == 0;
            client = Some(next);
            is_user
        });
        client.unwrap()
    }

    /// Uses the attacked device as a driver does: registers and an interrupt.
    #[track_caller]
    pub fn use_it(&self) {
        let mut client = self.client();
        client.still_in_step();
        for value in [0x5a, 0xa5] {
            client.write(0, SCR, &[value]);
            assert_eq!(client.read(0, SCR, 1), [value]);
        }
        let line = eventfd(0);
        client.set_irqs([TRIGGER_EVENTFD, INTX, 0, 1], &[], &[line.as_fd()]).ok();
        client.set_irqs([TRIGGER_NONE, INTX, 0, 1], &[], &[]).ok();
        soon("the interrupt comes", || count(&line) == 1);
        drop(client);
        let count =
            format!("devices/{}/vfio-dev/{}/open_count", self.attacked.uuid, self.attacked.node());
        soon("it is closed", || self.managed.read(&count).as_deref() == Some("0"));
    }

    /// What the log has about anything but the neighbour.
    pub fn log(&self) -> Vec<String> {
        let neighbour = format!("{} (", self.neighbour.node());
        let log = self.managed.log();
        log.lines().filter(|line| !line.contains(&neighbour)).map(str::to_owned).collect()
    }

    /// Asserts of an attack on the device that nobody but who attacks comes to harm by it, while it lasts and afterwards,
    /// and that the log tells of it in a line with `told`, which says who it was, and in few. Returns the lines. What the
    /// attacker is answered the attack asserts itself.
    #[track_caller]
    pub fn withstands(&self, told: &str, attack: impl FnOnce(&Self)) -> Vec<String> {
        let me = format!("(pid {})", std::process::id());
        self.goes_through(told, &me, attack)
    }

    /// The same of what is not one client's doing.
    #[track_caller]
    pub fn goes_through(&self, told: &str, who: &str, attack: impl FnOnce(&Self)) -> Vec<String> {
        self.outlives(Some((told, who)), attack)
    }

    /// The same of what is answered to who asks, if that, and is no matter for the log: it has nothing but that the device
    /// was used, as it is to see how it does.
    #[track_caller]
    pub fn is_not_told_of(&self, attack: impl FnOnce(&Self)) {
        let mut log = self.outlives(None, attack);
        log.retain(|line| !line.contains("is using the device") && !line.contains("has left"));
        assert!(log.is_empty(), "{log:#?}");
    }

    #[track_caller]
    fn outlives(&self, told: Option<(&str, &str)>, attack: impl FnOnce(&Self)) -> Vec<String> {
        self.use_it(); // what is had once is not to be counted
        let mut neighbour = Client::negotiated(&self.neighbour.socket);
        neighbour.write(0, PLACE, TEXT);
        let identity = neighbour.read(IDENTITY.0, IDENTITY.1, 2);
        let held = self.managed.held_at_rest();
        let resident = self.managed.resident();
        let (lines, start) = (self.log().len(), Instant::now());

        let (over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut clock = Clock::start(Loop::of(self.managed.pid()));
        let mut notices_nothing = || {
            clock.times(|| {
                assert_eq!(neighbour.read(0, PLACE, TEXT.len() as u32), TEXT);
                assert_eq!(neighbour.read(IDENTITY.0, IDENTITY.1, 2), identity);
            });
            rounds.fetch_add(1, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            let over = Over(&over);
            scope.spawn(|| {
                while !over.0.load(Ordering::Relaxed) {
                    notices_nothing();
                    thread::sleep(Duration::from_millis(1));
                }
            });
            soon("the neighbour is at work", || rounds.load(Ordering::Relaxed) > 0);
            attack(self);
            let before = rounds.load(Ordering::Relaxed);
            soon("it has been all the time", || rounds.load(Ordering::Relaxed) > before + 2);
        });
        notices_nothing();
        if !self.is_stopped {
            clock.is_content();
        }
        if let Some((told, who)) = told {
            soon("the log tells of it", || {
                let log = self.log();
                log[lines..].iter().any(|line| line.contains(told) && line.contains(who))
            });
        }
        self.use_it();
        soon("no descriptor is left", || self.managed.held() == held);
        let grown = self.managed.resident().saturating_sub(resident);
        assert!(grown < GROWTH, "{grown} KiB more than before");

        let log = self.log().split_off(lines);
        let most = RATE * (start.elapsed().as_secs() + 2);
        assert!(log.len() as u64 <= most, "{} lines: {log:#?}", log.len());
        for word in ["WARN", "ERROR", "panicked", "lines of the log were lost"] {
            let is_it = |line: &str| told.is_some_and(|(told, _)| line.contains(told));
            assert!(!log.iter().any(|line| line.contains(word) && !is_it(line)), "{log:#?}");
        }
        assert!(!self.managed.log().contains("panicked"));
        log
    }
}

/// Asserts of what one client did that the log has no more lines than it needs: it came, what it did, it left, and the one
/// after it came and left.
#[track_caller]
pub fn in_one_line(log: &[String]) {
    assert!(log.len() <= 5, "{} lines: {log:#?}", log.len());
}

/// Writes what goes into a socket without waiting; `false` if it was full.
pub fn pour(client: &mut Client, bytes: &[u8]) -> bool {
    use std::io::Write;
    match client.socket.write(bytes) {
        Ok(size) => size == bytes.len(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}
