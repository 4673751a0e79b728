//! What whoever started the manager is told of it.

use super::Manager;
use super::instance::Use;
use crate::notify::Notify;

impl Manager {
    /// Clients can come. From here on `notify` is told how many devices there are.
    pub fn ready(&mut self, notify: Notify) {
        self.status = self.count();
        notify.ready(&self.status);
        self.notify = Some(notify);
    }

    /// To be called when a device or a user may have come or gone.
    pub(super) fn say_status(&mut self) {
        let Some(notify) = self.notify.as_ref().filter(|notify| notify.is_heard()) else { return };
        let status = self.count();
        if status != self.status {
            notify.status(&status);
            self.status = status;
        }
    }

    /// The end has begun.
    pub(super) fn say_stopping(&self) {
        self.notify.iter().for_each(Notify::stopping);
    }

    pub(super) fn count(&self) -> String {
        let there = self.instances.values().filter(|it| it.place.is_some());
        let (mut devices, mut used) = (0, 0);
        for instance in there {
            devices += 1;
            used += u32::from(instance.user != Use::None);
        }
        let noun = if devices == 1 { "device" } else { "devices" };
        format!("{devices} {noun}, {used} in use")
    }
}
