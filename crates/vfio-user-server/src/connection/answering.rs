//! Answers on their way into the socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use vfio_device::{Device, Errno};

use super::{Connection, Flow, Rest, Watch};
use crate::fault::Effect;
use crate::refusal::Refusal;
use crate::scratch::Scratch;
use crate::session::Answer;
use crate::stats::Stats;
use crate::transport;
use crate::wire::Header;

impl Connection {
    /// Sends the reply to a command that was carried out: `scratch` holds its body behind the room for the header.
    #[inline]
    pub(super) fn reply(
        &mut self,
        device: &Device,
        header: &Header,
        answer: Answer,
        scratch: &mut Scratch,
        stats: &mut Stats,
    ) -> io::Result<Flow> {
        if header.wants_reply() {
            let size = Header::SIZE + answer.body;
            header.reply(size as u32).encode(&mut scratch.answer);
            let bytes = scratch.answer.get(..size).unwrap_or_default();
            self.send(bytes, descriptor(device, &answer), stats)?;
        }
        Ok(Flow::Goes { blocked: !self.outbox.is_empty() })
    }

    /// Answers a command in any case: one that was refused, or whose answer a fault spoils.
    #[cold]
    pub(super) fn answer(
        &mut self,
        device: &Device,
        header: Header,
        result: Result<Answer, Refusal>,
        effect: Option<Effect>,
        scratch: &mut Scratch,
        watch: &mut Watch<'_>,
    ) -> io::Result<Flow> {
        let (mut reply, mut answer, mut ends) = match result {
            Ok(answer) => (
                header.reply(u32::try_from(Header::SIZE + answer.body).unwrap_or(0)),
                answer,
                false,
            ),
            Err(refusal) => {
                watch.stats.refused += 1;
                if let Refusal::NotOpened { errno } = refusal {
                    watch.stats.not_opened = Some(Errno::from_raw_os_error(errno));
                }
                let (client, before) = (&self.label, self.refused);
                watch.conduct.refused(device.object(), client, before, header.command, &refusal);
                self.refused += 1;
                (
                    header.refuse(&refusal),
                    Answer { body: 0, region_fd: None },
                    refusal.ends_session(),
                )
            }
        };
        if let Some(Effect::Short(most)) = effect {
            answer.body = answer.body.min(most);
            reply.msg_size = u32::try_from(Header::SIZE + answer.body).unwrap_or(0);
        }
        if header.wants_reply() && effect != Some(Effect::Drop) {
            reply.encode(&mut scratch.answer);
            let mut bytes = scratch.answer.get(..Header::SIZE + answer.body).unwrap_or_default();
            if let Some(Effect::Cut(most)) = effect {
                bytes = bytes.get(..most).unwrap_or(bytes);
            }
            let fd = descriptor(device, &answer);
            if matches!(effect, Some(Effect::Delay(_) | Effect::Stall)) {
                self.keep(bytes, fd)?;
            } else if !bytes.is_empty() {
                self.send(bytes, fd, watch.stats)?;
            }
        }
        match effect {
            Some(Effect::Cut(_)) => ends = true,
            Some(Effect::Delay(time)) => self.rest = Rest::Until(Instant::now() + time),
            Some(Effect::Stall) => self.rest = Rest::ForEver,
            _ => (),
        }
        if self.rest != Rest::No {
            self.ending = ends;
            return Ok(Flow::Rests);
        }
        let blocked = !self.outbox.is_empty();
        self.ending = ends;
        if ends && !blocked { Ok(Flow::Ends) } else { Ok(Flow::Goes { blocked }) }
    }

    /// Sends, and keeps what the socket does not take.
    #[inline(always)]
    fn send(
        &mut self,
        bytes: &[u8],
        fd: Option<BorrowedFd<'_>>,
        stats: &mut Stats,
    ) -> io::Result<()> {
        let sent = match transport::send(&self.socket, bytes, fd.as_slice()) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        stats.sent = stats.sent.wrapping_add(sent as u64);
        if sent < bytes.len() {
            // Descriptors go with the first byte.
            self.keep(bytes.get(sent..).unwrap_or_default(), fd.filter(|_| sent == 0))?;
        }
        Ok(())
    }

    #[cold]
    fn keep(&mut self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.outbox.extend_from_slice(bytes);
        self.outbox_fd = fd.map(|fd| fd.try_clone_to_owned()).transpose()?;
        Ok(())
    }

    /// Goes on sending what is in the outbox; `true` if all of it is out.
    #[cold]
    pub(super) fn flush(&mut self, stats: &mut Stats) -> io::Result<bool> {
        let fd = self.outbox_fd.as_ref().map(AsFd::as_fd);
        match transport::send(&self.socket, &self.outbox, fd.as_slice()) {
            Ok(sent) => {
                stats.sent += sent as u64;
                self.outbox.drain(..sent);
                self.outbox_fd = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) => return Err(error),
        }
        if self.outbox.is_empty() {
            self.outbox = Vec::new();
        }
        Ok(self.outbox.is_empty())
    }
}

/// What goes with an answer.
fn descriptor<'a>(device: &'a Device, answer: &Answer) -> Option<BorrowedFd<'a>> {
    Some(device.region(answer.region_fd?)?.memory()?.fd())
}
