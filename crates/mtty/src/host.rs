//! What a line has of the host: descriptors and timers of the device, in a number space of its own.

use std::os::fd::OwnedFd;
use std::time::Duration;

use vfio_device::{Interest, Sources, Timers};

/// Numbers that a line can use, for descriptors as for timers: 0 to 15.
pub const NUMBERS: u32 = 16;

/// Timer numbers of the port's own, after those of the line.
pub(crate) const TIME_OUT: u32 = NUMBERS;
pub(crate) const PACE_TRANSMIT: u32 = NUMBERS + 1;
pub(crate) const PACE_RECEIVE: u32 = NUMBERS + 2;
/// The card's own, among those of port 0.
pub(crate) const REST: u32 = NUMBERS + 3;
/// From one port's numbers to the next one's.
const STRIDE: u32 = 32;

/// The device's number for a number of a port.
pub(crate) const fn id(port: u32, number: u32) -> u32 {
    port * STRIDE + number
}

/// The port, and its number, that a number of the device's stands for.
pub(crate) const fn port_and_number(id: u32) -> (u32, u32) {
    (id / STRIDE, id % STRIDE)
}

/// The host, lent to a [`Line`](crate::line::Line) for the time of a call.
///
/// A line names its descriptors and its timers by numbers of its own, 0 to 15 ([`NUMBERS`]); those of another port are others. A
/// higher number is ignored.
#[derive(Debug)]
pub struct Host<'a> {
    sources: &'a mut Sources,
    timers: &'a mut Timers,
    port: u32,
}

impl<'a> Host<'a> {
    /// The host for port `port` of a card: what the card makes of its context, and a test of a default one.
    pub fn new(sources: &'a mut Sources, timers: &'a mut Timers, port: u32) -> Self {
        Self { sources, timers, port }
    }

    /// Watches `fd` as number `n`, in place of what was watched as that before: [`ready`](crate::line::Line::ready) is called
    /// for as long as it can be read or written, as `interest` says. It is closed when the watch ends. Hand in a
    /// duplicate (`try_clone`) of a descriptor that is read and written elsewhere. A file cannot be watched.
    pub fn watch(&mut self, n: u32, fd: OwnedFd, interest: Interest) {
        if n < NUMBERS {
            self.sources.watch(id(self.port, n), fd, interest);
        }
    }

    /// Changes what number `n` is watched for. Without interest not even a hang-up is reported.
    pub fn set_interest(&mut self, n: u32, interest: Interest) {
        if n < NUMBERS {
            self.sources.set_interest(id(self.port, n), interest);
        }
    }

    /// Ends the watch of number `n`.
    pub fn unwatch(&mut self, n: u32) {
        if n < NUMBERS {
            self.sources.unwatch(id(self.port, n));
        }
    }

    /// Starts timer `n`, or starts it anew: [`timer`](crate::line::Line::timer) is called once, `after` from now. With zero
    /// that is when the messages that have arrived together have been attended to. No reset stops it.
    pub fn start_timer(&mut self, n: u32, after: Duration) {
        if n < NUMBERS {
            self.start(n, after);
        }
    }

    /// Stops timer `n`, if it runs.
    pub fn stop_timer(&mut self, n: u32) {
        if n < NUMBERS {
            self.timers.stop(id(self.port, n));
        }
    }

    /// Whether timer `n` runs.
    pub fn is_running(&self, n: u32) -> bool {
        n < NUMBERS && self.timers.is_running(id(self.port, n))
    }

    /// With the numbers of the crate's own lines too.
    pub(crate) fn start(&mut self, number: u32, after: Duration) {
        self.timers.start_lasting(id(self.port, number), after);
    }
}
