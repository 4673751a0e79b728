//! Keeps INTx from being signalled over and over while the guest is at work on it.

use std::time::{Duration, Instant};

use super::{INTX, Irqs};

/// So often in a row INTx fires at an unmask at once.
const AT_ONCE: u32 = 4;
/// From then on it waits for a pause of this length ...
const PAUSE: Duration = Duration::from_micros(500);
/// ... but no longer than for so many of them: a guest may be at work on something else for ever.
const MOST_PAUSES: u32 = 4;
/// The same for one that is known to look again.
const MOST_PAUSES_IN_SERVICE: u32 = 64;

/// Says when INTx, whose level holds, fires again.
///
/// A client without KVM's resampler does not see the end of the guest's interrupt handler. QEMU takes each access to a
/// BAR for it and unmasks, and so does cloud-hypervisor. If INTx fired again at each, a handler that moves a few
/// thousand bytes would have as many interrupts, each of which costs the client a thread's wake-up and the guest one of
/// its messages. So after a few the guest is given the time to be done: while it goes on accessing the device, it is at
/// work; when it pauses and the level still holds, INTx fires.
///
/// A device that knows better says so: while INTx is [in service](Irqs::set_in_service), the guest is given that time from
/// the first, also when the level rises anew.
#[derive(Debug, Default)]
pub(crate) struct Holdoff {
    /// Unmasks since the level rose.
    unmasks: u32,
    due: Option<Instant>,
    /// Times that `due` was put off.
    put_off: u32,
    /// The guest has accessed the device since `due` was set.
    at_work: bool,
    /// The device says that the guest will look for what holds before it is done.
    in_service: bool,
    /// It has been seen to be done nonetheless.
    is_done: bool,
}

impl Holdoff {
    /// The level has fallen.
    pub(crate) fn fallen(&mut self) {
        let Self { in_service, is_done, .. } = *self;
        *self = Self { in_service, is_done, ..Self::default() };
    }

    /// Nothing is known of the guest any more.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The level has risen. Returns whether INTx fires at once.
    pub(crate) fn risen(&mut self) -> bool {
        let waits = self.will_look();
        if waits {
            self.wait();
        }
        !waits
    }

    fn will_look(&self) -> bool {
        self.in_service && !self.is_done
    }

    /// The device says whether the guest will look. Returns whether it has just ceased to.
    fn serves(&mut self, in_service: bool) -> bool {
        self.is_done &= in_service;
        std::mem::replace(&mut self.in_service, in_service) && !in_service
    }

    /// The guest's handler has ended, whatever the device says.
    fn done(&mut self) {
        self.is_done = self.in_service;
    }

    /// The client unmasks while the level holds. Returns whether INTx fires at once.
    pub(crate) fn unmasked(&mut self) -> bool {
        self.unmasks = self.unmasks.saturating_add(1);
        let at_once = self.unmasks <= AT_ONCE && !self.will_look();
        if !at_once {
            self.wait();
        }
        at_once
    }

    fn wait(&mut self) {
        if self.due.is_none() {
            (self.due, self.put_off, self.at_work) = (Some(Instant::now() + PAUSE), 0, false);
        }
    }

    /// The guest has accessed the device.
    pub(crate) fn accessed(&mut self) {
        self.at_work = true;
    }

    /// When [`run`](Self::run) is to be called; `None` while nothing waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns whether it is time to fire.
    pub(crate) fn run(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.put_off += 1;
        let most = if self.will_look() { MOST_PAUSES_IN_SERVICE } else { MOST_PAUSES };
        let is_long = self.put_off >= most;
        let fires = !std::mem::take(&mut self.at_work) || is_long;
        self.due = if fires { None } else { Some(now + PAUSE) };
        if is_long {
            // A pause says less: the guest's processor may have been away.
            self.done();
        }
        fires
    }
}

impl Irqs {
    /// INTx is in service: the guest has asked the device what it is about, and will ask again until there is nothing. In
    /// between INTx is not signalled for what the guest will find by itself, unless it pauses. At the end it is signalled
    /// at once if the level still holds; so state the level first.
    ///
    /// A hint of the device's, made from what a guest's driver is known to do. If one does otherwise, INTx is signalled all
    /// the same: half a millisecond after its last access, or 32 ms late if its accesses do not end. After that it is
    /// signalled as if nothing had been said, until it has been said that INTx is not in service.
    pub fn set_in_service(&mut self, in_service: bool) {
        let ends = self.holdoff.serves(in_service);
        if ends && self.is_pci && self.holdoff.due().is_some() {
            self.holdoff.fallen();
            self.deliver(INTX, 0, false);
        }
    }

    /// Lets a vector through again, unless INTx, which the guest is seen to be at work on, is to wait for a pause.
    pub(super) fn unmask_by_message(&mut self, index: u32, vector: u32) {
        let Some(it) = self.get(index, vector).filter(|_| self.is_intx(index)) else {
            return self.unmask(index, vector);
        };
        let again = it.automasked || self.holdoff.due().is_some();
        let repeats = it.level && again && !it.masked && !it.pending;
        if !repeats || self.holdoff.unmasked() {
            self.unmask(index, vector);
        } else if let Some(it) = self.vector(index, vector) {
            it.automasked = false;
        }
    }

    /// Lets a vector through again, on the word of one who has seen the guest's handler end: KVM, by eventfd.
    pub(crate) fn unmask_by_eventfd(&mut self, index: u32, vector: u32) {
        if self.is_intx(index) {
            self.holdoff.done();
        }
        self.unmask(index, vector);
    }

    /// Fires INTx if it waited for a pause and this is one.
    pub(crate) fn run_holdoff(&mut self, now: Instant) {
        if self.holdoff.run(now) {
            self.deliver(INTX, 0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the first unmask at which it does not fire at once.
    fn waiting() -> Holdoff {
        let mut holdoff = Holdoff::default();
        for _ in 0..AT_ONCE {
            assert!(holdoff.unmasked());
            assert_eq!(holdoff.due(), None);
        }
        assert!(!holdoff.unmasked());
        holdoff
    }

    #[test]
    fn after_a_few_unmasks_it_waits_for_a_pause() {
        let mut holdoff = waiting();
        let due = holdoff.due().unwrap();
        assert!(!holdoff.run(due - Duration::from_nanos(1)));
        assert!(holdoff.run(due));
        assert_eq!(holdoff.due(), None, "once");
        assert!(!holdoff.unmasked(), "and again only after the next pause");
    }

    #[test]
    fn accesses_put_it_off() {
        let mut holdoff = waiting();
        for _ in 0..3 {
            holdoff.accessed();
            let due = holdoff.due().unwrap();
            assert!(!holdoff.unmasked());
            assert!(!holdoff.run(due));
            assert_eq!(holdoff.due(), Some(due + PAUSE));
        }
        assert!(holdoff.run(holdoff.due().unwrap()));
    }

    #[test]
    fn accesses_do_not_put_it_off_for_ever() {
        let mut holdoff = waiting();
        let fires: Vec<_> = (0..4)
            .map(|_| {
                holdoff.accessed();
                holdoff.run(holdoff.due().unwrap())
            })
            .collect();
        assert_eq!(fires, [false, false, false, true]);
        assert_eq!(holdoff.due(), None);
    }

    #[test]
    fn in_service_it_waits_from_the_first_and_for_longer() {
        let mut holdoff = Holdoff { in_service: true, ..Holdoff::default() };
        assert!(!holdoff.risen());
        assert!(!holdoff.unmasked());
        let turns = (1..).find(|_| {
            holdoff.accessed();
            holdoff.run(holdoff.due().unwrap())
        });
        assert_eq!(turns, Some(64));
        holdoff.fallen();
        assert!(holdoff.risen(), "it was not to be relied on");
        assert!(!holdoff.serves(true));
        assert!(holdoff.risen(), "nothing else has been said");
        assert!(holdoff.serves(false));
        assert!(!holdoff.serves(true));
        assert!(!holdoff.risen());
    }

    #[test]
    fn as_long_as_it_is_in_service_it_waits_each_time_that_the_level_rises() {
        let mut holdoff = Holdoff { in_service: true, ..Holdoff::default() };
        for _ in 0..3 {
            assert!(!holdoff.risen());
            holdoff.fallen();
        }
        holdoff.reset();
        assert!(holdoff.risen());
    }

    #[test]
    fn a_level_that_falls_ends_the_wait_and_the_count() {
        let mut holdoff = waiting();
        holdoff.fallen();
        assert_eq!(holdoff.due(), None);
        assert!(holdoff.unmasked());
    }
}
