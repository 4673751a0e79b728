//! The control socket, and the commands that look at pictures through it.

mod control;
mod files;
mod info;
mod memory;
mod modes;
mod patience;
mod screenshot;
mod server;
mod wait;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::Program;
use crate::vfio::Client;
use crate::{PATIENCE, Said, mdev_user, say};

/// A served display, whose client has its memory.
struct Display {
    /// The client goes before the server.
    client: Client,
    memory: File,
    width: u32,
    program: Program,
    directory: TempDir,
}

impl Display {
    /// An `mdpy-vga`: 640 x 480, rows without padding, from the beginning of BAR 0.
    fn vga() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = serve("mdpy-vga", &directory);
        let mut client = Client::negotiated(&program.path());
        let memory = client.region_info(0, 4096).ok().fds.remove(0).into();
        Self { client, memory, width: 640, program, directory }
    }

    fn control(&self) -> PathBuf {
        control(&self.directory)
    }

    /// A path for a test's own file.
    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Fills a rectangle, as x, y, width, height, with a colour, 0xRRGGBB.
    fn fill(&self, [x, y, width, height]: [u32; 4], colour: u32) {
        let row = colour.to_le_bytes().repeat(width as usize);
        for y in y..y + height {
            let offset = u64::from((y * self.width + x) * 4);
            self.memory.write_all_at(&row, offset).unwrap();
        }
    }

    /// Makes all of it black.
    fn clear(&self) {
        self.fill([0, 0, 640, 480], 0);
    }

    /// Runs a command that asks the control socket.
    #[track_caller]
    fn ask(&self, verb: &str, arguments: &[&str]) -> Said {
        say(asking(verb, &self.control()).args(arguments))
    }
}

fn control(directory: &TempDir) -> PathBuf {
    directory.path().join("control")
}

/// Serves a device, with a control socket in `directory`.
fn serve(kind: &str, directory: &TempDir) -> Program {
    Program::serve_with(kind, &["--control-path", control(directory).to_str().unwrap()])
}

/// A command that asks a control socket.
fn asking(verb: &str, control: &Path) -> std::process::Command {
    let mut command = mdev_user(&[verb, "-c"]);
    command.arg(control);
    command
}

/// A client of a control socket that says what it is told to.
struct Line(BufReader<UnixStream>);

impl Line {
    fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(socket))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The same to a server that may have closed the connection already: there were too many.
    fn send_if_open(&mut self, bytes: &[u8]) {
        if let Err(error) = self.0.get_mut().write_all(bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
        }
    }

    /// The next answer; `None` at the end.
    #[track_caller]
    fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    #[track_caller]
    fn ask(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n").as_bytes());
        self.answer().expect("an answer")
    }

    /// The error number's name and the words of a refusal.
    #[track_caller]
    fn refused(&mut self, line: &str) -> (String, String) {
        error(&self.ask(line))
    }
}

#[track_caller]
fn error(answer: &Value) -> (String, String) {
    assert!(answer.get("ok").is_none(), "{answer}");
    let text = |member: &str| answer["error"][member].as_str().unwrap().to_owned();
    (text("errno"), text("message"))
}

/// Has `draw` called with 0, 1, 2 ... every `pause`, while `meanwhile` runs.
fn drawing(pause: Duration, mut draw: impl FnMut(u32) + Send, meanwhile: impl FnOnce()) {
    /// Also if `meanwhile` fails.
    struct Done<'a>(&'a AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            for step in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                draw(step);
                std::thread::sleep(pause);
            }
        });
        meanwhile();
    });
}
