//! `types`: what a manager can make, and how many more of each.

use serde_json::json;

use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};

pub const VERB: Verb = Verb { name: "types", members: &[], run };

fn run(_: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    Ok(json!({ "types": devices.manager()?.types() }).into())
}
