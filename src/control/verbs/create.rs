//! `create`: a device, at run time.

use serde_json::json;
use uuid::Uuid;

use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};
use crate::device_spec;
use crate::manage::Definition;

pub const VERB: Verb = Verb { name: "create", members: &["type", "uuid", "fd"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let manager = devices.manager()?;
    let text = request.text("type")?.ok_or_else(|| Failure::invalid("a 'type' is missing"))?;
    let (kind, mut options) = device_spec::split(text).map_err(Failure::invalid)?;
    request.read_handed(&mut options)?;
    let definition = Definition::new(&kind, options).map_err(Failure::invalid)?;
    let uuid = request.uuid("uuid")?.unwrap_or_else(Uuid::new_v4);
    let socket = manager.create(uuid, definition, true)?;
    Ok(json!({ "uuid": uuid.to_string(), "socket": socket.to_string_lossy() }).into())
}
