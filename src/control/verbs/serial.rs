//! `serial`: what is done to a port's line.

use std::sync::Arc;

use serde_json::{Value, json};
use vfio_device::Errno;

use super::{Request, Verb};
use crate::control::devices::{Devices, Known};
use crate::control::reply::{Answer, Failure};
use crate::errors::plain;
use crate::serial::{Overrides, Port, Unheard, errors};

pub const VERB: Verb =
    Verb { name: "serial", members: &["device", "port", "break", "lines", "inject"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let (known, number, port) = port(request, devices)?;
    let lines =
        request.text("lines")?.map(Overrides::parse).transpose().map_err(Failure::invalid)?;
    let inject = request.text("inject")?.map(error).transpose()?;
    let sends_break = match request.members.get("break") {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(Failure::invalid("'break' is true or false")),
    };
    if lines.is_none() && inject.is_none() && !sends_break {
        return Err(Failure::invalid("one of 'break', 'lines' and 'inject' is needed"));
    }
    let done = port.ask(move |wire| {
        if let Some(lines) = lines {
            wire.set_lines(lines);
        }
        let breaks = sends_break.then_some(None);
        let errors = inject.map(Some);
        breaks.into_iter().chain(errors).all(|errors| wire.inject(errors).is_some())
    });
    if !done.map_err(|why| unheard(&known, why))? {
        return Err(full());
    }
    Ok(json!({ "device": known.node, "port": number }).into())
}

fn error(word: &str) -> Result<u8, Failure> {
    errors(word).ok_or_else(|| {
        Failure::invalid(format!("'inject' is framing, parity or overrun, not '{word}'"))
    })
}

/// The port that a request is about.
pub fn port(request: &Request<'_>, devices: &Devices) -> Result<(Arc<Known>, u64, Port), Failure> {
    let known = devices.named(request.text("device")?, "--device")?;
    let number = request.number("port")?;
    let number = number.ok_or_else(|| Failure::invalid("name a 'port', 0 for the first"))?;
    let port = usize::try_from(number).ok().and_then(|number| known.ports.get(number));
    let port = port.cloned().ok_or_else(|| {
        let why = match known.ports.len() {
            0 => format!("{} has no serial ports", known.node),
            1 => format!("{} has no port {number}, only port 0", known.node),
            count => format!("{} has no port {number}, only 0 to {}", known.node, count - 1),
        };
        Failure::invalid(why)
    })?;
    Ok((known, number, port))
}

/// The guest does not read.
pub fn full() -> Failure {
    Failure::new(
        Errno::AGAIN,
        "too much waits for the guest already; see whether it has the port open",
    )
}

/// Who asked is not there any more, so this is for nobody.
pub fn left() -> Failure {
    Failure::new(Errno::PIPE, "the client has left")
}

/// No descriptor to wait with.
pub fn deaf(error: &std::io::Error) -> Failure {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::MFILE);
    Failure::new(errno, format!("the server cannot wait: {}", plain(error)))
}

/// Why a port has said nothing.
pub fn unheard(known: &Known, why: Unheard) -> Failure {
    match why {
        Unheard::Gone => {
            Failure::new(Errno::NODEV, format!("{} is not served any more", known.node))
        }
        Unheard::Late(patience) => {
            Failure::new(Errno::AGAIN, format!("the server did not come to it within {patience:?}"))
        }
    }
}
