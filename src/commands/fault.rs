//! `mdev-user fault`: has a device go wrong on purpose.

use std::error::Error;
use std::process::ExitCode;

use serde_json::json;

use super::serial::object;
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::usage;

pub fn fault(options: &cli::FaultArgs) -> Result<ExitCode, Box<dyn Error>> {
    let (device, faults) = match options.parts() {
        Ok(parts) => parts,
        Err(what) => return Ok(usage::contradiction(&what)),
    };
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.server.path(), deadline)?;
    client.request("fault", device, object(json!({ "faults": faults })), deadline)?;
    Ok(ExitCode::SUCCESS)
}
