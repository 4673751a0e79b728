//! How a device goes, with its socket and its clients.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::net::{Shutdown, shutdown};
use vfio_device::Unregister;

use super::Endpoint;
use crate::registry::Registry;
use crate::scratch::Scratch;

impl Endpoint {
    /// No client comes from here on: the socket is gone, and whoever has connected without having said `VERSION` is told
    /// `ENODEV` when it does. The user stays.
    pub(crate) fn hide(&mut self, registry: Registry<'_>) -> Unregister {
        if let Some(listener) = self.listener.take() {
            registry.remove(&listener);
        }
        self.rests = None;
        self.device.unregister()
    }

    /// Asks the user to go.
    pub(crate) fn request(&mut self) -> bool {
        self.device.request()
    }

    /// Ends all connections, as if the clients had. That is noticed by the loop in its next turn.
    pub(crate) fn disconnect(&self) {
        for client in &self.clients {
            // One that has gone needs no telling.
            let _ = shutdown(&client.connection, Shutdown::Both);
        }
    }

    /// Resets the device, as its client can.
    pub(crate) fn reset(&mut self) {
        self.device.reset();
    }

    /// The device has panicked: clients hear of it, nothing is watched any more, and what is left of the device goes.
    pub(crate) fn bury(mut self, registry: Registry<'_>, scratch: &mut Scratch) {
        self.stop(registry);
        // Who hears of it and comes back at once finds nobody.
        self.listener = None;
        scratch.discard();
        for client in &mut self.clients {
            client.connection.fail(&mut self.device, scratch);
        }
        self.device.abandon();
        self.vanish();
    }

    /// Goes. A device that panicks while it is released harms nobody else.
    pub(crate) fn vanish(self) {
        let name = self.name().to_string();
        if catch_unwind(AssertUnwindSafe(|| drop(self))).is_err() {
            log::error!("{name}: the device panicked while it was released");
        }
    }

    /// Ends: no new client, the user is asked to go and then let go, the device is unregistered. The device is
    /// released when the last reference to it has gone.
    pub fn shut_down(mut self) {
        self.listener = None;
        let asked = catch_unwind(AssertUnwindSafe(|| {
            if self.device.unregister() == Unregister::InUse {
                self.device.request();
                while !self.clients.is_empty() {
                    self.dismiss(0);
                }
            }
        }));
        if asked.is_err() {
            log::error!("{}: the device panicked while its client was let go", self.name());
            self.device.abandon();
        }
        self.vanish();
    }
}
