//! How a device goes: hidden at once, released when its user has left.

use std::time::{Duration, Instant};

use serde_json::Map;
use uuid::Uuid;
use vfio_device::{Errno, Unregister};
use vfio_user_server::Endpoint;

use super::instance::{Hidden, Holder, Instance, Place, ROUND, Stage, Use, Waiter};
use super::{Manager, note};
use crate::control::Failure;

impl Manager {
    /// A device is to go. `waiter` is answered when it is released. With `force_after` its user is sent away after so long;
    /// that can be asked of one that is going already, too.
    pub(super) fn remove(&mut self, uuid: Uuid, force_after: Option<Duration>, waiter: Waiter<()>) {
        let again = |why: String| Err(Failure::new(Errno::AGAIN, why));
        let Some(instance) = self.instances.get_mut(&uuid) else {
            let why =
                format!("there is no device {uuid}; `mdev-user list` has those that there are");
            return waiter.answer(Err(Failure::new(Errno::NODEV, why)));
        };
        match (instance.stage, force_after) {
            (Stage::Initialized, _) => {
                waiter.answer(again(format!("{uuid} is not registered yet; try again")))
            }
            (Stage::Unregistering, None) => waiter.answer(again(format!(
                "{uuid} is being removed already; wait for its release, or send its user away with --force-after"
            ))),
            (Stage::Unregistering, Some(time)) => {
                // Each connection can ask, leave, and ask again.
                instance.waiters.retain(Waiter::is_heard);
                instance.waiters.push(waiter);
                let at = Instant::now() + time;
                instance.force_at = Some(instance.force_at.map_or(at, |other| other.min(at)));
            }
            (Stage::Registered, force_after) => {
                instance.waiters.push(waiter);
                self.definitions.remove(uuid);
                self.begin_removal(uuid, force_after);
            }
        }
    }

    /// From here on nobody can open it.
    pub(super) fn begin_removal(&mut self, uuid: Uuid, force_after: Option<Duration>) {
        let Some(instance) = self.instances.get_mut(&uuid) else { return };
        let Some(place) = instance.place.clone() else { return };
        instance.stage = Stage::Unregistering;
        instance.force_at = force_after.map(|time| Instant::now() + time);
        note(self.tree.hide(uuid, Stage::Unregistering.name()));
        let handle = self.handle.clone();
        self.lanes.post(place.lane, move |event_loop| {
            let unregister = event_loop.hide(place.id);
            let user = event_loop.get(place.id).and_then(Endpoint::user);
            handle.tell(move |manager| manager.hidden(uuid, &place, Hidden { unregister, user }));
        });
    }

    /// It is hidden; it may have a user still.
    pub(super) fn hidden(&mut self, uuid: Uuid, place: &Place, hidden: Hidden) {
        // It may have panicked meanwhile, and this UUID be another device's.
        let is_it = |it: &Instance| it.is_at(place.lane, place.id) && !it.off;
        let Some(instance) = self.instances.get(&uuid).filter(|it| is_it(it)) else { return };
        // Its user may have left since: news that wait are as new as can be, however early they came to wait.
        let is_used = hidden.unregister == Some(Unregister::InUse) && instance.user != Use::None;
        self.tell(uuid, "removed", Map::new());
        if !is_used {
            return self.take_off(uuid);
        }
        let Some(instance) = self.instances.get_mut(&uuid) else { return };
        instance.waited_for = true;
        instance.next_round = Some(Instant::now());
        let holder = hidden.user.map(Holder::new);
        let holder = holder.map_or("somebody".into(), |holder| format!("pid {}", holder.text()));
        // Once, as in the kernel.
        log::warn!(
            "{}: {uuid} is in use by {holder} and blocked until that lets it go; it is asked to every {} s",
            instance.label(),
            ROUND.as_secs()
        );
    }

    /// Asks users to go, and sends those away whose time has come.
    pub(super) fn do_what_is_due(&mut self, now: Instant) {
        let (mut rounds, mut forced) = (Vec::new(), Vec::new());
        for instance in self.instances.values_mut() {
            if instance.off {
                continue;
            }
            // Before it is hidden there is nobody to send away for good.
            if instance.waited_for && instance.force_at.is_some_and(|at| at <= now) {
                instance.force_at = None;
                instance.next_round = None;
                forced.push(instance.uuid);
            }
            if instance.next_round.is_some_and(|at| at <= now) {
                instance.next_round = Some(now + ROUND);
                rounds.push(instance.uuid);
            }
        }
        for uuid in rounds {
            self.tell(uuid, "request", Map::new());
            if let Some(place) = self.instances.get(&uuid).and_then(|it| it.place.clone()) {
                self.lanes.post(place.lane, move |event_loop| {
                    let _ = event_loop.request(place.id);
                });
            }
        }
        for uuid in forced {
            let Some(instance) = self.instances.get(&uuid) else { continue };
            log::warn!("{}: its user is sent away", instance.label());
            self.tell(uuid, "forced", Map::new());
            if let Some(place) = instance.place.clone() {
                self.lanes.post(place.lane, move |event_loop| event_loop.disconnect(place.id));
            }
        }
    }

    /// Nobody uses it: it comes off its loop.
    pub(super) fn take_off(&mut self, uuid: Uuid) {
        let Some(instance) = self.instances.get_mut(&uuid) else { return };
        let Some(place) = instance.place.clone().filter(|_| !instance.off) else { return };
        instance.off = true;
        (instance.next_round, instance.force_at) = (None, None);
        let handle = self.handle.clone();
        self.lanes.post(place.lane, move |event_loop| {
            let endpoint = event_loop.remove(place.id);
            handle.tell(move |manager| {
                // By this thread: it takes its time, and no guest waits for it here.
                if let Some(endpoint) = endpoint {
                    endpoint.shut_down();
                }
                let is_it = |it: &Instance| it.off && it.is_at(place.lane, place.id);
                if manager.instances.get(&uuid).is_some_and(is_it) {
                    manager.released(uuid);
                }
            });
        });
    }

    /// It is no more.
    pub(super) fn released(&mut self, uuid: Uuid) {
        let Some(lane) =
            self.instances.get(&uuid).and_then(|it| it.place.as_ref()).map(|it| it.lane)
        else {
            return;
        };
        self.lanes.give_back(lane);
        self.devices.forget(uuid);
        note(self.tree.remove(uuid));
        self.say_available();
        self.tell(uuid, "released", Map::new());
        let Some(instance) = self.instances.remove(&uuid) else { return };
        log::info!("{}: released", instance.label());
        self.say_status();
        for waiter in instance.waiters {
            self.answer(waiter, ());
        }
    }
}
