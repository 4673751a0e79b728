//! What a device says of a vector that it does not have. It is ignored, as no author can be told while a guest waits; the
//! first such call is kept, for those who test the device.

use std::fmt;

use super::Irqs;

/// A call of the device's, by name, with its irq index and vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    call: &'static str,
    pub(crate) index: u32,
    vector: u32,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, index, vector } = self;
        write!(f, "{call} of irq index {index}, vector {vector}: the device has no such vector")
    }
}

impl Irqs {
    #[cold]
    pub(super) fn note_missing(&mut self, call: &'static str, index: u32, vector: u32) {
        if self.missing.is_none() {
            let missing = Missing { call, index, vector };
            log::debug!("{missing}; this is ignored, and not told again");
            self.missing = Some(missing);
        }
    }
}
