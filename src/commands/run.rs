//! `mdev-user run`: QEMU and its devices, in one command.

use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::{fs, thread};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process, waitid};
use rustix::termios::tcgetpgrp;
use tempfile::TempDir;
use vfio_user_server::{Endpoint, EventLoop, Listener, qemu_device};

use super::{announce, places};
use crate::activation::{self, Sockets};
use crate::cli;
use crate::control::{Bound, Devices, Known};
use crate::device_spec::DeviceSpec;
use crate::errors::{complain, plain};
use crate::manage::{Allowed, Definition};
use crate::notify::{self, Notify};
use crate::parents::{Created, Parents};
use crate::peers::Gate;
use crate::sandbox::Sandbox;
use crate::signals::{self, Ending};

pub fn run(options: cli::Run) -> Result<ExitCode, Box<dyn Error>> {
    // Before anything here is opened, which might get the number of one of them.
    let handed_control = handed_control(&options)?;
    let allowed = Allowed::new(&options.allow_path.directories)?;
    let can_change = handed_control.is_some() || options.control.control_path.is_some();
    let mut sandbox = Sandbox::new(options.sandbox);
    sandbox.add_devices(&options.devices, can_change.then_some(&allowed));
    sandbox.check()?;
    // Files that they are made of may be waited for: until those are there, signals have their usual effect.
    let devices = create_all(&options.devices)?;
    let ending = Ending::new()?;
    let mut event_loop = EventLoop::new(options.polling.most())?;
    let path = options.control.control_path.as_deref();
    let control = Bound::new(path, handed_control, Gate::new(None))?;
    path.into_iter().for_each(|path| sandbox.files.add_socket(path));
    let directory = private_directory()?;
    sandbox.files.add_temporary(directory.path());
    sandbox.files.add_terminal();
    let mut command = command(&options)?;
    let (mut endpoints, mut known) = (Vec::new(), Vec::new());
    for (number, (spec, Created { device, ports })) in
        options.devices.iter().zip(devices).enumerate()
    {
        let socket = directory.path().join(format!("{number}-{}.sock", spec.kind));
        let argument = qemu_device(&socket).ok_or_else(|| {
            format!("{}: QEMU can only be told paths that are UTF-8", socket.display())
        })?;
        let label = device.object().to_string();
        let endpoint = Endpoint::new(device, Listener::bind(&socket)?);
        let id = event_loop.add(endpoint.with_faults(options.faults.list.clone()))?;
        endpoints.push(id);
        let places = places(&label, &ports);
        if !places.is_empty() {
            announce(places, true)?;
        }
        let this = Known::new(&event_loop, id, Some(socket), ports);
        known.extend(this.map(|this| this.made_of(Some(Definition::of(spec.clone())))));
        command.arg("-device").arg(argument);
    }

    let allowed = sandbox.is_on().then(|| allowed.and(&options.devices));
    let devices = Arc::new(Devices::new(known).within(allowed));
    // It is in no sandbox of ours: what it says to a socket waits there until this program is in it.
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(cannot_run(command.get_program(), &error)),
    };
    let begin = || {
        sandbox.enter(Some(child.id()))?;
        Ok(control.map(|control| control.answer(Arc::clone(&devices))).transpose()?)
    };
    let begun: Result<_, Box<dyn Error>> = begin();
    if begun.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let control = begun?;
    let notify = Notify::from_environment();
    let status = wait_in_background(child, ending, &event_loop)?;
    notify.ready(&format!("{} runs", options.command.join(OsStr::new(" ")).display()));
    event_loop.run(|id, event| devices.tell_of(id, event))?;
    notify.stopping();
    drop(control);
    for id in endpoints {
        if let Some(endpoint) = event_loop.remove(id) {
            endpoint.shut_down();
        }
    }
    Ok(exit_code(status.recv()??))
}

/// The control socket, if it was handed over. Those of the devices are made here.
fn handed_control(options: &cli::Run) -> Result<Option<UnixListener>, String> {
    let mut sockets = Sockets::take(&[])?;
    let control = sockets.control(true, options.control.control_path.is_some())?;
    sockets.finish("control, or no name; `run` makes those of its devices itself")?;
    Ok(control)
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

fn command(options: &cli::Run) -> Result<Command, Box<dyn Error>> {
    let (program, arguments) =
        options.command.split_first().ok_or("a command is needed after --")?;
    let mut command = Command::new(program);
    command.args(arguments);
    // These were for this process.
    activation::VARIABLES.iter().chain([&notify::VARIABLE]).for_each(|it| {
        command.env_remove(it);
    });
    if options.devices.iter().any(DeviceSpec::uses_stdio) {
        // Two who read one terminal each get half of what is typed, and output is a guest's.
        command.stdin(Stdio::null()).stdout(another_stderr()?);
    }
    Ok(command)
}

/// Standard error for another. A terminal is opened anew: QEMU makes what it writes to not wait, which all would feel
/// who share it, and a shell even after QEMU was killed.
fn another_stderr() -> io::Result<Stdio> {
    let stderr = io::stderr();
    if stderr.is_terminal() {
        let mut options = fs::OpenOptions::new();
        options.write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed());
        if let Ok(terminal) = options.open("/proc/self/fd/2") {
            return Ok(terminal.into());
        }
    }
    Ok(stderr.as_fd().try_clone_to_owned()?.into())
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

/// The child until it has been waited for: then its number can come to mean another process.
type Running = Arc<Mutex<Option<Child>>>;

/// Ends the loop when the child has ended, and passes on what the child is to hear. On failure the child is ended.
fn wait_in_background(
    child: Child,
    ending: Ending,
    event_loop: &EventLoop,
) -> io::Result<mpsc::Receiver<io::Result<ExitStatus>>> {
    let (sender, status) = mpsc::channel();
    let pid = Pid::from_child(&child);
    let running: Running = Arc::new(Mutex::new(Some(child)));
    let (told, waited) = (Arc::clone(&running), Arc::clone(&running));
    let handle = event_loop.handle();
    let wait = move || {
        // Its number stays its own meanwhile, and those who want to tell it something need not wait.
        let end = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), end), Err(Errno::INTR)) {}
        let child = waited.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            let _ = sender.send(child.wait());
            handle.stop();
            super::give_up_later();
        }
    };
    let watched = ending
        .each(move |signal| pass_on(signal, &told))
        .and_then(|()| thread::Builder::new().name("wait".into()).spawn(wait));
    if let Err(error) = watched {
        if let Some(mut child) = running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        return Err(error);
    }
    Ok(status)
}

fn pass_on(signal: i32, running: &Running) {
    let name = signals::name(signal);
    let signal = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
    if signal != Signal::TERM && is_foreground() {
        log::debug!("{name}: the terminal has sent it to the command as well");
        return;
    }
    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let told = running.as_ref().map(|child| kill_process(Pid::from_child(child), signal));
    match told {
        Some(Ok(())) => log::debug!("{name}: passed on to the command"),
        Some(Err(error)) => log::debug!("{name}: the command cannot be told: {error}"),
        None => log::debug!("{name}: the command has ended"),
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
