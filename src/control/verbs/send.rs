//! `send`: text for a guest.

use serde_json::json;

use super::serial::{deaf, full, left, port, unheard};
use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};
use crate::serial::{Bell, Woken, from_text};

pub const VERB: Verb =
    Verb { name: "send", members: &["device", "port", "text", "timeout_ms"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let (known, number, port) = port(request, devices)?;
    let text = request.text("text")?.ok_or_else(|| Failure::invalid("a 'text' is missing"))?;
    let bytes = from_text(text)
        .ok_or_else(|| Failure::invalid("each character of 'text' is a byte, U+0000 to U+00FF"))?;
    let timeout = request.timeout()?;
    let count = bytes.len();
    let mut sent = count;
    if count != 0 {
        let bell = Bell::new().map_err(|error| deaf(&error))?;
        let done = bell.ringer();
        let ticket = port.ask(move |wire| wire.send(bytes, done));
        let ticket = ticket.map_err(|why| unheard(&known, why))?.ok_or_else(full)?;
        let woken = bell.wait(request.client, timeout);
        // It is rung by a port that is no more, too.
        let rest = port.ask(move |wire| wire.withdraw(ticket));
        sent = count.saturating_sub(rest.map_err(|why| unheard(&known, why))?);
        if woken == Woken::Left {
            return Err(left());
        }
    }
    Ok(json!({ "device": known.node, "port": number, "sent": sent }).into())
}
