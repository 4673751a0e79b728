//! What is told of how clients behave: a line for each that does what it should not, and not many for all together.

use std::fmt;
use std::time::{Duration, Instant};

use log::Level;
use vfio_device::DeviceRef;

use crate::log_limit::LogLimit;
use crate::refusal::Refusal;

/// After which a client that takes no answers, or does not finish what it has begun to say, is told of.
const PATIENCE: Duration = Duration::from_secs(5);

/// The log of one device's clients.
#[derive(Debug, Default)]
pub(crate) struct Conduct(LogLimit);

impl Conduct {
    /// Says something that a client can do as often as it likes.
    pub(crate) fn say(&mut self, device: &DeviceRef, line: fmt::Arguments<'_>) {
        self.0.say(Level::Info, format_args!("{device}: {line}"));
    }

    /// A command of `client` was refused; how often that was before. The first one is told of, with those that follow a
    /// client can fill any log.
    pub(crate) fn refused(
        &mut self,
        device: &DeviceRef,
        client: &str,
        before: u64,
        command: u16,
        refusal: &Refusal,
    ) {
        // Those have lines of their own.
        let is_told = matches!(
            refusal,
            Refusal::NotAllowed
                | Refusal::NotOpened { .. }
                | Refusal::Injected { .. }
                | Refusal::DeviceFailed
        );
        let line = format_args!("{client}: refused command {command}: {refusal}");
        if before == 0 && !is_told {
            self.say(device, line);
        } else {
            log::debug!("{device}: {line}");
        }
    }
}

/// Whether a client is waited for: nothing of it can be handled until it takes an answer, or says the rest of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stall {
    #[default]
    No,
    /// Since when, and which of its messages was the last before.
    Since(Instant, u64),
    /// That has been told, after this message.
    Told(u64),
}

impl Stall {
    /// It has been attended to, and so many of its messages have been handled in all.
    pub(crate) fn update(&mut self, is_waited_for: bool, handled: u64) {
        *self = match *self {
            _ if !is_waited_for => Self::No,
            Self::Since(_, last) | Self::Told(last) if last == handled => return,
            _ => Self::Since(Instant::now(), handled),
        };
    }

    /// When it is to be told of.
    pub(crate) fn due(&self) -> Option<Instant> {
        if let Self::Since(since, _) = self { Some(*since + PATIENCE) } else { None }
    }

    /// Whether it is now; then it will not be again.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        match *self {
            Self::Since(since, last) if since + PATIENCE <= now => {
                *self = Self::Told(last);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_is_told_of_once_until_it_goes_on() {
        let mut stall = Stall::default();
        stall.update(false, 1);
        assert_eq!(stall.due(), None);
        stall.update(true, 1);
        let due = stall.due().unwrap();
        // It says a byte, and another one: that is not going on.
        stall.update(true, 1);
        assert_eq!(stall.due(), Some(due));
        assert!(!stall.take_due(due - Duration::from_millis(1)));
        assert!(stall.take_due(due));
        stall.update(true, 1);
        assert!(stall.due().is_none() && !stall.take_due(due + PATIENCE));
        // A message is finished, and the next one begun.
        stall.update(true, 2);
        assert!(stall.due().is_some_and(|next| next > due - PATIENCE));
        stall.update(false, 2);
        assert_eq!(stall.due(), None);
    }
}
