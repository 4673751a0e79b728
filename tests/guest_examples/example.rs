//! An example of this repository, built and running.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Builds the examples, once, and returns where the one is: cargo tells tests about programs, but not about examples.
pub fn executable(name: &str) -> PathBuf {
    static MESSAGES: OnceLock<Vec<Value>> = OnceLock::new();
    let messages = MESSAGES.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--offline", "--package", "mdev-user", "--examples"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the examples do not build");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    });
    let is_it = |message: &&Value| {
        message["target"]["name"] == name && message["target"]["kind"][0] == "example"
    };
    let message = messages.iter().find(is_it).unwrap();
    message["executable"].as_str().unwrap().into()
}

/// A running example. Dropping it kills it.
pub struct Example {
    directory: tempfile::TempDir,
    process: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

impl Example {
    /// Starts it on a socket of its own; it is ready for clients.
    pub fn start(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new(executable(name))
            .arg(directory.path().join("device.sock"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let stderr = process.stderr.take().unwrap();
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        assert!(ready.starts_with("ready on /"), "{ready:?}");
        Self { directory, process, stdout, stderr }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("device.sock")
    }

    /// The argument for QEMU that it told of, as a shell takes it.
    pub fn argument(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let line = line.trim_end();
        line.strip_prefix("-device '").and_then(|it| it.strip_suffix('\'')).unwrap().into()
    }

    /// Ends it by a signal. It has had nothing to complain of, and leaves nothing behind.
    #[track_caller]
    pub fn end(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        let status = self.process.wait().unwrap();
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        assert!(status.success() && said.is_empty(), "{status}: {said}");
        assert_eq!(std::fs::read_dir(self.directory.path()).unwrap().count(), 0, "left behind");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
