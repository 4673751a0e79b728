//! How long an event loop polls after an answer before it goes to sleep.

use std::time::{Duration, Instant};

/// A window that adapts: it is open while messages come in it, and closed while they do not.
///
/// Being woken costs a guest's register access more than everything else together. A loop that polls for a few
/// microseconds after its answer saves that, if the client has another message soon; if not, it has wasted them. While
/// the window is closed, the silence before a message says whether it is worth opening; that silence includes the
/// wake-up that polling would have saved, so it may be a few times as long as the window. Each message that comes while
/// the loop polls opens the window fully, each poll in vain halves it. A window that was opened and closed without a
/// single hit takes twice as long to be opened again, so that a client of the wrong rhythm costs next to nothing. On a
/// core that others compute on it stays closed for a while: who sleeps is let back at once when there is something to do,
/// who polls is not. That while is a time and not a number of messages, or one moment of a crowd would end polling for
/// clients that say little at once; it is short at first, and grows where the crowd stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollWindow {
    window: Duration,
    most: Duration,
    /// Short silences since the window was closed.
    lively: u32,
    /// Short silences that it takes to open it.
    needed: u32,
    /// Until then it stays closed, since others want the core; and for how long that was.
    closed_until: Option<Instant>,
    crowd: Duration,
    silence: Silence,
}

/// What has passed since a client was attended to. The clock is looked at only when something did not come at once: that
/// takes a tenth of all that an access takes.
#[derive(Clone, Copy, Debug)]
enum Silence {
    /// So much that it does not matter.
    Long,
    /// Nothing yet.
    Begins,
    /// The time since `start`, up to `seen` at least, when the last poll was in vain.
    Lasts { start: Instant, seen: Instant },
}

/// A silence of so many windows is short.
const SHORT: u32 = 4;
/// Who gives way for so long was not let back by a thread that waited for the core, but by one that computes.
const CROWDED: Duration = Duration::from_micros(200);
/// Below this, polling is not worth its own cost.
const LEAST: Duration = Duration::from_micros(5);
/// How long a window stays closed where the core is wanted by others: at first, which may have been one moment, and in the
/// end, when they have it for some ms at a time. A crowd that has not been seen for so long again has gone.
const CROWD: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(128));
/// Most short silences that it takes to open a window.
const MOST_NEEDED: u32 = 1024;

impl PollWindow {
    /// A closed window that opens to `most`; zero ends all polling.
    pub(crate) fn new(most: Duration) -> Self {
        Self {
            window: Duration::ZERO,
            most,
            lively: 0,
            needed: 1,
            closed_until: None,
            crowd: Duration::ZERO,
            silence: Silence::Long,
        }
    }

    /// A client has been attended to; `polled`: its message came while the loop polled.
    #[inline]
    pub(crate) fn attended(&mut self, polled: bool) {
        if polled {
            self.hit();
        }
        if !self.most.is_zero() {
            self.silence = Silence::Begins;
        }
    }

    /// Whether the next wait is to be a poll. If not, [`woken`](Self::woken) follows it.
    #[inline]
    pub(crate) fn polls(&mut self) -> bool {
        match self.silence {
            Silence::Long => false,
            Silence::Begins if self.window.is_zero() => {
                let now = Instant::now();
                self.silence = Silence::Lasts { start: now, seen: now };
                false
            }
            Silence::Begins => true,
            Silence::Lasts { start, seen } => seen.duration_since(start) < self.window,
        }
    }

    /// The loop has slept.
    #[inline]
    pub(crate) fn woken(&mut self) {
        if let Silence::Lasts { start, .. } = self.silence {
            let now = Instant::now();
            if self.closed_until.is_none_or(|until| until <= now) {
                self.missed(now.duration_since(start));
            }
        }
        self.silence = Silence::Long;
    }

    /// A poll was in vain, and the core is about to be given to others. Returns the time.
    pub(crate) fn before_yield(&mut self) -> Instant {
        let now = Instant::now();
        self.silence = match self.silence {
            Silence::Lasts { start, .. } => Silence::Lasts { start, seen: now },
            Silence::Begins | Silence::Long => Silence::Lasts { start: now, seen: now },
        };
        now
    }

    /// The core is back, which was given away at `before`.
    pub(crate) fn after_yield(&mut self, before: Instant) {
        let now = Instant::now();
        if now.duration_since(before) > CROWDED {
            self.crowded(now);
        }
    }

    /// A message came while the loop polled.
    fn hit(&mut self) {
        (self.window, self.needed) = (self.most, 1);
    }

    /// Somebody else has used the core while the loop polled.
    fn crowded(&mut self, now: Instant) {
        (self.window, self.lively) = (Duration::ZERO, 0);
        let stays = self.closed_until.is_some_and(|until| now < until + CROWD.1);
        self.crowd = if stays { (2 * self.crowd).min(CROWD.1) } else { CROWD.0 };
        self.closed_until = Some(now + self.crowd);
    }

    /// The loop polled for as long as the window is, and then slept until a message came, `silence` after the last answer.
    fn missed(&mut self, silence: Duration) {
        if silence > self.most * SHORT {
            (self.window, self.lively) = (Duration::ZERO, 0);
        } else if !self.window.is_zero() {
            self.window /= 2;
            if self.window < LEAST {
                self.window = Duration::ZERO;
                self.needed = (self.needed * 2).min(MOST_NEEDED);
            }
        } else {
            self.lively += 1;
            if self.lively >= self.needed {
                (self.window, self.lively) = (self.most, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: fn(u64) -> Duration = Duration::from_micros;

    #[test]
    fn it_is_closed_until_a_silence_is_short() {
        let mut window = PollWindow::new(US(50));
        assert_eq!(window.window, US(0));
        window.missed(US(201));
        assert_eq!(window.window, US(0));
        window.missed(US(200));
        assert_eq!(window.window, US(50));
    }

    #[test]
    fn polls_in_vain_halve_it_and_a_hit_opens_it() {
        let mut window = PollWindow::new(US(50));
        window.missed(US(60));
        window.missed(US(60));
        window.missed(US(60));
        assert_eq!(window.window, Duration::from_nanos(12_500));
        window.hit();
        assert_eq!(window.window, US(50));
    }

    #[test]
    fn one_long_silence_closes_it() {
        let mut window = PollWindow::new(US(50));
        window.missed(US(60));
        window.missed(US(1_000_000));
        assert_eq!(window.window, US(0));
    }

    #[test]
    fn a_client_that_is_always_a_little_late_is_polled_for_ever_less_often() {
        let mut window = PollWindow::new(US(50));
        let polls = |window: &mut PollWindow, messages: u32| {
            let open = |_| {
                window.missed(US(100));
                !window.window.is_zero()
            };
            (0..messages).map(open).filter(|open| *open).count()
        };
        let first = polls(&mut window, 100);
        assert!((10..40).contains(&first), "{first}");
        polls(&mut window, 10_000);
        let later = polls(&mut window, 10_000);
        assert!(later < 50, "{later} of 10000");
        window.hit();
        assert_eq!(window.window, US(50));
    }

    #[test]
    fn in_a_crowd_it_stays_closed_and_then_opens_as_ever() {
        let mut window = PollWindow::new(Duration::from_secs(60));
        let answered = |window: &mut PollWindow| {
            window.attended(false);
            let polls = window.polls();
            if !polls {
                window.woken();
            }
            polls
        };
        assert!(!answered(&mut window) && answered(&mut window));
        let crowded = Instant::now();
        window.crowded(crowded);
        for _ in 0..1000 {
            assert!(!answered(&mut window) || crowded.elapsed() >= US(2000));
        }
        while crowded.elapsed() < US(2000) {}
        answered(&mut window);
        assert!(answered(&mut window));
    }

    #[test]
    fn a_crowd_that_stays_closes_it_for_ever_longer_and_one_that_comes_later_does_not() {
        let mut window = PollWindow::new(US(50));
        let mut now = Instant::now();
        let mut closed = |window: &mut PollWindow, after: Duration| {
            now += after;
            window.crowded(now);
            let until = window.closed_until.unwrap();
            let length = until.duration_since(now);
            now = until;
            length.as_millis()
        };
        let soon = US(127_999);
        let lengths = [(); 8].map(|()| closed(&mut window, soon));
        assert_eq!(lengths, [2, 4, 8, 16, 32, 64, 128, 128]);
        assert_eq!(closed(&mut window, US(128_000)), 2);
    }

    #[test]
    fn a_long_yield_closes_it_and_what_the_loop_does_itself_does_not() {
        let mut window = PollWindow::new(Duration::from_secs(60));
        window.missed(US(1));
        window.attended(true);
        for _ in 0..2 {
            assert!(window.polls());
            let before = window.before_yield();
            window.after_yield(before);
            // A timer, or another device's client.
            let own_work = Instant::now();
            while own_work.elapsed() < 2 * CROWDED {}
        }
        assert!(window.polls());
        let before = window.before_yield() - 2 * CROWDED;
        window.after_yield(before);
        assert!(!window.polls());
    }

    #[test]
    fn it_closes_when_it_has_been_open_for_long_enough() {
        let mut window = PollWindow::new(US(2000));
        window.missed(US(1));
        window.attended(true);
        let mut polls = 0;
        while window.polls() {
            let before = window.before_yield();
            window.after_yield(before);
            polls += 1;
        }
        assert!(polls > 1, "{polls}");
        window.woken();
        assert!(window.window < US(2000));
    }

    #[test]
    fn it_polls_after_an_answer_as_soon_as_a_message_has_come_soon() {
        let mut window = PollWindow::new(Duration::from_secs(60));
        assert!(!window.polls(), "nothing has been answered");
        window.attended(false);
        assert!(!window.polls(), "it is closed");
        window.woken();
        assert!(!window.polls(), "this was no client");
        window.attended(false);
        assert!(window.polls() && window.polls());
    }

    #[test]
    fn most_zero_ends_all_polling() {
        let mut window = PollWindow::new(US(0));
        for _ in 0..10 {
            window.missed(US(0));
            assert_eq!(window.window, US(0));
        }
    }
}
