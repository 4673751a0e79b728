//! Somebody between a vector and its eventfd: for those who test what becomes of interrupts that go wrong.

use std::fmt;

use super::Irqs;

/// What becomes of a firing, that is, of a moment at which a vector would signal its eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Firing {
    /// The eventfd is signalled.
    Signalled,
    /// It is not signalled, and the vector does not mask itself: the next rise or event is a firing of its own.
    Lost,
    /// It is signalled, and the vector does not come to rest: a level counts as asserted at the next unmask, whatever
    /// the device states, and fires again; any other vector fires again at the next
    /// [`Device::repeat_stuck_irqs`](crate::Device::repeat_stuck_irqs). Either is the next firing, decided anew.
    Stuck,
}

/// Called with irq index and vector of each firing that has an eventfd.
pub type IrqIntercept = Box<dyn FnMut(u32, u32) -> Firing + Send>;

pub(super) struct Intercept(pub(super) IrqIntercept);

impl fmt::Debug for Intercept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Intercept")
    }
}

impl Irqs {
    pub(crate) fn intercept(&mut self, decide: Option<IrqIntercept>) {
        self.intercept = decide.map(Intercept);
        // What the one before has made to stick is not this one's.
        let vectors = self.indexes.iter_mut().flat_map(|index| &mut index.vectors);
        vectors.for_each(|vector| vector.stuck = false);
    }

    /// Fires the stuck vectors that no unmask fires.
    pub(crate) fn repeat_stuck(&mut self) {
        for index in 0..self.num_irqs() {
            let Some(it) = self.indexes.get(index as usize).filter(|it| !it.is_level()) else {
                continue;
            };
            for vector in 0..it.info.count {
                if self.get(index, vector).is_some_and(|it| it.stuck) {
                    self.deliver(index, vector, true);
                }
            }
        }
    }
}
