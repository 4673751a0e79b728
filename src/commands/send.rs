//! `mdev-user send`: text for a guest.

use std::error::Error;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::serial::object;
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::errors::{complain, plain};
use crate::serial::{Text, to_text};

/// Bytes that are said at once: as JSON they may be six times as many, and a line has 64 KiB.
const PIECE: usize = 8 << 10;

pub fn send(options: cli::Send) -> Result<ExitCode, Box<dyn Error>> {
    let patience = options.timeout + PATIENCE;
    let mut client = Client::connect(&options.ask.server.path(), Deadline::after(PATIENCE))?;
    let mut say = |bytes: &[u8], begun: Instant| -> Result<usize, Box<dyn Error>> {
        let left = options.timeout.saturating_sub(begun.elapsed());
        let members = json!({
            "port": options.port,
            "text": to_text(bytes),
            "timeout_ms": u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        });
        let answer = client.request(
            "send",
            options.ask.device.as_deref(),
            object(members),
            Deadline::after(patience),
        )?;
        let sent = answer.value.get("sent").and_then(Value::as_u64).unwrap_or(0);
        Ok(usize::try_from(sent).unwrap_or(usize::MAX))
    };
    let mut taken = 0;
    if let Text::Bytes(bytes) = &options.text {
        let begun = Instant::now();
        for piece in bytes.chunks(PIECE) {
            let sent = say(piece, begun)?;
            taken += sent;
            if sent < piece.len() {
                let of = format!("{taken} of {} bytes", bytes.len());
                return Ok(give_up(&of, options.timeout));
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut piece = [0; PIECE];
    loop {
        let count = io::stdin().read(&mut piece);
        let count =
            count.map_err(|error| format!("cannot read standard input: {}", plain(&error)))?;
        let read = piece.get(..count).unwrap_or_default();
        if read.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        // What it takes to read is not the guest's affair.
        let sent = say(read, Instant::now())?;
        taken += sent;
        if sent < count {
            return Ok(give_up(&format!("{taken} bytes"), options.timeout));
        }
    }
}

fn give_up(taken: &str, timeout: Duration) -> ExitCode {
    complain(format_args!(
        "the guest has taken {taken} within {timeout:?}, the rest is withdrawn; see whether it has the port open, \
         or give it more --timeout"
    ));
    ExitCode::FAILURE
}
