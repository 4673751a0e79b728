//! The built program, managing devices in a run directory of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Two UUIDs.
pub const ONE: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
pub const TWO: &str = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002";

/// All types, in the order of `types`.
pub const TYPES: [&str; 8] = [
    "mtty-1",
    "mtty-2",
    "mdpy-vga",
    "mdpy-xga",
    "mdpy-hd",
    "mbochs-small",
    "mbochs-medium",
    "mbochs-large",
];

/// What a command had to say.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Asserts that it went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status.success() && self.err.is_empty(), "{self:?}");
        self.out
    }

    /// Asserts that it was refused in one line, and returns that.
    #[track_caller]
    pub fn refused(self, status: i32) -> String {
        assert_eq!(self.status.code(), Some(status), "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        self.err.trim_end().strip_prefix("mdev-user: ").expect("a complaint").to_owned()
    }
}

/// Waits until `done`.
#[track_caller]
pub fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The program, with nothing of this test's environment that could change what it does.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
    plain(&mut command);
    command
}

fn plain(command: &mut Command) {
    for variable in ["RUST_LOG", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// A shell's script, in which `"$0" "$@"` is the program and its words.
pub fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_mdev-user")]);
    plain(&mut command);
    command
}

/// A process that does not outlive the test, however that ends.
pub struct Launched(Child);

impl Launched {
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Deref for Launched {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Launched {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // Without effect if it was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the end of a command.
#[track_caller]
pub fn end(child: Child) -> Said {
    let mut child = Launched(child);
    let mut status = None;
    soon("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    Said { status: status.unwrap(), out, err }
}

/// A device as `create` has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub uuid: String,
    pub socket: PathBuf,
}

impl Made {
    /// `vfio0`
    pub fn node(&self) -> &str {
        self.socket.file_name().unwrap().to_str().unwrap()
    }
}

/// A running `mdev-user manage`. Dropping it sends SIGTERM and asserts that it ends well: status 0, nothing left.
pub struct Managed {
    // Ends before its directory goes.
    child: Launched,
    directory: tempfile::TempDir,
    /// Held open, so that the program never writes into a closed pipe.
    stdout: BufReader<ChildStdout>,
    ended: bool,
}

impl Managed {
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments, in which `DIR` is a directory of the test's own.
    #[track_caller]
    pub fn start_with(more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), more)
    }

    /// The same in a directory that the test has prepared.
    #[track_caller]
    pub fn start_in(directory: tempfile::TempDir, more: &[&str]) -> Self {
        Self::start_by(program(), directory, more)
    }

    /// The same by a command, which runs the program that its last words say.
    #[track_caller]
    pub fn start_by(command: Command, directory: tempfile::TempDir, more: &[&str]) -> Self {
        let mut child = launch_by(command, directory.path(), more);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let managed = Self { directory, child, stdout, ended: false };
        let control = managed.path("control").canonicalize().unwrap_or_default();
        let expected = format!("mdev-user: manager is ready on {}\n", control.display());
        assert_eq!(ready, expected, "{}", managed.log());
        managed
    }

    /// A directory of the test's own, in which the run directory `run` is, and the log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn run_dir(&self) -> PathBuf {
        self.directory().join("run")
    }

    /// A path in the run directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.run_dir().join(name)
    }

    /// A file in the run directory, without its line end; `None` if there is none.
    pub fn read(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(name)).ok()?;
        Some(text.strip_suffix('\n').expect("a whole line").to_owned())
    }

    /// `available_instances` of a type.
    #[track_caller]
    pub fn available(&self, kind: &str) -> u32 {
        let name = format!("mdev_supported_types/{kind}/available_instances");
        self.read(&name).unwrap().parse().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("log")).unwrap()
    }

    /// Begins a command about this manager.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        let (verb, rest) = arguments.split_first().unwrap();
        let mut command = program();
        command.arg(verb).arg("--run-dir").arg(self.run_dir()).args(rest).spawn().unwrap()
    }

    #[track_caller]
    pub fn say(&self, arguments: &[&str]) -> Said {
        end(self.begin(arguments))
    }

    /// Makes a device.
    #[track_caller]
    pub fn create(&self, arguments: &[&str]) -> Made {
        let out = self.say(&[&["create"], arguments].concat()).ok();
        let (uuid, socket) = out.strip_suffix('\n').unwrap().split_once(' ').unwrap();
        Made { uuid: uuid.into(), socket: socket.into() }
    }

    #[track_caller]
    pub fn remove(&self, made: &Made) {
        assert_eq!(self.say(&["remove", &made.uuid]).ok(), "");
    }

    /// `list --json`.
    #[track_caller]
    pub fn list(&self) -> Value {
        serde_json::from_str(&self.say(&["list", "--json"]).ok()).unwrap()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// How many files the manager has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// KiB of it that are in memory.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Its mappings, one a line.
    pub fn maps(&self) -> String {
        fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap()
    }

    /// How many files it has open, and how many mappings of what devices have: memory objects.
    pub fn held(&self) -> (usize, usize) {
        (self.descriptors(), self.maps().lines().filter(|line| line.contains("memfd:")).count())
    }

    /// The same when nothing moves any more.
    #[track_caller]
    pub fn held_at_rest(&self) -> (usize, usize) {
        let mut before = (0, 0);
        let mut still = 0;
        soon("it is at rest", || {
            let now = self.held();
            still = if now == before { still + 1 } else { 0 };
            before = now;
            still > 200
        });
        before
    }

    /// Kills it, and returns what is left.
    pub fn kill(mut self) -> tempfile::TempDir {
        kill_process(self.pid(), Signal::KILL).unwrap();
        self.child.wait().unwrap();
        self.ended = true;
        // Nothing but the directory is to be kept.
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    /// Ends it by a signal, and waits for that.
    #[track_caller]
    pub fn finish(&mut self, signal: Signal) -> ExitStatus {
        kill_process(self.pid(), signal).unwrap();
        self.ended = true;
        let mut status = None;
        soon("the manager ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

/// Starts a manager, which may refuse.
pub fn launch(directory: &Path, more: &[&str]) -> Launched {
    launch_by(program(), directory, more)
}

/// The same by a command, which runs the program that its last words say.
pub fn launch_by(mut command: Command, directory: &Path, more: &[&str]) -> Launched {
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let more = more.iter().map(|it| it.replace("DIR", directory.to_str().unwrap()));
    command.args(["--log-level", "info", "manage", "--run-dir"]).arg(directory.join("run"));
    Launched(command.args(more).stderr(log).spawn().unwrap())
}

impl Drop for Managed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if !self.ended {
                eprintln!("the manager's log:\n{}", self.log());
            }
            return;
        }
        if !self.ended {
            let status = self.finish(Signal::TERM);
            assert_eq!(status.code(), Some(0), "exit status after SIGTERM: {}", self.log());
            assert!(!self.run_dir().exists(), "the run directory is left behind");
            assert!(!self.log().contains("panicked"), "{}", self.log());
        }
    }
}

#[test]
fn a_test_that_fails_leaves_no_manager() {
    let directory = tempfile::tempdir().unwrap();
    let mut pid = 0;
    let failing = std::panic::AssertUnwindSafe(|| {
        let child = launch(directory.path(), &[]);
        pid = child.id();
        soon("it is there", || directory.path().join("run/control").exists());
        // As a failure does, but for its words.
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(std::panic::catch_unwind(failing).is_err());
    // Waited for, too.
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}
