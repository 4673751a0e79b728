//! `mdev-user expect`: waits for what a guest sends.

use std::error::Error as AnyError;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::serial::{object, shown};
use crate::cli;
use crate::control::client::{Client, Deadline, Error};
use crate::errors::{complain, plain};
use crate::serial::from_text;

/// How long the server waits for one answer. After a command that was interrupted it goes on for so long at most.
const PIECE: Duration = Duration::from_secs(1);
/// From one look for a server that does not listen yet to the next.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of what came instead that are shown.
const SHOWN: usize = 400;

pub fn expect(options: cli::Expect) -> Result<ExitCode, Box<dyn AnyError>> {
    let begun = Instant::now();
    // The server's answer to the last question, too.
    let deadline = Deadline::after(options.timeout + PIECE);
    let mut client = None;
    loop {
        let left = options.timeout.saturating_sub(begun.elapsed());
        let members = json!({
            "port": options.port,
            "regex": options.regex,
            "timeout_ms": u64::try_from(left.min(PIECE).as_millis()).unwrap_or(0),
        });
        let device = options.ask.device.as_deref();
        let path = &options.ask.server.path();
        let connected = client.take().map_or_else(|| Client::connect(path, deadline), Ok);
        let answer = connected.and_then(|mut server| {
            let answer = server.request("expect", device, object(members), deadline)?;
            client = Some(server);
            Ok(answer.value)
        });
        let answer = match answer {
            Ok(answer) => answer,
            // As a script has it that starts a server and goes on, or one with many questions at once.
            Err(error @ (Error::Absent { .. } | Error::Refused { .. }))
                if error.can_pass() && begun.elapsed() < options.timeout =>
            {
                thread::sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = |member: &str| {
            answer
                .get(member)
                .and_then(Value::as_str)
                .map(|text| from_text(text).unwrap_or_default())
        };
        if let Some(found) = bytes("match") {
            return print_match(&found);
        }
        if begun.elapsed() >= options.timeout {
            let number = |member: &str| answer.get(member).and_then(Value::as_u64).unwrap_or(0);
            let unmatched = bytes("unmatched").unwrap_or_default();
            complain(report(&options, &unmatched, number("position"), number("lost")));
            return Ok(ExitCode::FAILURE);
        }
    }
}

/// As it is; but a guest does not play with a terminal.
fn print_match(found: &[u8]) -> Result<ExitCode, Box<dyn AnyError>> {
    let mut out = io::stdout().lock();
    let bytes = if out.is_terminal() { shown(found).into_bytes() } else { found.to_vec() };
    match out.write_all(&[&bytes[..], b"\n"].concat()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {}", plain(&error)).into())
        }
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

/// What came instead, from `position` on, in a line.
fn report(options: &cli::Expect, unmatched: &[u8], position: u64, lost: u64) -> String {
    let start = format!(
        "nothing that matches '{}' came from port {} within {:?}",
        options.regex, options.port, options.timeout
    );
    if unmatched.is_empty() {
        let since = match position {
            0 => "nothing came at all; see to the guest",
            _ => "nothing has come since the last match; see what the guest does",
        };
        return format!("{start}: {since}, or give it more --timeout");
    }
    let newest = unmatched.get(unmatched.len().saturating_sub(SHOWN)..).unwrap_or_default();
    let which = if newest.len() < unmatched.len() {
        format!("{} bytes came, at last", unmatched.len())
    } else {
        "what came is".into()
    };
    let lost = match lost {
        0 => String::new(),
        lost => format!(" ({lost} bytes before that are not kept any more)"),
    };
    format!("{start}: {which} \"{}\"{lost}", shown(newest))
}
