//! `remove`: a device goes. Answered when it is released.

use serde_json::json;

use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};

pub const VERB: Verb = Verb { name: "remove", members: &["uuid", "force_after_ms"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let manager = devices.manager()?;
    let uuid = request.uuid("uuid")?.ok_or_else(|| Failure::invalid("a 'uuid' is missing"))?;
    manager.remove(uuid, request.time("force_after_ms")?, request.client)?;
    Ok(json!({ "uuid": uuid.to_string() }).into())
}
