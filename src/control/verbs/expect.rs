//! `expect`: waits for what a guest sends.

use std::time::Instant;

use serde_json::json;

use super::serial::{deaf, left, port, unheard};
use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};
use crate::serial::{Bell, Heard, Woken, has_left, regex, to_text};

pub const VERB: Verb =
    Verb { name: "expect", members: &["device", "port", "regex", "timeout_ms"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let (known, number, port) = port(request, devices)?;
    let text = request.text("regex")?.ok_or_else(|| Failure::invalid("a 'regex' is missing"))?;
    let regex = regex(text).map_err(|what| Failure::invalid(format!("'regex': {what}")))?;
    let timeout = request.timeout()?;
    let begun = Instant::now();
    let mut last: Option<Heard> = None;
    let bell = Bell::new().map_err(|error| deaf(&error))?;
    loop {
        let (end, tell) = (last.as_ref().map(Heard::end), bell.ringer());
        let heard = port.ask(move |wire| wire.listen(end, tell));
        if let Some(heard) = heard.map_err(|why| unheard(&known, why))? {
            if let Some(found) = regex.find_at(&heard.bytes, heard.from) {
                // A match is for somebody.
                if has_left(request.client) {
                    return Err(left());
                }
                let (text, lost) = (to_text(found.as_bytes()), heard.lost);
                let to = heard.position + (found.end() - heard.from) as u64;
                port.ask(move |wire| wire.set_matched(to)).map_err(|why| unheard(&known, why))?;
                let (node, from) = (&known.node, to - found.len() as u64);
                return Ok(json!({
                    "device": node, "port": number, "match": text, "position": from, "lost": lost,
                })
                .into());
            }
            last = Some(heard);
            // Who has left, or has waited for long enough, has so also while more and more comes.
            if has_left(request.client) {
                return Err(left());
            }
            if begun.elapsed() < timeout {
                continue;
            }
        }
        let woken = bell.wait(request.client, timeout.saturating_sub(begun.elapsed()));
        if woken == Woken::Left {
            return Err(left());
        }
        if woken == Woken::Late || begun.elapsed() >= timeout {
            let (unmatched, position, lost) = last.map_or((String::new(), 0, 0), |heard| {
                let text = to_text(heard.bytes.get(heard.from..).unwrap_or_default());
                (text, heard.position, heard.lost)
            });
            return Ok(json!({
                "device": known.node, "port": number, "match": null, "unmatched": unmatched,
                "position": position, "lost": lost,
            })
            .into());
        }
    }
}
