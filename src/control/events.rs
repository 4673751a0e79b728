//! What happens to devices, for whoever wants to hear of it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::serial::{Bell, Ringer, Woken};

/// Events that wait for one listener at most.
const MOST: usize = 1024;

/// Tells. There may be nobody to tell.
#[derive(Debug, Default)]
pub struct Events {
    listeners: Mutex<Vec<Arc<Mutex<Queue>>>>,
}

/// What waits for a listener.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Arc<str>>,
    /// How many came when no more could wait: they follow those that do.
    lost: u64,
    /// Dropped when there is something.
    ringer: Option<Ringer>,
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
    /// Events in their order, each a JSON object in a line.
    Events(String),
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
        listeners.retain(|queue| Arc::strong_count(queue) > 1);
        if listeners.is_empty() {
            return;
        }
        let line: Arc<str> = line(event, members).into();
        for queue in listeners.iter() {
            let mut queue = lock(queue);
            // Nothing comes behind what is lost before that is said.
            if queue.waiting.len() < MOST && queue.lost == 0 {
                queue.waiting.push(Arc::clone(&line));
            } else {
                queue.lost += 1;
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

impl Queue {
    /// All that waits, and then how many are lost.
    fn take(&mut self) -> String {
        let mut lines = String::new();
        self.waiting.drain(..).for_each(|line| lines += &line);
        let lost = std::mem::take(&mut self.lost);
        if lost != 0 {
            lines += &line("lost", Map::from_iter([("count".to_owned(), lost.into())]));
        }
        lines
    }
}

impl Listening {
    /// Waits for the next events, or until `client` has left.
    pub fn next(&self, client: impl AsFd) -> Heard {
        loop {
            {
                let mut queue = lock(&self.queue);
                if !queue.waiting.is_empty() {
                    return Heard::Events(queue.take());
                }
                if queue.ringer.is_none() {
                    queue.ringer = Some(self.bell.ringer());
                }
            }
            if self.bell.wait(client.as_fd(), Duration::MAX) == Woken::Left {
                return Heard::Left;
            }
        }
    }
}

/// An event, as it is sent.
fn line(event: &str, members: Map<String, Value>) -> String {
    let mut object = Map::from_iter([("event".to_owned(), event.into())]);
    object.extend(members);
    Value::Object(object).to_string() + "\n"
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
    fn who_is_slower_than_what_happens_is_told_how_much_is_lost_and_goes_on() {
        let (client, server) = UnixStream::pair().unwrap();
        let events = Events::default();
        let slow = events.listen().unwrap();
        for first in [0, 5000] {
            (first..first + 5000).for_each(|it| events.tell("opened", number(it)));
            let opened = |it| format!("{{\"event\":\"opened\",\"number\":{it}}}\n");
            let mut lines: String = (first..first + 1024).map(opened).collect();
            lines += "{\"count\":3976,\"event\":\"lost\"}\n";
            assert_eq!(slow.next(&server), Heard::Events(lines));
        }
        // What is heard makes room.
        for it in 0..5000 {
            events.tell("opened", number(it));
            let line = format!("{{\"event\":\"opened\",\"number\":{it}}}\n");
            assert_eq!(slow.next(&server), Heard::Events(line));
        }
        drop(client);
        assert_eq!(slow.next(&server), Heard::Left);
    }

    #[test]
    fn who_waits_hears_at_once_and_who_has_gone_is_forgotten() {
        let (_client, server) = UnixStream::pair().unwrap();
        let events = Arc::new(Events::default());
        let first = events.listen().unwrap();
        drop(events.listen().unwrap());
        let telling = Arc::clone(&events);
        let telling = thread::spawn(move || telling.tell("closed", Map::new()));
        assert_eq!(first.next(&server), Heard::Events("{\"event\":\"closed\"}\n".into()));
        telling.join().unwrap();
        assert_eq!(lock(&events.listeners).len(), 1);
    }
}
