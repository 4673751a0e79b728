//! `mdev-user create`: a device of a manager's, at run time.

use std::error::Error;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::handing;
use super::print as print_text;
use super::serial::object;
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::device_spec;
use crate::errors::printable;

pub fn create(options: &cli::Create) -> Result<ExitCode, Box<dyn Error>> {
    let mut members = object(json!({ "type": options.device }));
    members.extend(options.uuid.map(|uuid| ("uuid".to_owned(), uuid.to_string().into())));
    let (_, given) = device_spec::split(&options.device)?;
    let file = handing::open(given.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.server.path(), deadline)?;
    let answer = handing::ask(&mut client, "create", None, members, file, deadline)?;
    let text = |member: &str| answer.get(member).and_then(Value::as_str).map(printable);
    let (uuid, socket) = text("uuid").zip(text("socket")).ok_or("the answer names no device")?;
    print_text(&format!("{uuid} {socket}\n"))?;
    Ok(ExitCode::SUCCESS)
}
