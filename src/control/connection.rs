//! One client of the control socket, from its first line to its last.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::SendFlags;
use serde_json::{Map, Value};
use vfio_device::Errno;
use vfio_user_server::log_limit::LogLimit;
use vfio_user_server::transport;

use super::clients::Client;
use super::devices::Devices;
use super::events::{Heard, Listening};
use super::lines::{self, Handed, Lines, MAX_LINE};
use super::reply::{self, Answer, Failure};
use super::verbs;

/// How long a client may leave an answer in the socket that is full of others.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers line by line until the client has said all, or has said a line too long.
pub fn serve(client: &Client, devices: &Devices) -> io::Result<()> {
    let stream = &client.stream;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = Lines::of(stream);
    while let Some((line, handed)) = lines.next()? {
        if line.len() > MAX_LINE {
            tell_of(stream, &format!("said a line of more than {MAX_LINE} bytes, and is let go"));
            let why = format!("a line is at most {MAX_LINE} bytes; this ends the connection");
            return send_line(stream, reply::line(None, Err(&Failure::invalid(why))), None);
        }
        if matches!(handed, Handed::Many) {
            tell_of(stream, "sent more descriptors than one with a line; they are closed");
        }
        if !client.begins() {
            return Ok(());
        }
        let (id, result) = answer(&line, handed, stream, devices);
        let text = reply::line(id, result.as_ref().map(|answer| &answer.value));
        let fd = result.as_ref().ok().and_then(|answer| answer.fd.as_ref());
        send_line(stream, text, fd.map(AsFd::as_fd))?;
        if let Some(listening) = result.ok().and_then(|answer| answer.then) {
            return follow(stream, &listening);
        }
        client.rests();
    }
    Ok(())
}

/// Logs what a client does that ends its connection, with a limit: it can come back.
fn tell_of(stream: &UnixStream, what: &str) {
    static LIMIT: LazyLock<Mutex<LogLimit>> = LazyLock::new(Mutex::default);
    let pid = transport::peer(stream).pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let mut limit = LIMIT.lock().unwrap_or_else(PoisonError::into_inner);
    limit.say(log::Level::Info, format_args!("control socket: a client{pid} {what}"));
}

/// A line an event, until the client has left or takes none. What has waited is sent at once: a client that others keep
/// this process busy with has them all the same.
fn follow(stream: &UnixStream, listening: &Listening) -> io::Result<()> {
    while let Heard::Events(lines) = listening.next(stream) {
        send(stream, &lines, None)?;
    }
    Ok(())
}

/// The `id` of a request, and what it is answered with.
fn answer(
    line: &[u8],
    handed: Handed,
    client: &UnixStream,
    devices: &Devices,
) -> (Option<Value>, Result<Answer, Failure>) {
    let mut request: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            let why = format!("a line is a JSON object: {error}");
            return (None, Err(Failure::invalid(why)));
        }
    };
    (request.remove("id"), verbs::run(&request, handed, client.as_fd(), devices))
}

/// Tells one client too many, without waiting for it.
pub fn refuse(stream: &UnixStream, most: usize) {
    let why = format!("{most} connections are open already; try again when one has ended");
    tell(stream, &Failure::new(Errno::AGAIN, why));
}

/// Tells one that has asked nothing for long that another one comes in its place.
pub fn make_room(stream: &UnixStream) {
    tell(stream, &Failure::new(Errno::AGAIN, "others need this connection; connect again"));
}

/// Tells one that may not use this socket, without waiting for it.
pub fn turn_away(stream: &UnixStream, why: &str) {
    tell(stream, &Failure::new(Errno::ACCESS, why));
}

fn tell(stream: &UnixStream, failure: &Failure) {
    let line = reply::line(None, Err(failure)) + "\n";
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let _ = rustix::net::send(stream, line.as_bytes(), flags);
}

fn send_line(stream: &UnixStream, line: String, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    send(stream, &(line + "\n"), fd)
}

/// Sends whole lines, a descriptor with their first byte.
fn send(stream: &UnixStream, lines: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    lines::send(stream, lines.as_bytes(), fd).inspect_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            tell_of(stream, "takes no answers, and is let go");
        }
    })
}
