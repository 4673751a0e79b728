//! Timers of a device.

use std::time::{Duration, Instant};

/// The timers that a device has running; which ones exist is up to the device, which names each by a number.
///
/// The event loop that serves the device asks for [`next`](Self::next) and calls the device's
/// [`timer`](crate::VfioDevice::timer) when the time has come. A timer fires once.
#[derive(Debug, Default)]
pub struct Timers {
    running: Vec<Running>,
    /// Counts the rounds of expiry, see [`begin_round`](Self::begin_round).
    round: u64,
}

#[derive(Debug)]
struct Running {
    id: u32,
    at: Instant,
    /// The round in which it was started.
    round: u64,
    /// Whether it goes on over a reset.
    lasts: bool,
}

impl Timers {
    /// Starts timer `id`, or starts it anew. One that is further away than time can be told never fires.
    pub fn start(&mut self, id: u32, after: Duration) {
        self.start_anew(id, after, false);
    }

    /// The same with a timer that a reset of the device does not stop. For what goes on outside of the machine that the
    /// device is part of: a connection of its back end, say.
    pub fn start_lasting(&mut self, id: u32, after: Duration) {
        self.start_anew(id, after, true);
    }

    fn start_anew(&mut self, id: u32, after: Duration, lasts: bool) {
        self.stop(id);
        if let Some(at) = Instant::now().checked_add(after) {
            self.running.push(Running { id, at, round: self.round, lasts });
        }
    }

    /// Stops timer `id`, if it runs.
    pub fn stop(&mut self, id: u32) {
        self.running.retain(|running| running.id != id);
    }

    /// Whether timer `id` runs.
    pub fn is_running(&self, id: u32) -> bool {
        self.running.iter().any(|running| running.id == id)
    }

    /// When the next one is due.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.at).min()
    }

    /// What a reset stops.
    pub(crate) fn reset(&mut self) {
        self.running.retain(|running| running.lasts);
    }

    pub(crate) fn stop_all(&mut self) {
        self.running.clear();
    }

    /// Begins a round of expiry: a timer that is started from here on waits for the next round, so that a device that
    /// starts one anew each time does not keep this one going.
    pub(crate) fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Removes and names one timer that is due at `now`, the earliest first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u32> {
        let due = |running: &Running| running.at <= now && running.round != self.round;
        let (position, _) = self
            .running
            .iter()
            .enumerate()
            .filter(|(_, running)| due(running))
            .min_by_key(|(_, running)| running.at)?;
        Some(self.running.remove(position).id)
    }
}
