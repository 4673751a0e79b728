//! `mdev-user list`: the devices that there are.

use std::error::Error;
use std::process::ExitCode;

use super::print as print_text;
use super::types::{objects, print_json};
use crate::cli;
use crate::control::client::{Client, Deadline, PATIENCE};
use crate::errors::printable;

pub fn print(options: &cli::List) -> Result<ExitCode, Box<dyn Error>> {
    let deadline = Deadline::after(PATIENCE);
    let mut client = Client::connect(&options.server.path(), deadline)?;
    let answer = &client.ask("list", None, deadline)?.value;
    let devices = &answer["devices"];
    if options.json {
        return print_json(devices);
    }
    let mut out = String::new();
    for (parent, list) in objects(devices) {
        for (uuid, device) in objects(list) {
            let text = |member: &str| printable(device[member].as_str().unwrap_or("-"));
            let words = ["mdev_type", "start", "node", "state"].map(text).join(" ");
            out += &format!("{} {} {words}\n", printable(uuid), printable(parent));
        }
    }
    print_text(&out)?;
    Ok(ExitCode::SUCCESS)
}
