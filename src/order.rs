//! Something that another thread is to do in time, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Waits for the answer.
pub struct Awaited<T> {
    /// By the other thread, which does it, or by us, who do not wait any longer: whoever is first.
    taken: Arc<AtomicBool>,
    answer: Receiver<T>,
}

/// `what` for the thread that is to do it, and who waits for that.
pub fn order<C: ?Sized, T: Send + 'static>(
    what: impl FnOnce(&mut C) -> T + Send + 'static,
) -> (impl FnOnce(&mut C) + Send + 'static, Awaited<T>) {
    let (sender, answer) = sync_channel(1);
    let taken = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&taken);
    let order = move |on: &mut C| {
        if !theirs.swap(true, Ordering::AcqRel) {
            let _ = sender.try_send(what(on));
        }
    };
    (order, Awaited { taken, answer })
}

impl<T> Awaited<T> {
    /// What it was answered with, if it was begun within `patience`.
    ///
    /// # Errors
    /// `Timeout`: it was not, and is not done any more. `Disconnected`: nobody is there to do it.
    pub fn within(self, patience: Duration) -> Result<T, RecvTimeoutError> {
        match self.answer.recv_timeout(patience) {
            // They are at it.
            Err(RecvTimeoutError::Timeout) if self.taken.swap(true, Ordering::AcqRel) => {
                self.answer.recv().map_err(|_| RecvTimeoutError::Disconnected)
            }
            answer => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_nobody_came_to_in_time_is_not_done_any_more() {
        let (order, awaited) = order(|count: &mut u32| *count += 1);
        assert_eq!(awaited.within(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        let mut count = 0;
        order(&mut count);
        assert_eq!(count, 0);
    }

    #[test]
    fn what_has_been_begun_is_waited_for() {
        let (begun, has_begun) = channel();
        let (order, awaited) = order(move |count: &mut u32| {
            begun.send(()).unwrap();
            thread::sleep(Duration::from_millis(50));
            *count + 1
        });
        let other = thread::spawn(move || order(&mut 6));
        has_begun.recv().unwrap();
        assert_eq!(awaited.within(Duration::ZERO), Ok(7));
        other.join().unwrap();
    }

    #[test]
    fn where_nobody_is_to_do_it_nobody_waits() {
        let (order, awaited) = order(|_: &mut u32| ());
        drop(order);
        assert_eq!(awaited.within(LONG), Err(RecvTimeoutError::Disconnected));
    }
}
