//! `reset`: what a client can do by `DEVICE_RESET`.

use serde_json::json;

use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};

pub const VERB: Verb = Verb { name: "reset", members: &["device"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let device = devices.named(request.text("device")?, "as the last word")?;
    devices.tell(&device, |event_loop, id| {
        event_loop.get(id)?;
        event_loop.reset(id);
        // Gone, if it has panicked.
        event_loop.get(id).map(|_| ())
    })?;
    Ok(json!({ "device": device.node }).into())
}
