//! Timers of a device.

use std::time::{Duration, Instant};

/// The timers that a device has running; which ones exist is up to the device, which names each by a number.
///
/// The event loop that serves the device asks for [`next`](Self::next) and calls the device's
/// [`timer`](crate::VfioDevice::timer) when the time has come. A timer fires once.
#[derive(Debug, Default)]
pub struct Timers {
    running: Vec<(u32, Instant)>,
}

impl Timers {
    /// Starts timer `id`, or starts it anew. One that is further away than time can be told never fires.
    pub fn start(&mut self, id: u32, after: Duration) {
        let Some(at) = Instant::now().checked_add(after) else { return self.stop(id) };
        match self.running.iter_mut().find(|(running, _)| *running == id) {
            Some((_, deadline)) => *deadline = at,
            None => self.running.push((id, at)),
        }
    }

    /// Stops timer `id`, if it runs.
    pub fn stop(&mut self, id: u32) {
        self.running.retain(|(running, _)| *running != id);
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.running.iter().map(|&(_, at)| at).min()
    }

    /// Removes and names one timer that is due at `now`, the earliest first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u32> {
        let (position, _) = self
            .running
            .iter()
            .enumerate()
            .filter(|(_, (_, at))| *at <= now)
            .min_by_key(|(_, (_, at))| *at)?;
        Some(self.running.swap_remove(position).0)
    }
}
