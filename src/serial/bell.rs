//! Who waits for a wire, and for its own client at the same time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Waits. Who is to be told of has a [`Ringer`].
#[derive(Debug)]
pub struct Bell(Arc<OwnedFd>);

/// Wakes who waits when it is dropped, by whomever and for whatever reason.
#[derive(Debug)]
pub struct Ringer(Weak<OwnedFd>);

/// What has ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The bell.
    Rung,
    /// The client has closed its connection: nobody wants to know any more.
    Left,
    /// Time.
    Late,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub fn ringer(&self) -> Ringer {
        Ringer(Arc::downgrade(&self.0))
    }

    /// Waits until it is rung, or `client` has left, but for `most` at most. A client that only says no more is still
    /// there.
    pub fn wait(&self, client: impl AsFd, most: Duration) -> Woken {
        let begun = Instant::now();
        loop {
            let left = most.saturating_sub(begun.elapsed());
            // What does not fit is no limit: `Duration::MAX` is for those who have none.
            let pause = Timespec::try_from(left).ok();
            let mut ends = [
                PollFd::new(&*self.0, PollFlags::IN),
                // Whether asked for or not, a hang-up is reported.
                PollFd::new(&client, PollFlags::empty()),
            ];
            // An interrupted wait is as good as one that was too short.
            let _ = poll(&mut ends, pause.as_ref());
            let [rung, gone] = ends.map(|end| !end.revents().is_empty());
            if rung {
                let _ = rustix::io::read(&*self.0, &mut [0; 8]);
                return Woken::Rung;
            }
            if gone {
                return Woken::Left;
            }
            if left.is_zero() {
                return Woken::Late;
            }
        }
    }
}

impl Ringer {
    /// Whether somebody may still wait.
    pub fn is_heard(&self) -> bool {
        self.0.strong_count() != 0
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        if let Some(bell) = self.0.upgrade() {
            #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
            let _ = rustix::io::write(&*bell, &1u64.to_ne_bytes());
        }
    }
}

/// Whether a client has closed its connection.
pub fn has_left(client: impl AsFd) -> bool {
    let mut ends = [PollFd::new(&client, PollFlags::empty())];
    let _ = poll(&mut ends, Some(&Timespec::default()));
    ends.iter().any(|end| !end.revents().is_empty())
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_client_that_says_no_more_is_waited_for_and_one_that_has_left_is_not() {
        let (client, server) = UnixStream::pair().unwrap();
        let bell = Bell::new().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(bell.wait(&server, Duration::ZERO), Woken::Late);
        assert!(!has_left(&server));
        drop(client);
        assert_eq!(bell.wait(&server, LONG), Woken::Left);
        assert!(has_left(&server));
    }

    #[test]
    fn it_is_rung_by_whoever_drops_the_ringer_and_once() {
        let (_client, server) = UnixStream::pair().unwrap();
        let bell = Bell::new().unwrap();
        let ringer = bell.ringer();
        assert!(ringer.is_heard());
        std::thread::spawn(move || drop(ringer));
        assert_eq!(bell.wait(&server, LONG), Woken::Rung);
        assert_eq!(bell.wait(&server, Duration::from_millis(1)), Woken::Late);
        let ringer = bell.ringer();
        drop(bell);
        assert!(!ringer.is_heard());
    }
}
