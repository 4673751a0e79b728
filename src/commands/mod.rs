//! The commands, a file each.

pub mod capabilities;
pub mod completions;
pub mod man;
pub mod run;
pub mod serve;
pub mod types;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::errors::{complain, plain};

/// The value of QEMU's `-device` option for the device at `socket`; `None` if the path is not UTF-8, as JSON is.
fn device_argument(socket: &Path) -> Option<String> {
    // QEMU may run somewhere else.
    let path = std::path::absolute(socket).unwrap_or_else(|_| socket.into());
    let path = path.to_str()?;
    Some(
        json!({ "driver": "vfio-user-pci", "socket": { "type": "unix", "path": path } })
            .to_string(),
    )
}

/// `text` as one word for a POSIX shell.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Prints what a command was asked for. A reader that has heard enough is no failure.
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {}", plain(&error)).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints in passing: a full pipe holds up what follows for a moment only, and whether anybody reads is the same.
fn announce(text: String) -> io::Result<()> {
    let (done, printed) = mpsc::channel();
    thread::Builder::new().name("announce".into()).spawn(move || {
        let _ = io::stdout().write_all(text.as_bytes());
        let _ = done.send(());
    })?;
    let _ = printed.recv_timeout(PATIENCE);
    Ok(())
}

const PATIENCE: Duration = Duration::from_millis(200);

/// How long the end may take once it has been asked for.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Ends the program in a while, although its loop does not. To say so may take for ever, and is not waited for.
fn give_up_later() {
    thread::spawn(|| {
        thread::sleep(LAST_PATIENCE);
        thread::spawn(|| complain(format_args!("no end came within {LAST_PATIENCE:?}; giving up")));
        thread::sleep(Duration::from_millis(200));
        process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_device_argument_is_json_whatever_the_path_holds() {
        let argument = device_argument(Path::new("/tmp/a \"b\" \\ c")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&argument).unwrap();
        assert_eq!(value["driver"], "vfio-user-pci");
        assert_eq!(value["socket"]["path"], "/tmp/a \"b\" \\ c");
    }

    #[test]
    fn a_relative_path_becomes_absolute() {
        let value: serde_json::Value =
            serde_json::from_str(&device_argument(Path::new("x.sock")).unwrap()).unwrap();
        let expected = std::env::current_dir().unwrap().join("x.sock");
        assert_eq!(value["socket"]["path"], expected.to_str().unwrap());
    }

    #[test]
    fn a_path_that_is_not_utf_8_has_no_argument() {
        assert_eq!(device_argument(Path::new(OsStr::from_bytes(b"/tmp/\xff"))), None);
    }

    #[test]
    fn a_shell_word_survives_quotes() {
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
