//! `info`: how devices do.

use std::fs;

use serde_json::{Map, Value, json};
use vfio_device::{Device, Errno, State};
use vfio_user_server::wire::Command;
use vfio_user_server::{Endpoint, Stats, User};

use super::plane::describe;
use super::serial::unheard;
use super::{Request, Verb};
use crate::control::devices::{Devices, Known};
use crate::control::reply::{Answer, Failure};
use crate::sandbox;

pub const VERB: Verb = Verb { name: "info", members: &["device"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let infos = match request.text("device")? {
        Some(name) => vec![info(devices.named(Some(name), "--device")?.as_ref(), devices)?],
        None => all(devices)?,
    };
    Ok(json!({ "devices": infos, "sandbox": sandbox::in_force() }).into())
}

/// Of all that are there still.
fn all(devices: &Devices) -> Result<Vec<Value>, Failure> {
    let all = devices.all();
    let infos = all.iter().map(|device| info(device, devices));
    let gone = |failure: &Failure| failure.errno == Errno::NODEV;
    infos.filter(|info| !info.as_ref().is_err_and(gone)).collect()
}

fn info(known: &Known, devices: &Devices) -> Result<Value, Failure> {
    let look = |endpoint: &Endpoint| {
        let device = endpoint.device();
        let (state, opens) = (device.object().state(), device.object().open_count());
        let counted = (endpoint.stats().clone(), interrupts(device));
        (state, opens, endpoint.user(), device.display(), counted)
    };
    let (state, opens, user, plane, (stats, interrupts)) = devices.ask(known, look)?;
    let ports = known.ports.iter().map(|port| port.ask(|wire| wire.status()));
    let ports: Result<Vec<_>, _> = ports.map(|status| status.map(|it| it.to_json())).collect();
    let ports = ports.map_err(|why| unheard(known, why))?;
    Ok(json!({
        "node": known.node,
        "type": known.kind,
        "uuid": known.uuid.map(|uuid| uuid.to_string()),
        "state": state_name(state),
        "open_count": opens,
        "socket": known.socket.as_ref().map(|path| path.to_string_lossy()),
        "client": user.map(client),
        "plane": plane.as_ref().map(describe),
        "ports": ports,
        "counters": counters(&stats, interrupts),
    }))
}

/// How often the device's clients were signalled.
fn interrupts(device: &Device) -> u64 {
    let irqs = device.irqs();
    let vectors = (0..irqs.num_irqs()).flat_map(|index| {
        (0..irqs.info(index).map_or(0, |info| info.count)).map(move |it| (index, it))
    });
    vectors.map(|(index, vector)| irqs.fired(index, vector)).sum()
}

/// The kernel's words, as `docs/life-cycle.md` has them.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Initialized => "initialized",
        State::Registered => "registered",
        State::Unregistering => "unregistering",
        State::Unregistered => "unregistered",
        _ => "unknown",
    }
}

fn client(user: User) -> Value {
    json!({ "number": user.number, "pid": user.pid, "comm": user.pid.and_then(comm) })
}

/// What a process is called, as far as that can be seen.
pub fn comm(pid: u32) -> Option<String> {
    // Any bytes but a line end: whoever runs the program chooses them.
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(comm.trim_ascii_end()).into_owned())
}

fn counters(stats: &Stats, interrupts: u64) -> Value {
    let name = |command: Command| command.name().to_ascii_lowercase().replace('_', "-");
    let mut messages: Map<String, Value> = Command::ALL
        .iter()
        .map(|command| (name(*command), stats.messages(*command).into()))
        .collect();
    messages.insert("unknown".into(), stats.unknown_messages().into());
    json!({
        "clients": stats.clients(),
        "messages": messages,
        "refused": stats.refused(),
        "bytes_received": stats.bytes_received(),
        "bytes_sent": stats.bytes_sent(),
        "interrupts": interrupts,
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use vfio_device::Vfio;
    use vfio_user_server::EventLoop;

    use super::*;
    use crate::idle;

    #[test]
    fn a_device_that_has_gone_is_left_out_of_all_and_refused_by_name() {
        let (sender, receiver) = channel();
        let serving = thread::spawn(move || {
            let vfio = Vfio::new();
            let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
            let (mut clients, mut known) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let (ours, theirs) = UnixStream::pair().unwrap();
                clients.push(ours);
                let id = event_loop.add(Endpoint::connected(idle::device(&vfio), theirs)).unwrap();
                known.extend(Known::new(&event_loop, id, None, Vec::new()));
            }
            drop(event_loop.remove(known[1].id));
            let handle = event_loop.handle();
            sender.send((Devices::new(known), handle)).unwrap();
            event_loop.run(|_, _| ()).unwrap();
        });
        let (devices, event_loop) = receiver.recv().unwrap();
        let ask = |request: Value| {
            let members = request.as_object().unwrap();
            run(&Request { members, client: std::io::stdin().as_fd(), fd: None }, &devices)
        };
        let gone = ask(json!({ "device": "vfio1" })).map(|answer| answer.value).unwrap_err();
        assert_eq!(gone, Failure::new(Errno::NODEV, "vfio1 is not served any more"));
        let all = ask(json!({})).map(|answer| answer.value).unwrap();
        let nodes: Vec<_> =
            all["devices"].as_array().unwrap().iter().map(|device| &device["node"]).collect();
        assert_eq!(nodes, ["vfio0", "vfio2"]);
        event_loop.stop();
        serving.join().unwrap();
    }
}
