//! `expect`: waits for what a guest sends.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use serde_json::json;

use super::serial::{port, unheard};
use super::{Request, Verb};
use crate::control::devices::Devices;
use crate::control::reply::{Answer, Failure};
use crate::serial::{Heard, regex, to_text};

pub const VERB: Verb =
    Verb { name: "expect", members: &["device", "port", "regex", "timeout_ms"], run };

fn run(request: &Request<'_>, devices: &Devices) -> Result<Answer, Failure> {
    let (known, number, port) = port(request, devices)?;
    let text = request.text("regex")?.ok_or_else(|| Failure::invalid("a 'regex' is missing"))?;
    let regex = regex(text).map_err(|what| Failure::invalid(format!("'regex': {what}")))?;
    let timeout = request.timeout()?;
    let begun = Instant::now();
    let mut last: Option<Heard> = None;
    loop {
        let ((tell, told), alive) = (sync_channel(1), Arc::new(()));
        let (end, weak) = (last.as_ref().map(Heard::end), Arc::downgrade(&alive));
        let heard = port.ask(move |wire| wire.listen(end, weak, tell));
        if let Some(heard) = heard.map_err(|why| unheard(known, why))? {
            if let Some(found) = regex.find_at(&heard.bytes, heard.from) {
                let (text, lost) = (to_text(found.as_bytes()), heard.lost);
                let to = heard.position + (found.end() - heard.from) as u64;
                port.ask(move |wire| wire.set_matched(to)).map_err(|why| unheard(known, why))?;
                let (node, from) = (&known.node, to - found.len() as u64);
                return Ok(json!({
                    "device": node, "port": number, "match": text, "position": from, "lost": lost,
                })
                .into());
            }
            last = Some(heard);
            continue;
        }
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() || told.recv_timeout(left).is_err() && begun.elapsed() >= timeout {
            let (unmatched, lost) = last.map_or((String::new(), 0), |heard| {
                (to_text(heard.bytes.get(heard.from..).unwrap_or_default()), heard.lost)
            });
            return Ok(json!({
                "device": known.node, "port": number, "match": null, "unmatched": unmatched, "lost": lost,
            })
            .into());
        }
    }
}
