//! Takes all, sends nothing.

use super::{End, Events, Sent};

#[derive(Debug)]
pub(crate) struct Null;

impl End for Null {
    fn is_connected(&self) -> bool {
        true
    }

    fn send(&mut self, bytes: &[u8], _events: &mut Events) -> Sent {
        Sent::Took(bytes.len())
    }

    fn receive(&mut self, _into: &mut [u8], _events: &mut Events) -> usize {
        0
    }
}
