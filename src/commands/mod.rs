//! The commands, a file each.

pub mod capabilities;
pub mod completions;
pub mod create;
pub mod events;
pub mod expect;
pub mod fault;
mod handing;
pub mod info;
pub mod list;
pub mod man;
pub mod manage;
pub mod remove;
pub mod reset;
pub mod run;
pub mod screenshot;
pub mod send;
pub mod serial;
pub mod serve;
pub mod set;
pub mod types;
pub mod wait;

use std::error::Error;
use std::io::{self, Write};
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::errors::{complain, plain};
use crate::serial::Port;

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
/// What `elsewhere` says goes to standard error: standard output is a guest's.
fn announce(text: String, elsewhere: bool) -> io::Result<()> {
    let (done, printed) = mpsc::channel();
    thread::Builder::new().name("announce".into()).spawn(move || {
        let _ = if elsewhere {
            io::stderr().write_all(text.as_bytes())
        } else {
            io::stdout().write_all(text.as_bytes())
        };
        let _ = done.send(());
    })?;
    let _ = printed.recv_timeout(PATIENCE);
    Ok(())
}

/// A line for each port whose peer cannot know where it is.
fn places(label: &str, ports: &[Port]) -> String {
    let place = |(number, port): (usize, &Port)| {
        port.place().map(|place| format!("mdev-user: {label}: port {number} is at {place}\n"))
    };
    ports.iter().enumerate().filter_map(place).collect()
}

const PATIENCE: Duration = Duration::from_millis(200);

/// How long the end may take once it has been asked for.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Ends the program in a while, although its loop does not. To say so may take for ever, and is not waited for.
fn give_up_later() {
    // Without a thread nobody gives up.
    let _ = thread::Builder::new().name("give up".into()).spawn(|| {
        thread::sleep(LAST_PATIENCE);
        let _ = thread::Builder::new().spawn(|| {
            complain(format_args!("no end came within {LAST_PATIENCE:?}; giving up"));
        });
        thread::sleep(Duration::from_millis(200));
        chardev::restore_terminal();
        process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_word_survives_quotes() {
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
