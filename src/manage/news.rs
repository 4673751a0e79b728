//! What a loop has to tell of clients, until the manager hears it. Clients come and go as fast as they like, and the manager
//! writes files for them: so it hears of many at once, and there is a bound to what waits for it.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfio_user_server::{Endpoint, EndpointId, EventLoop, LoopHandle, User};

use super::handle::Handle;

/// What waits to be told of one device, about.
const MOST: usize = 16;

/// What has become of a device's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Came,
    /// Who that is; `None` if it has left by now, or cannot be seen.
    Known(Option<User>),
    Left,
}

/// Changes in their order.
pub type Changes = Vec<(EndpointId, Change)>;

/// Of one loop. There is one message in the manager's queue for each of its batches, and one in the loop's own.
#[derive(Clone)]
pub struct News {
    lane: usize,
    manager: Handle,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    changes: Changes,
    /// A message takes those of its own batch and no later ones.
    batch: u64,
    /// Devices whose users nobody has seen yet.
    unseen: Vec<EndpointId>,
}

impl News {
    pub fn new(lane: usize, manager: Handle) -> Self {
        Self { lane, manager, waiting: Arc::default() }
    }

    /// A client has come. Who it is can be seen only between two events of the loop; it may have left by then.
    pub fn come(&self, id: EndpointId, event_loop: &LoopHandle) {
        self.add(id, Change::Came);
        let mut waiting = self.lock();
        let is_first = waiting.unseen.is_empty();
        if !waiting.unseen.contains(&id) {
            waiting.unseen.push(id);
        }
        drop(waiting);
        if is_first {
            let news = self.clone();
            event_loop.post(move |event_loop| news.see(event_loop));
        }
    }

    fn see(&self, event_loop: &EventLoop) {
        let unseen = mem::take(&mut self.lock().unseen);
        for id in unseen {
            self.add(id, Change::Known(event_loop.get(id).and_then(Endpoint::user)));
        }
    }

    /// Tells the manager, sooner or later.
    pub fn add(&self, id: EndpointId, change: Change) {
        let mut waiting = self.lock();
        let is_first = waiting.changes.is_empty();
        add(&mut waiting.changes, id, change);
        if is_first {
            let (news, batch) = (self.clone(), waiting.batch);
            self.manager.tell(move |manager| {
                let mut waiting = news.lock();
                if waiting.batch != batch {
                    return;
                }
                let changes = mem::take(&mut waiting.changes);
                drop(waiting);
                manager.hear(news.lane, changes);
            });
        }
    }

    /// Ends a batch: what comes from here on is heard after whatever the manager is told next.
    pub fn close(&self) {
        let changes = {
            let mut waiting = self.lock();
            waiting.batch += 1;
            mem::take(&mut waiting.changes)
        };
        let lane = self.lane;
        self.manager.tell(move |manager| manager.hear(lane, changes));
    }

    // Held for a moment, by a loop and the manager only.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where too much waits for a device, a user that has left is left out, with all that would be told of it.
fn add(waiting: &mut Changes, id: EndpointId, change: Change) {
    let is_its = |(other, _): &&(EndpointId, Change)| *other == id;
    // Of one that has left by now nothing more is known.
    let is_late = || waiting.iter().rfind(is_its).is_some_and(|it| it.1 != Change::Came);
    if matches!(change, Change::Known(_)) && is_late() {
        return;
    }
    let came = waiting.iter().rposition(|it| *it == (id, Change::Came));
    match came.filter(|_| change == Change::Left && waiting.iter().filter(is_its).count() > MOST) {
        Some(came) => {
            let mut place = 0..;
            waiting.retain(|it| place.next() < Some(came) || !is_its(&it));
        }
        None => waiting.push((id, change)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vfio_device::Vfio;
    use vfio_user_server::Listener;

    use super::*;
    use crate::idle;
    use crate::manage::{Allowed, channels};
    use crate::parents::{Parents, Pools};

    /// Names of endpoints can be had of a loop only.
    fn ids() -> [EndpointId; 2] {
        let directory = tempfile::tempdir().unwrap();
        let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
        ["one", "two"].map(|name| {
            let listener = Listener::bind(&directory.path().join(name)).unwrap();
            event_loop.add(Endpoint::new(idle::device(&Vfio::new()), listener)).unwrap()
        })
    }

    #[test]
    fn of_users_that_come_and_go_few_wait_and_those_whole() {
        let [one, two] = ids();
        let mut waiting = Changes::new();
        // The first has been told of already.
        add(&mut waiting, one, Change::Left);
        for round in 0..1000 {
            add(&mut waiting, one, Change::Came);
            // Of another device everything is told.
            match round {
                500 => add(&mut waiting, two, Change::Came),
                501 => add(&mut waiting, two, Change::Left),
                _ => (),
            }
            add(&mut waiting, one, Change::Known(None));
            add(&mut waiting, one, Change::Left);
        }
        add(&mut waiting, one, Change::Came);
        let of = |id| waiting.iter().filter(move |it| it.0 == id).map(|it| it.1);
        assert_eq!(of(two).collect::<Vec<_>>(), [Change::Came, Change::Left]);
        let whole = [Change::Came, Change::Known(None), Change::Left];
        let mut expected = vec![Change::Left];
        (0..5).for_each(|_| expected.extend(whole));
        expected.push(Change::Came);
        assert_eq!(of(one).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn there_is_one_message_for_all_that_waits() {
        let [one, two] = ids();
        let (sender, messages) = channels();
        let parents = Arc::new(Parents::with(Pools::default()));
        let news = News::new(0, Handle::new(sender, parents, Allowed::default()));
        for id in [one, two] {
            (0..100).for_each(|_| news.add(id, Change::Came));
        }
        assert_eq!(messages.try_iter().count(), 1);
        // Taken, as that message would have done.
        news.lock().changes.clear();
        news.add(one, Change::Left);
        assert_eq!(messages.try_iter().count(), 1);
    }

    #[test]
    fn users_of_a_device_are_looked_at_once_for_all_that_have_come() {
        let [one, two] = ids();
        let (sender, _messages) = channels();
        let parents = Arc::new(Parents::with(Pools::default()));
        let news = News::new(0, Handle::new(sender, parents, Allowed::default()));
        let mut event_loop = EventLoop::new(Duration::ZERO).unwrap();
        event_loop.stay();
        let handle = event_loop.handle();
        (0..100).for_each(|_| [one, two].iter().for_each(|id| news.come(*id, &handle)));
        let stopping = handle.clone();
        handle.post(move |_| stopping.stop());
        event_loop.run(|_, _| ()).unwrap();
        let waiting = news.lock();
        let seen = waiting.changes.iter().filter(|it| it.1 == Change::Known(None)).count();
        assert_eq!((seen, waiting.unseen.len()), (2, 0));
    }
}
