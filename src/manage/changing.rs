//! A device becomes another while it is used.

use uuid::Uuid;

use super::Manager;
use super::definitions::Definition;
use super::instance::Stage;

impl Manager {
    /// A device has been changed. Whether it is there to stay.
    pub(super) fn changed(&mut self, uuid: Uuid, definition: Definition) -> bool {
        let Some(instance) = self.instances.get_mut(&uuid) else { return false };
        if instance.stage != Stage::Registered {
            return false;
        }
        self.definitions.change(uuid, &definition);
        instance.definition = Definition { auto: instance.definition.auto, ..definition };
        true
    }
}
