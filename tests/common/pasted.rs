//! docs/manage.md, pasted into terminals.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::managed::PATIENCE;

/// The heading of the section on devices that come and go while a guest runs.
pub const RUNNING_GUEST: &str = "## In a running guest\n";
/// What a terminal prints when all that was pasted is done.
const DONE: &str = "--- done";

/// docs/manage.md from this heading on to the next one; from its beginning to its end without one.
pub fn section(heading: &str) -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manage.md")).unwrap();
    if heading.is_empty() {
        return text;
    }
    let (_, rest) = text.split_once(heading).expect(heading);
    format!("{heading}{}", rest.split("\n## ").next().unwrap())
}

/// What is to be pasted, and into which terminal: "first", say, behind `sh`.
#[derive(Clone, Debug)]
pub struct Block {
    pub terminal: String,
    pub lines: String,
}

/// The blocks of a text that are to be pasted.
pub fn blocks(text: &str) -> Vec<Block> {
    let blocks = text.split("\n```sh ").skip(1).map(|block| {
        let (terminal, rest) = block.split_once('\n').unwrap();
        Block { terminal: terminal.into(), lines: rest.split("\n```").next().unwrap().into() }
    });
    blocks.collect()
}

/// Somebody who reads the page, and has `mdev-user`, and a QEMU that only shows what it is given. Terminals are opened
/// as the page speaks of them, and what is said in one is not known in another.
pub struct Reader {
    directory: tempfile::TempDir,
    has_runtime_dir: bool,
    terminals: BTreeMap<String, Terminal>,
}

/// A shell.
struct Terminal {
    shell: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Reader {
    /// With `XDG_RUNTIME_DIR`, as who has logged in, or without, as root often.
    pub fn new(has_runtime_dir: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let programs = directory.path().join("bin");
        for name in ["bin", "home", "runtime"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_mdev-user"), programs.join("mdev-user")).unwrap();
        // Made by a process of its own: while a file is open for writing, in whatever process, it cannot be run.
        let script = r#"printf '%s\n' '#!/bin/sh' 'printf "%s\n" "$@"' > "$0"; chmod +x "$0""#;
        let qemu = programs.join("qemu-system-x86_64");
        assert!(Command::new("/bin/sh").args(["-c", script]).arg(qemu).status().unwrap().success());
        Self { directory, has_runtime_dir, terminals: BTreeMap::new() }
    }

    /// A path below the run directory that the page chooses.
    pub fn path(&self, name: &str) -> PathBuf {
        let place = if self.has_runtime_dir { "runtime/mdev" } else { "home/mdev" };
        self.directory.path().join(place).join(name)
    }

    /// `available_instances` of a type.
    pub fn available(&self, kind: &str) -> u32 {
        let name = format!("mdev_supported_types/{kind}/available_instances");
        fs::read_to_string(self.path(&name)).unwrap().trim_end().parse().unwrap()
    }

    /// Pastes a block.
    pub fn begin(&mut self, block: &Block) {
        let (directory, has_runtime_dir) = (self.directory.path(), self.has_runtime_dir);
        let open = || Terminal::open(directory, has_runtime_dir);
        let terminal = self.terminals.entry(block.terminal.clone()).or_insert_with(open);
        writeln!(terminal.input, "{}\necho '{DONE}'", block.lines).unwrap();
    }

    /// Waits until what was pasted is done, and returns what the terminal shows since then.
    #[track_caller]
    pub fn end(&mut self, block: &Block) -> String {
        let mut shown = String::new();
        loop {
            match self.terminals[&block.terminal].output.recv_timeout(PATIENCE) {
                Ok(line) if line == DONE => return shown,
                Ok(line) => shown += &(line + "\n"),
                Err(error) => panic!("{error}: {block:?}: {shown}"),
            }
        }
    }

    #[track_caller]
    pub fn paste(&mut self, block: &Block) -> String {
        self.begin(block);
        self.end(block)
    }

    /// Pastes a block that holds its terminal, and waits until the manager has begun.
    #[track_caller]
    pub fn start(&mut self, block: &Block) {
        self.begin(block);
        let ready = format!("mdev-user: manager is ready on {}", self.path("control").display());
        let output = &self.terminals[&block.terminal].output;
        while output.recv_timeout(PATIENCE).unwrap() != ready {}
    }

    /// Ends the manager as Ctrl-C does, which a test that runs in the background cannot say. It has printed nothing that
    /// is wrong.
    #[track_caller]
    pub fn interrupt(&mut self, block: &Block) {
        let lock = fs::read_to_string(self.path("lock")).unwrap();
        let pid = lock.trim_end().strip_prefix("mdev-user manager ").unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        let log = self.end(block);
        assert!(!log.contains(" ERROR ") && !log.contains("panicked"), "{log}");
        assert!(!self.path("").exists(), "{log}");
    }
}

impl Terminal {
    fn open(directory: &Path, has_runtime_dir: bool) -> Self {
        let (output, shown) = std::io::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        // It ends where something fails.
        command.arg("-e").env_clear().current_dir(directory.join("home")).process_group(0);
        command.env("PATH", format!("{}:/usr/bin:/bin", directory.join("bin").display()));
        command.env("HOME", directory.join("home"));
        command.envs(has_runtime_dir.then(|| ("XDG_RUNTIME_DIR", directory.join("runtime"))));
        command.stdin(Stdio::piped()).stdout(shown.try_clone().unwrap()).stderr(shown);
        let mut shell = command.spawn().unwrap();
        let (sender, receiver) = channel();
        let lines = BufReader::new(output).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { input: shell.stdin.take().unwrap(), shell, output: receiver }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.shell), Signal::KILL);
        let _ = self.shell.wait();
    }
}
