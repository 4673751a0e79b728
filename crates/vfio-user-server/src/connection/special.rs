//! Messages to which there is more than their bytes: descriptors, faults, a device that has failed.

use std::io;

use vfio_device::Device;

use super::{Connection, Flow, Watch, first_message};
use crate::fault::Effect;
use crate::refusal::Refusal;
use crate::scratch::Scratch;
use crate::wire::Header;

impl Connection {
    /// Handles messages of which one may have descriptors, or may be spoilt.
    #[cold]
    pub(super) fn handle_special(
        &mut self,
        device: &mut Device,
        scratch: &mut Scratch,
        fds_lost: bool,
        watch: &mut Watch<'_>,
    ) -> io::Result<Flow> {
        scratch.fds.charge(&self.account);
        let mut fresh_lost = fds_lost;
        let mut flow = Flow::Goes { blocked: false };
        while flow == (Flow::Goes { blocked: false })
            && let Some((header, body)) = first_message(&self.inbox, self.start, self.end)
        {
            if let Err(refusal) = body {
                flow = self.answer(device, header, Err(refusal), None, scratch, watch)?;
                break;
            }
            watch.stats.count(header.command);
            flow = self.handle_specially(device, header, scratch, &mut fresh_lost, watch)?;
        }
        if !scratch.fds.is_empty() || fresh_lost {
            // What is left over waits with what is left. A stranger has no use for descriptors, and with a dozen others
            // could use up what this process may hold.
            if !self.is_open() {
                fresh_lost |= !scratch.fds.is_empty();
                scratch.fds.clear();
            }
            self.held.keep(&mut scratch.fds, fresh_lost, self.end);
        }
        Ok(flow)
    }

    /// Handles the message at the front of the inbox, which is complete, where there is more to it than its bytes.
    fn handle_specially(
        &mut self,
        device: &mut Device,
        header: Header,
        scratch: &mut Scratch,
        fresh_lost: &mut bool,
        watch: &mut Watch<'_>,
    ) -> io::Result<Flow> {
        let end = self.start + header.msg_size as usize;
        let body = self.inbox.get(self.start + Header::SIZE..end).unwrap_or_default();
        if self.end == end && (!scratch.fds.is_empty() || *fresh_lost) {
            self.held.keep(&mut scratch.fds, std::mem::take(fresh_lost), end);
        }
        let (fds, lost) = self.held.belonging_to(end).unwrap_or((&mut scratch.none, false));
        let faults = watch.faults.as_deref_mut();
        let effect = faults.and_then(|faults| faults.message(&self.label, &header, body));
        let out = scratch.answer.get_mut(Header::SIZE..).unwrap_or_default();
        let result = match effect {
            Some(Effect::Disconnect) => return Ok(Flow::Ends),
            Some(Effect::Error(errno)) => Err(Refusal::Injected { errno }),
            _ if lost => Err(Refusal::DescriptorsLost),
            _ if self.failed => Err(Refusal::DeviceFailed),
            _ => self.session.handle(device, &header, body, fds, out),
        };
        fds.clear();
        self.start = end;
        self.handled += 1;
        let flow = self.answer(device, header, result, effect, scratch, watch)?;
        if watch.faults.is_some() {
            device.repeat_stuck_irqs();
        }
        Ok(flow)
    }
}
