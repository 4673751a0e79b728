//! The built program, serving one device to guests and writing down all that it does.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use guest_kit::{Builder, Guest, Tools, vfio_user_device};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What the program logs, at level debug, when it answers a client's message with an error.
pub const REFUSED: &str = "refused command";

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `mdev-user serve`.
pub struct Served {
    directory: tempfile::TempDir,
    process: Child,
    /// Held open, so that the program never writes into a closed pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Served {
    /// Serves a device of this type; it is ready for clients.
    pub fn start(kind: &str) -> Self {
        Self::start_with(kind, &[])
    }

    /// The same with more arguments.
    pub fn start_with(kind: &str, more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), kind, more)
    }

    /// The same with a control socket, at [`control`](Self::control).
    pub fn start_controlled(kind: &str, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("control").into_os_string().into_string().unwrap();
        Self::start_in(directory, kind, &[&["--control-path", &control], more].concat())
    }

    fn start_in(directory: tempfile::TempDir, kind: &str, more: &[&str]) -> Self {
        let log = File::create(directory.path().join("log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_mdev-user"))
            .args(["--log-level", "debug", "serve", kind, "--socket-path"])
            .arg(directory.path().join("device.sock"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        assert!(ready.contains(" is ready on "), "{ready:?}");
        Self { directory, process, _stdout: stdout }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("device.sock")
    }

    /// Where it takes verbs.
    pub fn control(&self) -> PathBuf {
        self.path("control")
    }

    /// What `mdev-user info` has about the device.
    pub fn info(&self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
        let output = command.args(["info", "--json", "-c"]).arg(self.control()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let info: Value = serde_json::from_slice(&output.stdout).unwrap();
        info["devices"][0].clone()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A path for something of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A guest with the device. `-device` is all that it takes: no option of QEMU's is about memory.
    pub fn guest(&self) -> Builder {
        self.guest_with(&Tools::prepare().unwrap())
    }

    /// The same, with these tools.
    pub fn guest_with(&self, tools: &Tools) -> Builder {
        Guest::builder(tools).device(&vfio_user_device(&self.socket()))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Waits until the log has `text` so many times.
    pub fn wait_for_log(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log().matches(text).count() < times {
            assert!(Instant::now() < deadline, "{text:?} is not {times} times in the log");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the program, which must have liked all that its clients sent.
    pub fn end(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "mdev-user ended with {status}");
        assert!(!self.socket().exists(), "the socket is left behind");
        let log = self.log();
        for unwanted in [REFUSED, " WARN ", " ERROR ", "panicked"] {
            assert!(!log.contains(unwanted), "{unwanted:?} is in the log");
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("mdev-user's log:\n{}", self.log());
        }
        // Both fail if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
