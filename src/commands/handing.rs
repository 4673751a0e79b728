//! Files that a command opens for the server, which need not be allowed to.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use serde_json::{Map, Value};

use crate::control::client::{Client, Deadline, Error};
use crate::errors::plain;
use crate::monitor;

/// The file that one of these options names, opened with the rights of who runs the command. What it is, is the server's to
/// see.
///
/// # Errors
/// A sentence that names it.
pub fn open<'a>(
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Option<File>, String> {
    let path = options.into_iter().find_map(|(option, value)| monitor::file(option, value));
    let Some(path) = path else { return Ok(None) };
    // A FIFO waits for nobody then, and a terminal does not become ours.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(&path);
    file.map(Some).map_err(|error| {
        format!("cannot read the EDID in {}: {}; name another file", path.display(), plain(&error))
    })
}

/// Asks, and hands over the file.
pub fn ask(
    client: &mut Client,
    verb: &str,
    device: Option<&str>,
    mut members: Map<String, Value>,
    file: Option<File>,
    deadline: Deadline,
) -> Result<Value, Error> {
    members.extend(file.is_some().then(|| ("fd".to_owned(), monitor::EDID.into())));
    let fd = file.as_ref().map(AsFd::as_fd);
    Ok(client.hand(verb, device, members, fd, deadline)?.value)
}
