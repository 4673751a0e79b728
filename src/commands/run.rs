//! `mdev-user run`: QEMU and its devices, in one command.

use std::error::Error;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc;
use std::{io, thread};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGTERM;
use vfio_user_server::{Endpoint, EventLoop, Listener};

use super::device_argument;
use crate::parents::Parents;
use crate::{cli, signals};

pub fn run(options: cli::Run) -> Result<ExitCode, Box<dyn Error>> {
    let parents = Parents::new();
    let mut event_loop = EventLoop::new(options.polling.most())?;
    let directory = private_directory()?;
    let mut command = command(&options)?;
    let mut endpoints = Vec::new();
    for (number, kind) in options.kinds.iter().enumerate() {
        let socket = directory.path().join(format!("{number}-{kind}.sock"));
        let endpoint = Endpoint::new(parents.create(kind)?, Listener::bind(&socket)?);
        endpoints.push(event_loop.add(endpoint)?);
        command.arg("-device").arg(device_argument(&socket));
    }

    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("mdev-user: cannot run {}: {error}", command.get_program().display());
            return Ok(ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            }));
        }
    };
    let status = wait_in_background(child, &event_loop)?;
    event_loop.run(|_, _| ())?;
    for id in endpoints {
        if let Some(endpoint) = event_loop.remove(id) {
            endpoint.shut_down();
        }
    }
    Ok(exit_code(status.recv()??))
}

/// A directory that nobody else can look into, gone at the end.
fn private_directory() -> io::Result<tempfile::TempDir> {
    let builder = || tempfile::Builder::new().prefix("mdev-user-").to_owned();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => builder().tempdir_in(runtime),
        None => builder().tempdir(),
    }
}

fn command(options: &cli::Run) -> Result<Command, &'static str> {
    let (program, arguments) =
        options.command.split_first().ok_or("a command is needed after --")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Ends the loop when the child has ended, and passes on what the child is to hear.
fn wait_in_background(
    mut child: Child,
    event_loop: &EventLoop,
) -> io::Result<mpsc::Receiver<io::Result<ExitStatus>>> {
    let pid = Pid::from_child(&child);
    signals::on_end(move |signal| {
        // The terminal has sent SIGINT and SIGHUP to the child as well; SIGTERM was for us alone.
        if signal == SIGTERM {
            let _ = kill_process(pid, Signal::TERM);
        }
    })?;
    let (sender, status) = mpsc::channel();
    let handle = event_loop.handle();
    thread::Builder::new().name("wait".into()).spawn(move || {
        let _ = sender.send(child.wait());
        handle.stop();
    })?;
    Ok(status)
}

/// The child's status as this program's, as a shell has it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
