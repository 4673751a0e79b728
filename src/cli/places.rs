//! That no two sockets that a command line asks for are at one place: of the second one the system would say that another
//! server has it.

use std::path::Path;

use chardev::{Backend, Role, Spec};

use super::{Run, Serve};
use crate::device_spec::{DeviceSpec, Options};

/// A socket, by what asks for it.
type Socket<'a> = (String, &'a Path);

impl Serve {
    /// Two sockets at one place.
    pub fn contradiction(&self) -> Option<String> {
        let control = self.control.control_path.as_deref().map(|it| ("--control-path".into(), it));
        let device = self.socket.socket_path.as_deref().map(|it| ("--socket-path".into(), it));
        let ports = of_ports(&self.device);
        two_at_one_place(&ports.chain(device).chain(control).collect::<Vec<_>>())
    }
}

impl Run {
    /// Two sockets at one place.
    pub fn contradiction(&self) -> Option<String> {
        let control = self.control.control_path.as_deref().map(|it| ("--control-path".into(), it));
        let devices = (1..).zip(&self.devices);
        let ports = devices.flat_map(|(number, device)| {
            of_ports(device).map(move |(name, path)| (format!("{name} of device {number}"), path))
        });
        two_at_one_place(&ports.chain(control).collect::<Vec<_>>())
    }
}

/// Where the ports of a device listen.
fn of_ports(device: &DeviceSpec) -> impl Iterator<Item = Socket<'_>> {
    let ports = match &device.options {
        Options::Ports(ports) => Some(ports),
        _ => None,
    };
    let named = ports.into_iter().flat_map(crate::serial::Ports::named_specs);
    named.filter_map(|(name, spec)| Some((name.to_owned(), listens_at(spec)?)))
}

fn listens_at(spec: &Spec) -> Option<&Path> {
    match &spec.backend {
        Backend::Unix { path, role: Role::Server { .. } } => Some(path),
        _ => None,
    }
}

fn two_at_one_place(sockets: &[Socket<'_>]) -> Option<String> {
    sockets.iter().enumerate().find_map(|(number, (name, path))| {
        let (other, _) = sockets.iter().take(number).find(|(_, other)| is_same(path, other))?;
        let place = path.display();
        Some(format!("{name} and {other} are the same, {place}, and it takes two sockets"))
    })
}

/// Whether two paths lead to one place, where nothing need be.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let parent = path.parent()?.canonicalize().ok()?;
        Some((parent, path.file_name()?.to_owned()))
    };
    one == other || place(one).is_some_and(|one| Some(one) == place(other))
}
