//! What happens to devices, for whoever wants to hear of it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::serial::{Bell, Ringer, Woken};

/// Events that wait for one listener at most.
const MOST: usize = 1024;
/// A wait is done again after so long; it says nothing.
const ROUND: Duration = Duration::from_secs(3600);

/// Tells. There may be nobody to tell.
#[derive(Debug, Default)]
pub struct Events {
    listeners: Mutex<Vec<Arc<Mutex<Queue>>>>,
}

/// What waits for a listener.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<str>>,
    /// Dropped when there is something.
    ringer: Option<Ringer>,
    /// It has missed something, and hears no more.
    lost: bool,
}

/// Hears of all that happens from the moment at which it is made.
#[derive(Debug)]
pub struct Listening {
    queue: Arc<Mutex<Queue>>,
    bell: Bell,
}

/// What a listener hears next.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// An event, as a JSON object in one line.
    Event(Arc<str>),
    /// Too many waited to be heard.
    Lost,
    /// The client has left.
    Left,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// Tells all who listen, and waits for none of them.
    pub fn tell(&self, event: &'static str, members: Map<String, Value>) {
        let mut listeners = lock(&self.listeners);
        // Without another end nobody listens any more.
        listeners.retain(|queue| Arc::strong_count(queue) > 1 && !lock(queue).lost);
        if listeners.is_empty() {
            return;
        }
        let mut object = Map::from_iter([("event".to_owned(), event.into())]);
        object.extend(members);
        let line: Arc<str> = Value::Object(object).to_string().into();
        for queue in listeners.iter() {
            let mut queue = lock(queue);
            if queue.waiting.len() < MOST {
                queue.waiting.push_back(Arc::clone(&line));
            } else {
                queue.lost = true;
            }
            queue.ringer = None;
        }
    }

    /// # Errors
    /// When this process can open no more descriptors.
    pub fn listen(&self) -> io::Result<Listening> {
        let bell = Bell::new()?;
        let queue = Arc::new(Mutex::new(Queue::default()));
        lock(&self.listeners).push(Arc::clone(&queue));
        Ok(Listening { queue, bell })
    }
}

impl Listening {
    /// Waits for the next event, or until `client` has left.
    pub fn next(&self, client: impl AsFd) -> Heard {
        loop {
            {
                let mut queue = lock(&self.queue);
                if let Some(line) = queue.waiting.pop_front() {
                    return Heard::Event(line);
                }
                if queue.lost {
                    return Heard::Lost;
                }
                if queue.ringer.is_none() {
                    queue.ringer = Some(self.bell.ringer());
                }
            }
            if self.bell.wait(client.as_fd(), ROUND) == Woken::Left {
                return Heard::Left;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    fn number(number: usize) -> Map<String, Value> {
        Map::from_iter([("number".to_owned(), number.into())])
    }

    #[test]
    fn who_does_not_listen_to_what_happens_is_told_that_it_has_missed_some() {
        let (client, server) = UnixStream::pair().unwrap();
        let events = Events::default();
        let slow = events.listen().unwrap();
        (0..5000).for_each(|it| events.tell("opened", number(it)));
        for it in 0..1024 {
            let line = format!(r#"{{"event":"opened","number":{it}}}"#);
            assert_eq!(slow.next(&server), Heard::Event(line.into()));
        }
        assert_eq!(slow.next(&server), Heard::Lost);
        // The next one begins anew.
        let quick = events.listen().unwrap();
        events.tell("closed", Map::new());
        assert_eq!(quick.next(&server), Heard::Event(r#"{"event":"closed"}"#.into()));
        drop(client);
        assert_eq!(quick.next(&server), Heard::Left);
    }

    #[test]
    fn who_waits_hears_at_once_and_who_has_gone_is_forgotten() {
        let (_client, server) = UnixStream::pair().unwrap();
        let events = Arc::new(Events::default());
        let first = events.listen().unwrap();
        drop(events.listen().unwrap());
        let telling = Arc::clone(&events);
        let telling = thread::spawn(move || telling.tell("closed", Map::new()));
        assert_eq!(first.next(&server), Heard::Event(r#"{"event":"closed"}"#.into()));
        telling.join().unwrap();
        assert_eq!(lock(&events.listeners).len(), 1);
    }
}
