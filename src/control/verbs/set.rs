//! `set`: other options for a device that is there. All of them, or none.

use mbochs::Edid;
use mbochs::spec::{EDID_REGION, EDID_WINDOW_SIZE, gfx};
use serde_json::{Value, json};
use vfio_device::Errno;
use vfio_user_server::{EndpointId, EventLoop};

use super::serial::{left, unheard};
use super::{Request, Verb};
use crate::control::devices::{Devices, Known};
use crate::control::reply::{Answer, Failure};
use crate::device_spec::{DeviceSpec, Named, Options};
use crate::serial::{Change, OF_A_SPEC, has_left};

pub const VERB: Verb = Verb { name: "set", members: &["device", "options", "fd"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let device = devices.named(request.text("device")?, "in front of OPTION=VALUE")?;
    let mut changes = options(request)?;
    request.read_handed(&mut changes)?;
    let changing = device.change();
    // Those before have had their time, and for a request of nobody nothing is opened.
    stays(request)?;
    let nothing = || Failure::new(Errno::OPNOTSUPP, format!("{} cannot be changed", device.node));
    let before = device.definition().ok_or_else(nothing)?;
    let named = DeviceSpec::part(before.kind, &changes).map_err(Failure::invalid)?;
    let after = before.with(&changes).map_err(Failure::invalid)?;
    match devices.manager() {
        Ok(manager) => manager.check(&named)?,
        Err(_) => {
            absolute(&named)?;
            devices.allowed().map_or(Ok(()), |allowed| allowed.check_change(&named))?;
        }
    }
    let is_named = |name: &str| changes.iter().any(|(other, _)| other == name);
    match (&before.spec.options, &after.spec.options) {
        (Options::Ports(from), Options::Ports(to)) => {
            let changes = to.changes(from, is_named);
            let changes = changes.map_err(|(errno, why)| Failure::new(errno, why))?;
            stays(request)?;
            exchange(&device, devices, changes)
        }
        (_, Options::Monitor(monitor)) => {
            let edid = monitor.made(after.kind).map_err(Failure::invalid)?;
            stays(request)?;
            replug(&device, devices, edid)
        }
        _ => Ok(()),
    }?;
    // Told before the next one may change it: what is listed and saved is what runs.
    if let (Ok(manager), Some(uuid)) = (devices.manager(), device.uuid) {
        manager.changed(uuid, after.clone())?;
    }
    changing.done(after);
    // What was exchanged is there before the answer is, and what it was is not.
    let mut places = Vec::new();
    for port in &device.ports {
        let status = port.ask(|wire| wire.status()).map_err(|why| unheard(&device, why))?;
        places.push(Value::from(status.address));
    }
    Ok(json!({ "device": device.node, "ports": places }).into())
}

fn options(request: &Request<'_>) -> Result<Vec<(String, String)>, Failure> {
    let wrong = || Failure::invalid("'options' is an object of strings, one at least");
    let options = request.members.get("options").and_then(Value::as_object).ok_or_else(wrong)?;
    let text = |(name, value): (&String, &Value)| match value.as_str() {
        Some(value) => Ok((name.clone(), value.to_owned())),
        None => Err(wrong()),
    };
    let options: Vec<_> = options.iter().map(text).collect::<Result<_, _>>()?;
    if let Some((name, _)) = options.iter().find(|(name, _)| OF_A_SPEC.contains(&name.as_str())) {
        let why = format!("'{name}' belongs to what hangs on a port: serial0=...,{name}=...");
        return Err(Failure::invalid(why));
    }
    for (option, value) in &options {
        if let Some(name) = OF_A_SPEC.iter().find(|name| is_doubled(value, name)) {
            let why = format!("{option}: a comma is written once here: ,{name}=...");
            return Err(Failure::invalid(why));
        }
    }
    if options.is_empty() { Err(wrong()) } else { Ok(options) }
}

/// Whether `name` stands in a value as it must be for `create`, where it would become part of a path. After an odd number
/// of commas the last one is a comma of its own.
fn is_doubled(value: &str, name: &str) -> bool {
    let is_option = |after: &str| after.strip_prefix(name).is_some_and(|it| it.starts_with('='));
    value.match_indices(',').any(|(at, _)| {
        let (before, after) = value.split_at(at + 1);
        let commas = before.len() - before.trim_end_matches(',').len();
        commas % 2 == 0 && is_option(after)
    })
}

/// What is relative would be found where the server was started, and not where the one who asks is.
fn absolute(named: &DeviceSpec) -> Result<(), Failure> {
    match named.files().iter().map(Named::path).find(|path| !path.is_absolute()) {
        Some(path) => {
            let why = format!("{}: for a server that runs a path begins with /", path.display());
            Err(Failure::invalid(why))
        }
        None => Ok(()),
    }
}

/// Who has given up while something was opened gets nothing of it.
fn stays(request: &Request<'_>) -> Result<(), Failure> {
    if has_left(request.client) { Err(left()) } else { Ok(()) }
}

/// Hangs something else on ports.
fn exchange(device: &Known, devices: &Devices, changes: Vec<Change>) -> Result<(), Failure> {
    let ports = device.ports.clone();
    devices.alter(device, move |event_loop, id| {
        event_loop.get(id)?;
        ports.iter().zip(changes).for_each(|(port, change)| port.change(change));
        Some(())
    })
}

/// Plugs another monitor in.
fn replug(device: &Known, devices: &Devices, edid: Option<Edid>) -> Result<(), Failure> {
    let done = devices.alter(device, move |event_loop, id| plug(event_loop, id, edid.as_ref()))?;
    done.map_err(|errno| Failure::new(errno, format!("{} takes no EDID", device.node)))
}

/// As a client does it, which sees nothing of what is in between.
fn plug(
    event_loop: &mut EventLoop,
    id: EndpointId,
    edid: Option<&Edid>,
) -> Option<Result<(), Errno>> {
    let bytes = edid.map_or(&[][..], Edid::bytes);
    let mut blob = [0; EDID_WINDOW_SIZE];
    blob.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let size = u32::try_from(bytes.len()).unwrap_or_default();
    let link = if edid.is_some() { gfx::LINK_UP } else { gfx::LINK_DOWN };
    let stores: [(u64, &[u8]); 4] = [
        (gfx::LINK_STATE, &gfx::LINK_DOWN.to_le_bytes()),
        (gfx::BLOB, &blob),
        (gfx::EDID_SIZE, &size.to_le_bytes()),
        (gfx::LINK_STATE, &link.to_le_bytes()),
    ];
    for (offset, data) in stores {
        match event_loop.write_region(id, EDID_REGION, offset, data)? {
            Ok(()) => (),
            Err(errno) => return Some(Err(errno)),
        }
    }
    Some(Ok(()))
}
