//! `mdev-user set`: other options for a device that is there.

use std::error::Error;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::handing;
use super::print as print_text;
use super::serial::object;
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::errors::printable;
use crate::usage;

pub fn set(options: &cli::Set) -> Result<ExitCode, Box<dyn Error>> {
    let (device, changes) = match options.parts() {
        Ok(parts) => parts,
        Err(what) => return Ok(usage::contradiction(&what)),
    };
    let pairs = changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
    let members = object(json!({ "options": pairs.collect::<Map<String, Value>>() }));
    let file = handing::open(changes.iter().copied())?;
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.server.path(), deadline)?;
    let answer = handing::ask(&mut client, "set", device, members, file, deadline)?;
    let places = answer.get("ports").and_then(Value::as_array);
    let mut out = String::new();
    for (number, place) in places.into_iter().flatten().enumerate() {
        let name = format!("serial{number}");
        let asked = changes.iter().find(|(option, _)| *option == name).map(|(_, value)| value);
        // Who has named it knows it.
        if let Some((place, asked)) = place.as_str().zip(asked)
            && !asked.contains(place)
        {
            out += &format!("port {number} is at {}\n", printable(place));
        }
    }
    print_text(&out)?;
    Ok(ExitCode::SUCCESS)
}
