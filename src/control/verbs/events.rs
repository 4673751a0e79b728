//! `events`: what happens from now on, a line an event.

use serde_json::json;

use super::serial::deaf;
use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};

pub const VERB: Verb = Verb { name: "events", members: &[], run };

fn run(_: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let listening = devices.events.listen().map_err(|error| deaf(&error))?;
    Ok(Answer { then: Some(listening), ..json!({}).into() })
}
