//! A whole program around one device.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use serde_json::json;
use signal_hook::iterator::Signals;
use thiserror::Error;
use vfio_device::{Device, Errno, Init, Made, Vfio};

use crate::{DEFAULT_POLL, Endpoint, Event, EventLoop, ListenError, Listener, signals};

/// Why a device cannot be served, or not any more.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket cannot be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refused what serving takes: descriptors, a thread.
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
    /// The device panicked. What it said is on standard error.
    #[error("the device panicked")]
    Faulted,
}

/// The `main` of a program that serves one device, on the socket that its one argument names.
///
/// It makes the device with `init` ([`Vfio::alloc`]), registers it, prints the `-device` argument for QEMU, and serves
/// one client after the other until SIGINT, SIGTERM or SIGHUP. The device is released and the socket removed then. Exit
/// status 0 after a signal, 2 for a command line that is not `PROGRAM SOCKET`, 1 for any other failure; standard error
/// has the reason. `--help` and `-h` tell the usage; anything else that begins with `-` is no socket (`./-` is one).
/// Warnings and errors of the log go to standard error too, unless the program has a logger of its own.
///
/// ```no_run
/// use std::process::ExitCode;
/// use vfio_device::{BarKind, Context, Description, Region, VfioDevice};
///
/// /// Four bytes of I/O ports that read as 0x2a.
/// struct Answer;
///
/// impl VfioDevice for Answer {
///     fn region_read(&mut self, _: u32, _: u64, data: &mut [u8], _: &mut Context) {
///         data.fill(0x2a);
///     }
///     fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
///     fn reset(&mut self, _: &mut Context) {}
/// }
///
/// fn main() -> ExitCode {
///     let what = Description::pci(0x1234, 0x5678).bar(0, BarKind::Io, Region::trapped(4));
///     vfio_user_server::main(|_init| Ok((what, Box::new(Answer))))
/// }
/// ```
pub fn main(init: impl FnOnce(&mut Init<'_>) -> Result<Made, Errno>) -> ExitCode {
    log_to_stderr();
    let mut arguments = std::env::args_os();
    let program = arguments.next().map(PathBuf::from).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments: Vec<OsString> = arguments.collect();
    let usage = format!("usage: {name} SOCKET, the path at which to make the socket");
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        // `println!` would panic if nobody listens.
        let _ = writeln!(io::stdout(), "{usage}");
        return ExitCode::SUCCESS;
    }
    let [socket] = arguments.as_slice() else { return fail(2, &usage) };
    if socket.as_encoded_bytes().starts_with(b"-") {
        return fail(2, &usage);
    }
    let made = Vfio::new().alloc(init).and_then(|mut device| {
        device.register()?;
        Ok(device)
    });
    let device = match made {
        Ok(device) => device,
        Err(error) => return fail(1, &format!("{name}: {error}")),
    };
    match serve(device, Path::new(socket)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("{name}: {error}")),
    }
}

/// Serves a registered device at `socket` until SIGINT, SIGTERM or SIGHUP, and prints the `-device` argument for QEMU when
/// clients can come. Those that the program was started to ignore (`nohup`, a shell's `&`) stay ignored. The others are
/// not what they were before, also after the return.
///
/// # Errors
/// [`ServeError`] says why; no socket is left behind.
pub fn serve(device: Device, socket: &Path) -> Result<(), ServeError> {
    // First of all: from here on no signal leaves a socket behind.
    let mut signals = Signals::new(signals::ending())?;
    let listener = Listener::bind(socket)?;
    let mut event_loop = EventLoop::new(DEFAULT_POLL)?;
    let id = event_loop.add(Endpoint::new(device, listener))?;
    let (handle, stop) = (event_loop.handle(), event_loop.handle());
    let heard = signals.handle();
    let listening = thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(|_| stop.stop()))?;
    announce(socket);

    let mut outcome = Ok(());
    let ran = event_loop.run(|_, event| {
        if event == Event::Faulted {
            outcome = Err(ServeError::Faulted);
            handle.stop();
        }
    });
    if let Some(endpoint) = event_loop.remove(id) {
        endpoint.shut_down();
    }
    heard.close();
    // A panic there has been reported by itself.
    let _ = listening.join();
    ran?;
    outcome
}

/// The value of QEMU's `-device` option for the device at `socket`; `None` if the path is not UTF-8, as JSON is.
pub fn qemu_device(socket: &Path) -> Option<String> {
    // QEMU may run somewhere else.
    let path = std::path::absolute(socket).unwrap_or_else(|_| socket.into());
    let path = path.to_str()?;
    Some(
        json!({ "driver": "vfio-user-pci", "socket": { "type": "unix", "path": path } })
            .to_string(),
    )
}

fn announce(socket: &Path) {
    let shown = socket.display();
    let argument = match qemu_device(socket) {
        Some(device) => format!("-device '{}'", device.replace('\'', r"'\''")),
        None => "(QEMU can only be told paths that are UTF-8)".into(),
    };
    // Whether anybody reads it is the same.
    let _ = writeln!(io::stdout(), "ready on {shown}; the argument for QEMU:\n{argument}");
}

fn fail(status: u8, why: &str) -> ExitCode {
    // `eprintln!` would panic if nobody listens.
    let _ = writeln!(io::stderr(), "{why}");
    status.into()
}

/// Without a log an author would not hear what the server has to say against a device.
fn log_to_stderr() {
    static LOGGER: Stderr = Stderr;
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = if record.level() == log::Level::Error { "error" } else { "warning" };
            let _ = writeln!(io::stderr(), "{level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_device_argument_is_json_whatever_the_path_holds() {
        let argument = qemu_device(Path::new("/tmp/a \"b\" \\ c")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&argument).unwrap();
        assert_eq!(value["driver"], "vfio-user-pci");
        assert_eq!(value["socket"]["path"], "/tmp/a \"b\" \\ c");
    }

    #[test]
    fn a_relative_path_becomes_absolute() {
        let value: serde_json::Value =
            serde_json::from_str(&qemu_device(Path::new("x.sock")).unwrap()).unwrap();
        let expected = std::env::current_dir().unwrap().join("x.sock");
        assert_eq!(value["socket"]["path"], expected.to_str().unwrap());
    }

    #[test]
    fn a_path_that_is_not_utf_8_has_no_argument() {
        assert_eq!(qemu_device(Path::new(OsStr::from_bytes(b"/tmp/\xff"))), None);
    }
}
