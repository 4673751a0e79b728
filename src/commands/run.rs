//! `mdev-user run`: QEMU and its devices, in one command.

use std::error::Error;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::{Arc, mpsc};
use std::{fs, io, thread};

use rustix::process::{Pid, PidfdFlags, Signal, getpgrp, pidfd_open, pidfd_send_signal};
use rustix::termios::tcgetpgrp;
use tempfile::TempDir;
use vfio_user_server::{Endpoint, EventLoop, Listener, qemu_device};

use crate::cli;
use crate::control::{Bound, Devices, Known};
use crate::device_spec::DeviceSpec;
use crate::errors::{complain, plain};
use crate::parents::{Created, Parents};
use crate::signals::{self, Ending};

pub fn run(options: cli::Run) -> Result<ExitCode, Box<dyn Error>> {
    // Files that they are made of may be waited for: until those are there, signals have their usual effect.
    let devices = create_all(&options.devices)?;
    let ending = Ending::new()?;
    let mut event_loop = EventLoop::new(options.polling.most())?;
    let control = Bound::new(options.control.control_path.as_deref())?;
    let directory = private_directory()?;
    let mut command = command(&options)?;
    let (mut endpoints, mut known) = (Vec::new(), Vec::new());
    for (number, (spec, Created { device, ports })) in
        options.devices.iter().zip(devices).enumerate()
    {
        let socket = directory.path().join(format!("{number}-{}.sock", spec.kind));
        let argument = qemu_device(&socket).ok_or_else(|| {
            format!("{}: QEMU can only be told paths that are UTF-8", socket.display())
        })?;
        let endpoint = Endpoint::new(device, Listener::bind(&socket)?);
        let id = event_loop.add(endpoint.with_faults(options.faults.list.clone()))?;
        endpoints.push(id);
        known.extend(Known::new(&event_loop, id, Some(socket), ports));
        command.arg("-device").arg(argument);
    }

    let devices = Arc::new(Devices::new(known));
    let answered = Arc::clone(&devices);
    let control = control.map(|control| control.answer(answered)).transpose()?;
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(cannot_run(command.get_program(), &error)),
    };
    let status = wait_in_background(child, ending, &event_loop)?;
    event_loop.run(|id, event| devices.tell_of(id, event))?;
    drop(control);
    for id in endpoints {
        if let Some(endpoint) = event_loop.remove(id) {
            endpoint.shut_down();
        }
    }
    Ok(exit_code(status.recv()??))
}

fn create_all(specs: &[DeviceSpec]) -> Result<Vec<Created>, String> {
    let (parents, count) = (Parents::new(), specs.len());
    let create = |(number, spec)| {
        parents.create(spec).map_err(|error| format!("device {number} of {count}: {error}"))
    };
    (1..).zip(specs).map(create).collect()
}

/// A directory that nobody else can look into, gone at the end.
fn private_directory() -> Result<TempDir, String> {
    let below = |parent: &Path| {
        let private = fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix("mdev-user-").permissions(private).tempdir_in(parent)
    };
    // Set by a login; it may be of another user, or gone.
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_absolute());
    if let Some(directory) = runtime.and_then(|path| below(&path).ok()) {
        return Ok(directory);
    }
    let parent = std::env::temp_dir();
    below(&parent).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "there is no such directory".into(),
            io::ErrorKind::PermissionDenied => "you may not".into(),
            kind => kind.to_string(),
        };
        let parent = parent.display();
        format!("cannot make a directory for the sockets in {parent}: {why}; set TMPDIR to another")
    })
}

fn command(options: &cli::Run) -> Result<Command, &'static str> {
    let (program, arguments) =
        options.command.split_first().ok_or("a command is needed after --")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Says why, and returns the status that a shell has for it.
fn cannot_run(program: &OsStr, error: &io::Error) -> ExitCode {
    const NOT_FOUND: u8 = 127;
    const NOT_RUN: u8 = 126;

    let absent = "there is no such program; is it installed, and on PATH?".to_owned();
    let (status, why) = match error.kind() {
        io::ErrorKind::NotFound => (NOT_FOUND, absent),
        // A directory on PATH that may not be looked into answers so too.
        io::ErrorKind::PermissionDenied if !exists(program) => (NOT_FOUND, absent),
        io::ErrorKind::PermissionDenied => (NOT_RUN, "it is not an executable file".into()),
        _ => (NOT_RUN, plain(error)),
    };
    complain(format_args!("cannot run {}: {why}", program.display()));
    ExitCode::from(status)
}

/// Whether there is such a file, for a mere name on PATH.
fn exists(program: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    program.as_bytes().contains(&b'/')
        || std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// Ends the loop when the child has ended, and passes on what the child is to hear. On failure the child is ended.
fn wait_in_background(
    mut child: Child,
    ending: Ending,
    event_loop: &EventLoop,
) -> io::Result<mpsc::Receiver<io::Result<ExitStatus>>> {
    let (sender, status) = mpsc::channel();
    let (hand_over, handed_over) = mpsc::channel::<Child>();
    let handle = event_loop.handle();
    let wait = move || {
        if let Ok(mut child) = handed_over.recv() {
            let _ = sender.send(child.wait());
            handle.stop();
            super::give_up_later();
        }
    };
    // Other than a number, a pidfd cannot come to mean another process.
    let watched = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|process| ending.each(move |signal| pass_on(signal, &process)))
        .and_then(|()| thread::Builder::new().name("wait".into()).spawn(wait));
    if let Err(error) = watched {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    // The thread is there, and waits for this.
    let _ = hand_over.send(child);
    Ok(status)
}

fn pass_on(signal: i32, child: &OwnedFd) {
    let name = signals::name(signal);
    let signal = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
    if signal != Signal::TERM && is_foreground() {
        log::debug!("{name}: the terminal has sent it to the command as well");
        return;
    }
    match pidfd_send_signal(child, signal) {
        Ok(()) => log::debug!("{name}: passed on to the command"),
        Err(error) => log::debug!("{name}: the command cannot be told: {error}"),
    }
}

/// Whether the terminal sends its signals to this process, and so to the child.
fn is_foreground() -> bool {
    let terminal = fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// The child's status as this program's, as a shell has it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
