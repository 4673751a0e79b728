//! A running `mdev-user serve`, or `manage`.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::interrupt;
use crate::report::{Result, show};

const SOCKET: &str = "device.sock";
const CONTROL: &str = "control";
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one device on a socket in a directory of its own, or manages many. Dropping it kills it.
pub struct Server {
    process: Child,
    directory: TempDir,
}

impl Server {
    /// Starts it and waits for its socket.
    ///
    /// `device` is the type, and options if any.
    pub fn start(program: &Path, device: &[&str]) -> Result<Self> {
        Self::start_in(directory()?, program, device)
    }

    /// The same with a control socket.
    pub fn start_with_control(program: &Path, device: &[&str]) -> Result<Self> {
        let directory = directory()?;
        let control = directory.path().join(CONTROL).display().to_string();
        Self::start_in(directory, program, &[device, &["--control-path", &control]].concat())
    }

    /// Starts a manager, and waits until it can be asked: by its control socket. Its run directory is in memory, as those
    /// of users are, so that it is no disk that is measured.
    pub fn manage(program: &Path, arguments: &[&str]) -> Result<Self> {
        let directory = match tempfile::Builder::new().prefix("mdev-user-").tempdir_in("/dev/shm") {
            Ok(directory) => directory,
            Err(_) => directory()?,
        };
        let mut command = Command::new(program);
        command.args(["--log-level", "warn", "manage", "--run-dir"]).arg(directory.path());
        command.args(arguments).stdout(Stdio::null());
        let socket = directory.path().join(CONTROL);
        Self::launch(directory, command, &socket)
    }

    /// Starts one of the servers that ours is measured beside, or a small one of ours. To be dropped, as it does not stop
    /// by itself.
    pub fn peer(program: &Path, arguments: &[&str]) -> Result<Self> {
        let directory = directory()?;
        let socket = directory.path().join(SOCKET);
        let mut command = Command::new(program);
        command.args(arguments).arg(&socket);
        Self::launch(directory, command, &socket)
    }

    fn start_in(directory: TempDir, program: &Path, device: &[&str]) -> Result<Self> {
        let socket = directory.path().join(SOCKET);
        let mut command = Command::new(program);
        command.arg("serve").args(device).arg("--socket-path").arg(&socket);
        Self::launch(directory, command, &socket)
    }

    fn launch(directory: TempDir, mut command: Command, socket: &Path) -> Result<Self> {
        show(&command);
        let process = command.spawn()?;
        interrupt::list(Pid::from_child(&process), directory.path());
        let mut server = Self { process, directory };
        let deadline = Instant::now() + PATIENCE;
        while !socket.metadata().is_ok_and(|file| file.file_type().is_socket()) {
            if let Some(status) = server.process.try_wait()? {
                return Err(format!(
                    "the server ended ({status}) before it served {}",
                    socket.display()
                )
                .into());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "the server made no socket {} in {PATIENCE:?}",
                    socket.display()
                )
                .into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// Where it takes verbs, if it does.
    pub fn control(&self) -> PathBuf {
        self.directory.path().join(CONTROL)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Asks it to end, which it must do by itself and with success.
    pub fn stop(mut self) -> Result {
        interrupt::forget(Pid::from_child(&self.process));
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(format!("mdev-user ended with {status} after SIGTERM").into());
                }
                None if Instant::now() > deadline => {
                    return Err(
                        format!("mdev-user did not end within {PATIENCE:?} of SIGTERM").into()
                    );
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        interrupt::forget(Pid::from_child(&self.process));
        // Both fail only when it has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn directory() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("mdev-user-demo-").tempdir()?)
}
