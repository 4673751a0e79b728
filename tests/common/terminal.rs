//! The built program in a terminal of its own, which `script` makes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mdev-user");
/// For the next thing to appear.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// A terminal, in which a shell runs one command. `DIR` in it is a directory of the test's own.
pub struct Terminal {
    directory: tempfile::TempDir,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: Vec<u8>,
    script: Child,
}

impl Terminal {
    pub fn start(command: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let command = command.replace("DIR", directory.path().to_str().unwrap());
        let pid = directory.path().join("pid");
        let session = format!(
            "echo before $(stty -g); sh -c 'echo $$ > {}; exec {PROGRAM} {command}'; \
             echo status $?; echo after $(stty -g)",
            pid.display()
        );
        // Under `nohup` it would be ignored by all of them: what a test sends, and what ends the program with its terminal.
        let mut script = Command::new("env");
        script.args(["--default-signal=HUP", "script", "-qefc", &session, "/dev/null"]);
        script.env("SHELL", "/bin/sh");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keyboard, screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        Self { directory, keyboard, screen, shown: Vec::new(), script }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// All that it has shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits for more; false at the end.
    fn read(&mut self) -> bool {
        let mut watched = [PollFd::new(&self.screen, PollFlags::IN)];
        let some = poll(&mut watched, Some(&PATIENCE)).unwrap();
        assert_ne!(some, 0, "nothing more appears:\n{}", self.shown());
        let mut buffer = [0; 1024];
        let count = self.screen.read(&mut buffer).unwrap_or(0);
        self.shown.extend(&buffer[..count]);
        count != 0
    }

    /// Waits until it has shown this text.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        self.until_behind(text, 0);
    }

    /// Waits until it has shown this text behind `place`; the place behind it.
    #[track_caller]
    pub fn until_behind(&mut self, text: &str, place: usize) -> usize {
        loop {
            let shown = self.shown();
            if let Some(at) = shown[place..].find(text) {
                return place + at + text.len();
            }
            assert!(self.read(), "{text:?} does not appear:\n{shown}");
        }
    }

    pub fn type_(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).unwrap();
    }

    /// Sends the program a signal.
    pub fn signal(&mut self, signal: Signal) {
        let pid = fs::read_to_string(self.path("pid")).unwrap();
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What follows `word` on the last line that begins with it.
    #[track_caller]
    fn after(&self, word: &str) -> String {
        let shown = self.shown();
        let line = shown.lines().rev().find_map(|line| line.strip_prefix(word));
        line.unwrap_or_else(|| panic!("no {word:?}:\n{shown}")).trim().to_owned()
    }

    /// Waits for the program's end: with this status, and the terminal's modes are what they were before.
    #[track_caller]
    pub fn ends(mut self, status: &str) -> String {
        while self.read() {}
        self.script.wait().unwrap();
        assert_eq!(self.after("status "), status, "{}", self.shown());
        assert_eq!(self.after("before "), self.after("after "), "{}", self.shown());
        let socket = self.path("socket");
        assert!(!socket.exists(), "the socket is left behind");
        self.shown()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails if it has ended, as it should have.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
