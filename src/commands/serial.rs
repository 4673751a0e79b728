//! `mdev-user serial`: what is done to a port's line.

use std::error::Error;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::{self, SerialVerb};
use crate::control::client::{Client, Deadline, PATIENCE};

pub fn run(options: &cli::Serial) -> Result<ExitCode, Box<dyn Error>> {
    let members = match &options.verb {
        SerialVerb::Break { port } => json!({ "port": port, "break": true }),
        SerialVerb::Lines { port, lines } => json!({ "port": port, "lines": lines }),
        SerialVerb::Inject { port, error } => json!({ "port": port, "inject": error.word() }),
    };
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.ask.server.path(), deadline)?;
    client.request("serial", options.ask.device.as_deref(), object(members), deadline)?;
    Ok(ExitCode::SUCCESS)
}

/// The members of an object.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Bytes in one line, for people: what a terminal would act on as an escape.
pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
