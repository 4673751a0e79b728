//! Faults at work: who acts, and what the log says of it.

use std::fmt;

use log::Level;

use super::{Fault, What};
use crate::log_limit::LogLimit;

/// Faults that count the same things. When they go, the log has what each has done: who tests a client wants to know
/// that it has met them.
#[derive(Debug)]
pub(super) struct Acting {
    faults: Vec<Fault>,
    /// The device's, for the log.
    name: String,
    /// A fault may act at each of a million messages.
    log: LogLimit,
}

impl Acting {
    pub(super) fn new(faults: Vec<Fault>, name: String) -> Self {
        Self { faults, name, log: LogLimit::new() }
    }

    /// Something happens that is called so. `matches` says what a fault does if it acts on it. All that match count it,
    /// and the first one that means it acts.
    pub(super) fn befall<T>(
        &mut self,
        matches: impl Fn(&What) -> Option<T>,
        client: Option<&str>,
        what: fmt::Arguments<'_>,
    ) -> Option<T> {
        let mut acts = None;
        for fault in &mut self.faults {
            if let Some(effect) = matches(&fault.what)
                && fault.count.next()
                && acts.is_none()
            {
                acts = Some((effect, fault));
            }
        }
        let (effect, fault) = acts?;
        fault.count.acted = fault.count.acted.saturating_add(1);
        let (name, seen) = (&self.name, fault.count.seen);
        let (client, colon) = client.map_or(("", ""), |client| (client, ": "));
        let line = format_args!("{name}: {client}{colon}fault {fault}: {what}, match {seen}");
        self.log.say(Level::Info, line);
        Some(effect)
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let name = &self.name;
        for fault in &self.faults {
            let (seen, acted) = (fault.count.seen, fault.count.acted);
            match acted {
                0 => log::warn!("{name}: fault {fault} never acted (matched {seen})"),
                1 => log::info!("{name}: fault {fault} acted once (matched {seen})"),
                _ => log::info!("{name}: fault {fault} acted {acted} times (matched {seen})"),
            }
        }
    }
}
