//! `mdev-user remove`: a device of a manager's goes.

use std::error::Error;
use std::process::ExitCode;

use serde_json::json;

use super::serial::object;
use crate::cli;
use crate::control::client::{Client, Deadline, FOREVER, PATIENCE};

pub fn remove(options: &cli::Remove) -> Result<ExitCode, Box<dyn Error>> {
    let mut members = object(json!({ "uuid": options.uuid.to_string() }));
    let force_after = options.force_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(0));
    members.extend(force_after.map(|time| ("force_after_ms".to_owned(), time.into())));
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.server.path(), deadline)?;
    // A manager, so that one that ends before it has answered is known to have ended.
    client.ask("types", None, deadline)?;
    // As long as its user stays.
    client.request("remove", None, members, Deadline::after(FOREVER))?;
    Ok(ExitCode::SUCCESS)
}
