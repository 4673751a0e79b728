//! The program under attack: what it holds is counted before and after.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::time::{Duration, Instant};

use crate::client::{Client, QEMU_CAPABILITIES, Reply, command, errno, version};
use crate::program::Program;

/// A running `mdev-user serve mtty-2`, and how many descriptors it had before any client came.
pub struct Watched {
    pub program: Program,
    descriptors: usize,
}

impl Watched {
    #[track_caller]
    pub fn serve() -> Self {
        Self::serve_with(&[])
    }

    #[track_caller]
    pub fn serve_with(more: &[&str]) -> Self {
        let program = Program::serve_with("mtty-2", more);
        let descriptors = entries(&program, "fd");
        Self { program, descriptors }
    }

    /// A connection on which nothing has been said.
    pub fn connect(&self) -> Client {
        Client::connect(&self.program.path())
    }

    /// A connection that is the device's user.
    #[track_caller]
    pub fn negotiated(&self) -> Client {
        let (client, reply) = self.proposed(&version(0, 0, QEMU_CAPABILITIES));
        reply.ok();
        client
    }

    /// A connection whose VERSION, with this body, was answered. EBUSY is given a moment: the last user may have left
    /// much to be gone through, and while another test of this process forks, its child has a copy of the socket that was
    /// closed here.
    #[track_caller]
    pub fn proposed(&self, body: &[u8]) -> (Client, Reply) {
        let mut answered = None;
        within_5_s("the next client is served", || {
            let mut client = self.connect();
            let reply = client.call(command::VERSION, body);
            let busy = reply.error == errno::EBUSY;
            answered = Some((client, reply));
            !busy
        });
        answered.unwrap()
    }

    /// Asserts that the next client is served, and that all clients being gone no descriptor is left.
    #[track_caller]
    pub fn serves_the_next(&self) {
        self.negotiated().still_in_step();
        self.holds_no_more_than_at_first();
    }

    /// Asserts that no descriptor is left of any client.
    #[track_caller]
    pub fn holds_no_more_than_at_first(&self) {
        within_5_s("descriptors are as many as at first", || self.descriptors() == 0);
    }

    /// Descriptors more than before the first client.
    pub fn descriptors(&self) -> usize {
        entries(&self.program, "fd").saturating_sub(self.descriptors)
    }

    /// Memory mappings.
    pub fn mappings(&self) -> usize {
        self.read("maps").lines().count()
    }

    /// Resident memory, KiB.
    pub fn resident(&self) -> usize {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// CPU time used so far, ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = self.read("stat");
        // utime and stime are fields 14 and 15; the second one, the name, ends with the last parenthesis.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(proc(&self.program, file)).unwrap()
    }
}

fn proc(program: &Program, file: &str) -> String {
    format!("/proc/{}/{file}", program.pid().as_raw_nonzero())
}

fn entries(program: &Program, directory: &str) -> usize {
    fs::read_dir(proc(program, directory)).unwrap().count()
}

/// Asserts that something comes to hold.
#[track_caller]
pub fn within_5_s(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "after 5 s it is still not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
