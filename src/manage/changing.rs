//! A device becomes another while it is used.

use uuid::Uuid;
use vfio_device::Errno;

use super::Manager;
use super::definitions::Definition;
use super::instance::{Stage, Waiter};
use crate::control::Failure;

impl Manager {
    /// A device has been changed, which it can be as long as it is there to stay.
    pub(super) fn changed(&mut self, uuid: Uuid, definition: Definition, waiter: Waiter<()>) {
        let found = self.instances.get_mut(&uuid);
        let Some(instance) = found.filter(|it| it.stage == Stage::Registered) else {
            let why = format!("{uuid} is being removed; wait for its release");
            return waiter.answer(Err(Failure::new(Errno::AGAIN, why)));
        };
        self.definitions.change(uuid, &definition);
        instance.definition = Definition { auto: instance.definition.auto, ..definition };
        self.answer(waiter, ());
    }
}
