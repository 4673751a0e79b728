//! What was measured on, and which CPUs it ran on.

use std::fs;
use std::path::Path;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::report::{Result, heading};

/// Prints what a reader has to know of the machine.
pub fn print() {
    heading("The machine");
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
        value.unwrap_or("unknown").to_owned()
    };
    let is_guest = field("flags").split(' ').any(|flag| flag == "hypervisor");
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{}, {} MHz, {cpus} CPUs{}",
        field("model name"),
        field("cpu MHz"),
        if is_guest { ", in a virtual machine" } else { "" }
    );
    println!("Linux {}", read("/proc/sys/kernel/osrelease").trim());
    let governor = Path::new("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    let governor = fs::read_to_string(governor).unwrap_or_else(|_| "not told".into());
    let load: Vec<_> = read("/proc/loadavg").split(' ').take(3).map(str::to_owned).collect();
    println!("governor: {}; load before: {}", governor.trim(), load.join(" "));
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The CPUs of a client and of the servers that it measures.
#[derive(Clone, Copy)]
pub struct Cpus {
    pub client: usize,
    pub server: usize,
}

impl Cpus {
    /// The first two that this process may use; the same one twice if there is no other.
    pub fn two() -> Result<Self> {
        let all = sched_getaffinity(None)?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
        let client = allowed.next().ok_or("this process may run nowhere")?;
        Ok(Self { client, server: allowed.next().unwrap_or(client) })
    }

    /// One for both.
    pub fn one() -> Result<Self> {
        let Self { server, .. } = Self::two()?;
        Ok(Self { client: server, server })
    }

    pub fn are_one(self) -> bool {
        self.client == self.server
    }

    /// Starts what is to run on the server's CPU, with all its threads.
    pub fn start<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let all = sched_getaffinity(None)?;
        sched_setaffinity(None, &only(self.server))?;
        let started = start();
        sched_setaffinity(None, &all)?;
        started
    }

    /// Does something on the client's CPU.
    pub fn measure<T>(self, measure: impl FnOnce() -> Result<T>) -> Result<T> {
        let all = sched_getaffinity(None)?;
        sched_setaffinity(None, &only(self.client))?;
        let measured = measure();
        sched_setaffinity(None, &all)?;
        measured
    }

    /// How it is said in a heading.
    pub fn named(self) -> String {
        if self.are_one() {
            format!("client and server on CPU {}", self.client)
        } else {
            format!("client on CPU {}, server on CPU {}", self.client, self.server)
        }
    }
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}
