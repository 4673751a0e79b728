//! `mdev-user events`: what happens to devices, as it happens.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::cli;
use crate::control::client::{Client, Deadline, EVENTS, FOREVER, PATIENCE};
use crate::errors::{plain, printable};

pub fn print(options: &cli::Events) -> Result<ExitCode, Box<dyn Error>> {
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.server.path(), deadline)?;
    client.ask(EVENTS, None, deadline)?;
    while let Some(event) = client.follow(Deadline::after(FOREVER))? {
        let line = if options.json { event.to_string() } else { describe(&event) };
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => {
                return Err(format!("cannot write to standard output: {}", plain(&error)).into());
            }
            Ok(()) => (),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An event in a line for people.
fn describe(event: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => printable(text),
        Value::Null => "-".into(),
        other => other.to_string(),
    };
    if event["event"] == "lost" {
        return format!("lost {}", word(&event["count"]));
    }
    let mut line = ["event", "uuid", "node", "type"].map(|member| word(&event[member])).join(" ");
    if let Some(client) = event.get("client").filter(|client| client.is_object()) {
        line += &format!(" by pid {} {}", word(&client["pid"]), word(&client["comm"]));
    }
    line
}
