//! A clock that does not mind a busy machine: the time in which a thread has neither run nor waited for a processor.
//!
//! A server that is slow because others have the processors has done no wrong; one that sleeps while its client waits has.
//! Source: `/proc/PID/task/TID/schedstat` (ns on a processor, ns ready for one, times it ran), in the kernel's
//! Documentation/scheduler/sched-stats.rst.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// The kernel's account of a running thread is as old as its last tick, up to 10 ms: less than this is nothing.
const NOTICEABLE: Duration = Duration::from_millis(12);

/// Time that the thread has been on a processor, or ready for one.
fn active(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap();
    let ns = text.split_whitespace().take(2).map(|it| it.parse::<u64>().unwrap());
    Duration::from_nanos(ns.sum())
}

/// The only loop of a manager.
pub struct Loop(PathBuf);

impl Loop {
    #[track_caller]
    pub fn of(manager: Pid) -> Self {
        let tasks = format!("/proc/{}/task", manager.as_raw_nonzero());
        // One of the others may have just ended.
        let is_loop = |task: &PathBuf| {
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "loop 0\n")
        };
        let mut tasks = fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path());
        Self(tasks.find(is_loop).expect("a loop").join("schedstat"))
    }

    /// How long it has rested in this time, of all of it.
    pub fn rests(&self, time: Duration) -> (Duration, Duration) {
        let (start, before) = (Instant::now(), active(&self.0));
        std::thread::sleep(time);
        let active = active(&self.0) - before;
        (start.elapsed().saturating_sub(active), start.elapsed())
    }
}

/// What a client of a loop has had to wait while that did nothing.
pub struct Clock {
    of: Loop,
    start: Instant,
    slowest: Duration,
    all: Duration,
}

impl Clock {
    pub fn start(of: Loop) -> Self {
        Self { of, start: Instant::now(), slowest: Duration::ZERO, all: Duration::ZERO }
    }

    /// Runs something in which this thread does nothing but ask the server, and wait for it.
    pub fn times(&mut self, asks: impl FnOnce()) {
        let both = || active(&self.of.0) + active(Path::new("/proc/thread-self/schedstat"));
        let (start, before) = (Instant::now(), both());
        asks();
        let held_up = start.elapsed().saturating_sub(both() - before);
        self.slowest = self.slowest.max(held_up);
        if held_up > NOTICEABLE {
            self.all += held_up;
        }
    }

    /// Asserts that nothing has held it up for long, nor one thing after the other.
    #[track_caller]
    pub fn is_content(&self) {
        let Self { slowest, all, .. } = self;
        let lasted = self.start.elapsed();
        assert!(*slowest < Duration::from_millis(500), "held up for {slowest:?} at once");
        let most = Duration::from_millis(250) + lasted / 8;
        assert!(*all < most, "held up for {all:?} of {lasted:?}, {slowest:?} at once");
    }
}
