//! What all actors share: the manager, the clock, what has been done and what went wrong.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::managed::{Made, Managed};
use crate::random::Random;
use crate::resident::Resident;
use crate::samples::Report;

/// Does one thing, however long that takes.
pub type Actor = fn(&mut Turn<'_>);

/// The manager, and the books about it.
pub struct Stage {
    pub managed: Managed,
    begin: Instant,
    done: Mutex<BTreeMap<&'static str, u64>>,
    failures: Mutex<Vec<String>>,
}

impl Stage {
    pub fn new(managed: Managed) -> Self {
        Self { managed, begin: Instant::now(), done: Mutex::default(), failures: Mutex::default() }
    }

    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Counts something that was done.
    pub fn did(&self, what: &'static str, times: u64) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += times;
    }

    pub fn done(&self) -> BTreeMap<&'static str, u64> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, who: &str, why: &(dyn Any + Send)) {
        let words = why.downcast_ref::<String>().map(String::as_str);
        let words = words.or(why.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        let line = format!("{:.0} s, {who}: {words}", self.elapsed().as_secs_f32());
        println!("FAILED at {line}");
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// A phase: all act until its time has passed, and each has finished what it was at.
    pub fn play(
        &self,
        actors: &[(&'static str, usize, Actor)],
        resident: &mut Resident,
        (seed, phase): (u64, u64),
        time: Duration,
        report: &mut Report,
    ) {
        let end = Instant::now() + time;
        thread::scope(|scope| {
            let mut running = Vec::new();
            let mut at = 0;
            for &(name, count, act) in actors {
                for number in 0..count {
                    at += 1;
                    let random = Random::of(seed, phase * 100 + at);
                    let who = format!("{name} {number}");
                    running.push(scope.spawn(move || {
                        let mut turn = Turn { stage: self, random, number, end, made: Vec::new() };
                        while turn.is_on() {
                            turn.catch(&who, act);
                        }
                    }));
                }
            }
            scope.spawn(|| {
                let stay = || resident.stay(self, || Instant::now() < end);
                if let Err(why) = catch_unwind(AssertUnwindSafe(stay)) {
                    self.failed("who stays", &*why);
                }
            });
            while running.iter().any(|it| !it.is_finished()) {
                report.look(self, phase);
                thread::sleep(Duration::from_millis(200));
            }
        });
    }
}

/// An actor's own things.
pub struct Turn<'a> {
    pub stage: &'a Stage,
    pub random: Random,
    /// Among those of its kind.
    pub number: usize,
    end: Instant,
    made: Vec<Made>,
}

impl<'a> Turn<'a> {
    pub fn managed(&self) -> &'a Managed {
        &self.stage.managed
    }

    pub fn is_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// One thing. What is left of it is removed, whatever has become of it.
    fn catch(&mut self, who: &str, act: Actor) {
        for act in [act, |turn| turn.remove_all()] {
            if let Err(why) = catch_unwind(AssertUnwindSafe(|| act(self))) {
                self.stage.failed(who, &*why);
                // Who fails at once does not fail a thousand times.
                thread::sleep(Duration::from_secs(1));
            }
        }
    }

    /// A pause, so that others come to something too.
    pub fn rest(&mut self, most_ms: usize) {
        thread::sleep(Duration::from_millis(1 + self.random.below(most_ms) as u64));
    }

    /// A device that is removed at the end of this turn, if it is there still.
    pub fn create(&mut self, device: &str) -> Made {
        let made = self.managed().create(&[device]);
        self.made.push(made.clone());
        self.stage.did("devices", 1);
        made
    }

    /// Who removes it by themselves says so.
    pub fn forget(&mut self, made: &Made) {
        self.made.retain(|it| it != made);
    }

    pub fn remove(&mut self, made: &Made) {
        self.forget(made);
        self.managed().remove(made);
    }

    fn remove_all(&mut self) {
        for made in std::mem::take(&mut self.made) {
            let said = self.managed().say(&["remove", &made.uuid, "--force-after", "5s"]);
            // Another remove may have been about to.
            assert!(
                said.status.success() || said.err.contains("ENODEV"),
                "a device that is left cannot be removed: {said:?}"
            );
        }
    }

    /// A path for a file or socket of a device's, another one each time.
    pub fn path(&mut self, name: &str) -> PathBuf {
        let directory = self.managed().directory().canonicalize().unwrap();
        directory.join(format!("{name}{:x}", self.random.next() >> 24))
    }
}
