//! A server that need not end well, and what the kernel says of its threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::managed::{program, soon};

/// A running `mdev-user serve`, killed when it is dropped.
pub struct Server {
    pub child: Child,
    _stdout: BufReader<ChildStdout>,
    directory: tempfile::TempDir,
}

impl Server {
    /// With these arguments, in which `DIR` is a directory of the test's own.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_by(program(), arguments)
    }

    /// The same by this command.
    #[track_caller]
    pub fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_str().unwrap();
        command.args(["serve", "--socket-path"]).arg(directory.path().join("device.sock"));
        command.args(arguments.iter().map(|it| it.replace("DIR", place)));
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let server = Self { child, _stdout: stdout, directory };
        assert!(ready.contains(" is ready on "), "{ready:?} {}", server.log());
        server
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// What `info` says of the sandbox. The control socket is `DIR/control`.
    #[track_caller]
    pub fn sandbox(&self) -> Value {
        let output = program().args(["info", "--json", "-c"]).arg(self.path("control")).output();
        let info: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        info["sandbox"].clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `NoNewPrivs` and `Seccomp` of each thread of a process, by the thread's name.
pub fn threads(pid: u32) -> BTreeMap<(String, String), [String; 2]> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |path: PathBuf| fs::read_to_string(path.join("status")).ok();
    let texts = tasks.filter_map(|task| status(task.unwrap().path()));
    texts.map(|text| ((field(&text, "Name"), field(&text, "Pid")), given_up(&text))).collect()
}

/// `NoNewPrivs` and `Seccomp` in the text of a `status`.
pub fn given_up(status: &str) -> [String; 2] {
    ["NoNewPrivs", "Seccomp"].map(|name| field(status, name))
}

fn field(status: &str, name: &str) -> String {
    let mut lines = status.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name}: {status}")).trim().to_owned()
}

/// Waits until a process has so many threads of a name.
#[track_caller]
pub fn has_threads(pid: u32, name: &str, count: usize) {
    soon(name, || threads(pid).keys().filter(|(it, _)| it == name).count() >= count);
}
