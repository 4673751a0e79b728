//! Who uses devices: how the manager hears of it, and where it says so.

use std::collections::BTreeSet;

use serde_json::Map;
use uuid::Uuid;
use vfio_user_server::EndpointId;

use super::instance::{Holder, Instance, Shown, Stage, Use};
use super::news::{Change, Changes};
use super::{Manager, note};

impl Manager {
    /// What has happened on a loop. Whoever is told of an event finds files that are as new.
    pub(super) fn hear(&mut self, lane: usize, changes: Changes) {
        let (mut changed, mut events) = (BTreeSet::new(), Vec::new());
        for (id, change) in changes {
            if let Some(instance) = self.at(lane, id) {
                let uuid = instance.uuid;
                instance.hear(change, |event, holder| events.push((uuid, event, holder)));
                changed.insert(uuid);
            }
        }
        changed.iter().for_each(|uuid| self.show_use(*uuid));
        for (uuid, event, holder) in events {
            self.tell_of_user(uuid, event, holder.as_ref());
        }
        self.say_status();
        for uuid in changed {
            let is_left = |it: &Instance| it.waited_for && it.user == Use::None;
            if self.instances.get(&uuid).is_some_and(is_left) {
                self.take_off(uuid);
            }
        }
    }

    /// A device has panicked, and is gone.
    pub(super) fn faulted(&mut self, lane: usize, id: EndpointId) {
        let Some(instance) = self.at(lane, id) else { return };
        let (uuid, was_off) = (instance.uuid, instance.off);
        self.tell(uuid, "faulted", Map::new());
        // One that is being taken off is found gone.
        if !was_off {
            self.released(uuid);
        }
    }

    fn at(&mut self, lane: usize, id: EndpointId) -> Option<&mut Instance> {
        self.instances.values_mut().find(|it| it.is_at(lane, id))
    }

    /// Writes how often a device is open and by whom, where that has changed.
    fn show_use(&mut self, uuid: Uuid) {
        let Some(instance) = self.instances.get_mut(&uuid) else { return };
        let (node, shown) = (instance.node().to_owned(), Shown::of(&instance.user));
        if instance.stage != Stage::Registered || instance.shown == shown {
            return;
        }
        let (tree, client) = (&mut self.tree, shown.client.as_deref());
        // With a client's name it is open.
        if shown.is_open {
            note(tree.set_open(uuid, &node, 1));
        }
        note(tree.set_client(uuid, &node, client));
        if !shown.is_open {
            note(tree.set_open(uuid, &node, 0));
        }
        instance.shown = shown;
    }

    fn tell_of_user(&self, uuid: Uuid, event: &'static str, holder: Option<&Holder>) {
        let client = holder.map(Holder::json).into();
        self.tell(uuid, event, Map::from_iter([("client".to_owned(), client)]));
    }
}

impl Instance {
    /// What has become of its user, and what is to be told of that.
    fn hear(&mut self, change: Change, mut tell: impl FnMut(&'static str, Option<Holder>)) {
        match change {
            Change::Came => self.user = Use::Begun,
            Change::Known(user) if self.user == Use::Begun => {
                let holder = user.map(Holder::new);
                self.user = Use::By(holder.clone());
                tell("opened", holder);
            }
            // Another one has come since, of whom this was said already.
            Change::Known(_) => (),
            Change::Left => {
                let user = std::mem::take(&mut self.user);
                if user == Use::Begun {
                    tell("opened", None);
                }
                if user != Use::None {
                    tell("closed", user.holder().cloned());
                }
            }
        }
    }
}
