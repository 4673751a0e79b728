//! The built program, serving one device on a socket in a directory of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running `mdev-user serve`. Dropping it sends SIGTERM and asserts that it ends well: status 0, socket removed.
pub struct Program {
    directory: tempfile::TempDir,
    child: Child,
    /// Held open, so that the program never writes into a closed pipe.
    stdout: BufReader<ChildStdout>,
    /// The first line that it printed.
    pub ready: String,
    ended: bool,
}

impl Program {
    /// Serves a device of this type, and returns when it is ready for clients.
    #[track_caller]
    pub fn serve(kind: &str) -> Self {
        Self::serve_with(kind, &[])
    }

    /// The same with more arguments.
    #[track_caller]
    pub fn serve_with(kind: &str, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mdev-user"))
            .args(["--log-level", "warn", "serve", kind, "--socket-path"])
            .arg(directory.path().join("device.sock"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let program = Self { directory, child, stdout, ready, ended: false };
        assert!(program.ready.contains(" is ready on "), "first line: {:?}", program.ready);
        program
    }

    /// Where its socket is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("device.sock")
    }

    /// The directory of the socket, for a test's own files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits at most 10 s for it to end by itself; after this, dropping asserts nothing more.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.ended = true;
                return status;
            }
            assert!(Instant::now() < deadline, "the program does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return;
        }
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "exit status after SIGTERM");
        assert!(!self.path().exists(), "the socket is left behind");
    }
}
