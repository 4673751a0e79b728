//! `fault`: has a device go wrong on purpose.

use serde_json::{Value, json};
use vfio_user_server::Fault;

use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};

pub const VERB: Verb = Verb { name: "fault", members: &["device", "faults"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let device = devices.named(request.text("device")?, "in front of SPEC")?;
    let faults = faults(request)?;
    devices.alter(&device, move |event_loop, id| {
        event_loop.get(id)?;
        event_loop.set_faults(id, faults);
        // Gone, if it has panicked.
        event_loop.get(id).map(|_| ())
    })?;
    Ok(json!({ "device": device.node }).into())
}

fn faults(request: &Request<'_>) -> Result<Vec<Fault>, Failure> {
    let wrong = || Failure::invalid("'faults' is a list of strings, empty to take all away");
    let list = request.members.get("faults").and_then(Value::as_array).ok_or_else(wrong)?;
    let parse = |fault: &Value| {
        let fault = fault.as_str().ok_or_else(wrong)?;
        fault.parse().map_err(|error| Failure::invalid(format!("'{fault}': {error}")))
    };
    list.iter().map(parse).collect()
}
