//! `mdev-user expect`: waits for what a guest sends.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::serial::{object, shown};
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::errors::complain;
use crate::serial::from_text;

/// How long the server waits for one answer. After a command that was interrupted it goes on for so long at most.
const PIECE: Duration = Duration::from_secs(1);
/// Bytes of what came instead that are shown.
const SHOWN: usize = 400;

pub fn expect(options: cli::Expect) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let mut client = Client::connect(&options.ask.server.path(), Deadline::after(PATIENCE))?;
    loop {
        let left = options.timeout.saturating_sub(begun.elapsed());
        let members = json!({
            "port": options.port,
            "regex": options.regex,
            "timeout_ms": u64::try_from(left.min(PIECE).as_millis()).unwrap_or(0),
        });
        let device = options.ask.device.as_deref();
        let deadline = Deadline::after(PIECE + PATIENCE);
        let answer = client.request("expect", device, object(members), deadline)?.value;
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
            let lost = answer.get("lost").and_then(Value::as_u64).unwrap_or(0);
            complain(report(&options, &bytes("unmatched").unwrap_or_default(), lost));
            return Ok(ExitCode::FAILURE);
        }
    }
}

/// As it is; but a guest does not play with a terminal.
fn print_match(found: &[u8]) -> Result<ExitCode, Box<dyn Error>> {
    let mut out = io::stdout().lock();
    let bytes = if out.is_terminal() { shown(found).into_bytes() } else { found.to_vec() };
    match out.write_all(&[&bytes[..], b"\n"].concat()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}

/// What came instead, in a line.
fn report(options: &cli::Expect, unmatched: &[u8], lost: u64) -> String {
    let start = format!(
        "nothing that matches '{}' came from port {} within {:?}",
        options.regex, options.port, options.timeout
    );
    if unmatched.is_empty() {
        return format!(
            "{start}: nothing came at all; see to the guest, or give it more --timeout"
        );
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
