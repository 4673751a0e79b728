//! How long an event loop polls after an answer before it goes to sleep.

use std::time::Duration;

/// A window that adapts: it opens while the next message tends to come soon, and closes when it does not.
///
/// Being woken costs a guest's register access more than everything else together. A loop that polls for a few
/// microseconds after its answer saves that, if the client has another message soon; if not, it has wasted them. The
/// rule is the one of KVM's `halt_poll_ns`: a message that came soon after the loop had gone to sleep would have been
/// caught by a wider window, so it widens; a long silence closes it.
#[derive(Clone, Copy, Debug)]
pub struct PollWindow {
    window: Duration,
    most: Duration,
}

/// Where a window begins to open.
const FIRST: Duration = Duration::from_micros(10);

impl PollWindow {
    /// A closed window that opens to `most`; zero ends all polling.
    pub fn new(most: Duration) -> Self {
        Self { window: Duration::ZERO, most }
    }

    /// How long to poll now; zero is not at all.
    pub fn length(&self) -> Duration {
        self.window
    }

    /// The loop polled for [`length`](Self::length) in vain, slept (if only for an instant), and something came
    /// `silence` after the last answer.
    pub fn missed(&mut self, silence: Duration) {
        self.window = if silence > self.most {
            Duration::ZERO
        } else if self.window.is_zero() {
            FIRST.min(self.most)
        } else {
            (self.window * 2).min(self.most)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: fn(u64) -> Duration = Duration::from_micros;

    #[test]
    fn it_is_closed_until_messages_come_soon() {
        let mut window = PollWindow::new(US(50));
        assert_eq!(window.length(), US(0));
        window.missed(US(1_000_000));
        assert_eq!(window.length(), US(0));
    }

    #[test]
    fn it_opens_by_doubling_up_to_the_most() {
        let mut window = PollWindow::new(US(50));
        let lengths: Vec<_> = (0..5)
            .map(|_| {
                window.missed(US(30));
                window.length()
            })
            .collect();
        assert_eq!(lengths, [US(10), US(20), US(40), US(50), US(50)]);
    }

    #[test]
    fn one_long_silence_closes_it() {
        let mut window = PollWindow::new(US(50));
        window.missed(US(30));
        window.missed(US(51));
        assert_eq!(window.length(), US(0));
    }

    #[test]
    fn most_zero_ends_all_polling() {
        let mut window = PollWindow::new(US(0));
        window.missed(US(0));
        assert_eq!(window.length(), US(0));
    }
}
