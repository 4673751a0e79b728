//! `list`: the devices that there are, in the form of mdevctl.

use serde_json::{Value, json};
use vfio_device::Errno;

use super::info::state_name;
use super::{Request, Verb};
use crate::control::devices::{Devices, Known};
use crate::control::reply::{Answer, Failure};
use crate::manage::{self, Definition};

pub const VERB: Verb = Verb { name: "list", members: &[], run };

fn run(_: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    if let Ok(manager) = devices.manager() {
        return Ok(json!({ "devices": manager.list()? }).into());
    }
    let mut all = Vec::new();
    for known in devices.all() {
        let (Some(uuid), Some(kind)) = (known.uuid, known.kind) else { continue };
        match describe(&known, devices) {
            Ok(value) => all.push((uuid, kind, value)),
            Err(Failure { errno: Errno::NODEV, .. }) => (),
            Err(failure) => return Err(failure),
        }
    }
    Ok(json!({ "devices": manage::dump(all) }).into())
}

fn describe(known: &Known, devices: &Devices) -> Result<Value, Failure> {
    let state = devices.ask(known, |endpoint| endpoint.device().object().state())?;
    let made_of = known.definition().as_ref().map(Definition::json);
    let mut object = made_of
        .unwrap_or_else(|| json!({ "mdev_type": known.kind, "start": "manual", "attrs": [] }));
    let socket = known.socket.as_ref().map(|path| path.to_string_lossy());
    let more = json!({ "node": known.node, "socket": socket, "state": state_name(state) });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    Ok(object)
}
