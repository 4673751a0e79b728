//! What the connections of a loop use in turn.

use crate::session::MAX_ANSWER;
use crate::transport::Fds;
use crate::wire::Header;

/// Room for one answer, shared by the connections of a loop: all of it is used before the next one is written.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) answer: Vec<u8>,
    /// Descriptors that the last read brought.
    pub(crate) fds: Fds,
    /// What a message without descriptors is given.
    pub(crate) none: Fds,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { answer: vec![0; Header::SIZE + MAX_ANSWER], fds: Fds::new(), none: Fds::new() }
    }

    /// Closes what a connection that broke off has left: the next read is another client's.
    #[inline]
    pub(crate) fn discard(&mut self) {
        self.fds.clear();
        self.none.clear();
    }
}
