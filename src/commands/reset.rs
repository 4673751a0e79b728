//! `mdev-user reset`: a device as after power-on.

use std::error::Error;
use std::process::ExitCode;

use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};

pub fn reset(options: &cli::Reset) -> Result<ExitCode, Box<dyn Error>> {
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.server.path(), deadline)?;
    client.ask("reset", options.device.as_deref(), deadline)?;
    Ok(ExitCode::SUCCESS)
}
