//! One client's socket: whole messages out of the stream, answers into it, never waiting.

mod answering;
mod special;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use vfio_device::Device;

use crate::closer::Account;
use crate::conduct::Conduct;
use crate::fault::Faults;
use crate::refusal::Refusal;
use crate::scratch::Scratch;
use crate::session::{MAX_MESSAGE, Session};
use crate::stats::Stats;
use crate::transport::{self, Fds, Foreign, Peer};
use crate::wire::Header;

/// What a connection holds for messages on their way in. A larger message makes it grow with the bytes that have
/// arrived, not with those that were announced.
const INBOX: usize = 8 << 10;
/// A buffer that grew beyond this is given back when it is empty.
const KEEP: usize = 128 << 10;

/// How long who has sent descriptors that are not closed yet rests, and who is to come, before it is looked whether they are.
pub(crate) const UNTIL_CLOSED: Duration = Duration::from_millis(10);

/// Who looks on while messages are handled: those who spoil them, and those who count them.
pub(crate) struct Watch<'a> {
    pub(crate) faults: Option<&'a mut Faults>,
    pub(crate) stats: &'a mut Stats,
    pub(crate) conduct: &'a mut Conduct,
}

/// What is to become of a connection after it has been attended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing more to do until something comes in, or until the client takes its answer (then `blocked`).
    Goes {
        /// An answer waits for room in the socket: nothing is read until it is out.
        blocked: bool,
    },
    /// By a fault, or for what it has sent: nothing is read or sent until [`Connection::rests_until`]; the client may leave.
    Rests,
    /// The client has left, or is to be left.
    Ends,
}

/// Whether the connection is held up: by a fault, or until what it has sent is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    No,
    Until(Instant),
    ForEver,
}

/// Descriptors of a message that could not be handled yet.
struct Held {
    fds: Fds,
    /// The end of the read that brought them, which lies in their message's bytes.
    at: usize,
    /// Some of them did not arrive.
    lost: bool,
}

impl Held {
    fn is_nothing(&self) -> bool {
        self.fds.is_empty() && !self.lost
    }

    /// What came with the bytes that end at `at`.
    fn keep(&mut self, fresh: &mut Fds, lost: bool, at: usize) {
        self.lost |= lost | !self.fds.append(fresh);
        self.at = at;
    }

    /// The descriptors of the message that ends at `end`, if it is theirs, and whether some of them are missing.
    fn belonging_to(&mut self, end: usize) -> Option<(&mut Fds, bool)> {
        let lost = self.at <= end && std::mem::take(&mut self.lost);
        (self.at <= end).then_some((&mut self.fds, lost))
    }
}

/// A client, from its first byte to its last.
pub(crate) struct Connection {
    /// What it has been sent and nobody has read goes with it, descriptors included.
    socket: Foreign,
    session: Session,
    /// Who is answerable for its descriptors.
    account: Account,
    /// Bytes received and not yet handled lie in `inbox[start..end]`.
    inbox: Vec<u8>,
    start: usize,
    end: usize,
    held: Held,
    /// The rest of an answer that did not fit into the socket, and what was to go along.
    outbox: Vec<u8>,
    outbox_fd: Option<OwnedFd>,
    /// The answer in the outbox is the last one.
    ending: bool,
    /// The device is not to be called any more.
    failed: bool,
    rest: Rest,
    /// Messages that were handled, and of those refused.
    pub(crate) handled: u64,
    pub(crate) refused: u64,
    /// Until when the client has to have said `VERSION`.
    pub(crate) deadline: Instant,
    /// The process that connected; `None` if it cannot be seen from here.
    pub(crate) pid: Option<u32>,
    /// Who it is, for the log.
    label: String,
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The client hears of it now, whenever the socket is closed.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// `may_open`: it can become the device's user.
    pub(crate) fn new(
        socket: UnixStream,
        account: &Account,
        id: u32,
        peer: Peer,
        may_open: bool,
        deadline: Instant,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let mut socket = Foreign::from(OwnedFd::from(socket));
        socket.charge(account);
        let pid = peer.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        Ok(Self {
            socket,
            session: if may_open { Session::new() } else { Session::of_stranger() },
            account: account.clone(),
            inbox: vec![0; INBOX],
            start: 0,
            end: 0,
            held: Held { fds: Fds::new(), at: 0, lost: false },
            outbox: Vec::new(),
            outbox_fd: None,
            ending: false,
            failed: false,
            rest: Rest::No,
            handled: 0,
            refused: 0,
            deadline,
            pid: peer.pid,
            label: format!("client {id}{pid}"),
        })
    }

    /// Whether it is the device's user: then the device is to be closed when it goes.
    pub(crate) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// What it has sent, and its end, is on this account from here on.
    pub(crate) fn charge(&mut self, account: &Account) {
        self.account = account.clone();
        self.socket.charge(account);
    }

    /// Whether it is to be attended to when something comes in, and at no time before.
    pub(crate) fn is_at_work(&self) -> bool {
        self.is_open() && self.rest == Rest::No
    }

    /// Whether it is to be turned away.
    pub(crate) fn is_stranger(&self) -> bool {
        self.session.is_strange()
    }

    /// Something has come in, or can go out. Takes what one read brings and handles the messages in it: of 8 KiB together,
    /// or one that is larger.
    pub(crate) fn attend(
        &mut self,
        device: &mut Device,
        scratch: &mut Scratch,
        mut watch: Watch<'_>,
    ) -> Flow {
        let rested = match self.rest {
            Rest::No if self.account.is_full() => {
                // Who has sent more than can be closed says no more until it is.
                self.rest = Rest::Until(Instant::now() + UNTIL_CLOSED);
                return Flow::Rests;
            }
            Rest::No => false,
            Rest::Until(time) if time <= Instant::now() && !self.account.is_full() => {
                self.rest = Rest::No;
                true
            }
            Rest::Until(_) | Rest::ForEver if transport::has_hung_up(&self.socket) => {
                return Flow::Ends;
            }
            Rest::Until(time) => {
                let now = Instant::now();
                self.rest = Rest::Until(if time <= now { now + UNTIL_CLOSED } else { time });
                return Flow::Rests;
            }
            Rest::ForEver => return Flow::Rests,
        };
        match self.try_attend(device, scratch, &mut watch, rested) {
            Ok(flow) => flow,
            Err(error) => {
                scratch.discard();
                log::debug!("{}: {}: connection lost: {error}", device.object(), self.label);
                Flow::Ends
            }
        }
    }

    /// Whether there is part of a message.
    #[inline]
    pub(crate) fn has_begun(&self) -> bool {
        self.start != self.end
    }

    /// What the client is waited for, for the log.
    pub(crate) fn awaited(&self) -> String {
        let waiting = self.inbox.get(self.start..self.end).unwrap_or_default();
        if !self.outbox.is_empty() {
            return "takes no answers: nothing it says is read until it does".into();
        }
        match Header::decode(waiting) {
            Some((Header { msg_size, .. }, _)) => {
                format!(
                    "has said {} of a message's {msg_size} bytes, and not the rest",
                    waiting.len()
                )
            }
            None => format!("has said {} bytes of a message, and not the rest", waiting.len()),
        }
    }

    /// When the connection is to be attended to next, whatever the client does.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        if let Rest::Until(time) = self.rest { Some(time) } else { None }
    }

    /// The device has panicked. Whatever the client waits for is answered with an error: the command in hand, which has
    /// not left the inbox, and those that have come in behind it. Nothing more can come, so this ends; what the client
    /// does not take at once is lost.
    pub(crate) fn fail(&mut self, device: &mut Device, scratch: &mut Scratch) {
        self.failed = true;
        // Nobody can ask for the counts any more.
        let (stats, conduct) = (&mut Stats::default(), &mut Conduct::default());
        let watch = &mut Watch { faults: None, stats, conduct };
        let result =
            shutdown(&self.socket, Shutdown::Read).map_err(io::Error::from).and_then(|()| {
                // What is in the inbox comes before what is not, and an outbox that is not empty before both.
                let mut rested = self.outbox.is_empty();
                while self.try_attend(device, scratch, watch, rested)?
                    == (Flow::Goes { blocked: false })
                {
                    rested = false;
                }
                Ok(())
            });
        scratch.discard();
        if let Err(error) = result {
            log::debug!("{}: {}: connection lost: {error}", device.object(), self.label);
        }
    }

    fn try_attend(
        &mut self,
        device: &mut Device,
        scratch: &mut Scratch,
        watch: &mut Watch<'_>,
        rested: bool,
    ) -> io::Result<Flow> {
        let mut fds_lost = false;
        if rested || !self.outbox.is_empty() {
            if !self.outbox.is_empty() && !self.flush(watch.stats)? {
                return Ok(Flow::Goes { blocked: true });
            }
            if self.ending {
                return Ok(Flow::Ends);
            }
            // What came in before the socket was full has waited for this. It is a turn's share.
        } else {
            let until = self.read_until();
            let room = self.inbox.get_mut(self.end..until).unwrap_or_default();
            let received = match transport::receive(&self.socket, room, &mut scratch.fds) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flow::Goes { blocked: false });
                }
                Err(error) => return Err(error),
            };
            if received.bytes == 0 {
                return Ok(Flow::Ends);
            }
            self.end += received.bytes;
            watch.stats.received = watch.stats.received.wrapping_add(received.bytes as u64);
            fds_lost = received.fds_lost;
        }
        self.handle_all(device, scratch, fds_lost, watch)
    }

    /// Handles the messages that are complete, as far as the client takes the answers. `scratch.fds` came with the
    /// bytes that end at `end`, and belong to the last message begun in them.
    fn handle_all(
        &mut self,
        device: &mut Device,
        scratch: &mut Scratch,
        fds_lost: bool,
        watch: &mut Watch<'_>,
    ) -> io::Result<Flow> {
        let with_fds = !scratch.fds.is_empty() || fds_lost || !self.held.is_nothing();
        let flow = if with_fds || self.failed || watch.faults.is_some() {
            self.handle_special(device, scratch, fds_lost, watch)?
        } else {
            self.handle_ordinary(device, scratch, watch)?
        };
        self.make_room();
        Ok(flow)
    }

    /// Handles messages to which there is no more than their bytes.
    fn handle_ordinary(
        &mut self,
        device: &mut Device,
        scratch: &mut Scratch,
        watch: &mut Watch<'_>,
    ) -> io::Result<Flow> {
        let mut flow = Flow::Goes { blocked: false };
        while flow == (Flow::Goes { blocked: false })
            && self.has_begun()
            && let Some((header, body)) = first_message(&self.inbox, self.start, self.end)
        {
            let result = body.and_then(|body| {
                watch.stats.count(header.command);
                let out = scratch.answer.get_mut(Header::SIZE..).unwrap_or_default();
                let result = self.session.handle(device, &header, body, &mut scratch.none, out);
                // Not before: what a device panics at is answered by `fail`.
                self.start += Header::SIZE + body.len();
                self.handled = self.handled.wrapping_add(1);
                result
            });
            flow = match result {
                Ok(answer) => self.reply(device, &header, answer, scratch, watch.stats)?,
                Err(_) => self.answer(device, header, result, None, scratch, watch)?,
            };
        }
        Ok(flow)
    }

    /// Where the next read ends at the latest: a client whose inbox has grown gets no more messages handled in a turn
    /// than any other.
    fn read_until(&self) -> usize {
        let begun = if self.has_begun() { self.begun_size() } else { 0 };
        (self.start + begun.max(INBOX)).min(self.inbox.len())
    }

    /// Bytes of the message that has begun, once it has said so.
    fn begun_size(&self) -> usize {
        let waiting = self.inbox.get(self.start..self.end).unwrap_or_default();
        Header::decode(waiting).map_or(0, |(header, _)| header.msg_size as usize)
    }

    /// Makes sure that the next read has somewhere to go.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end, self.held.at) = (0, 0, 0);
            if self.inbox.len() > KEEP {
                self.inbox = vec![0; INBOX];
            }
        } else if self.end == self.inbox.len() {
            self.inbox.copy_within(self.start..self.end, 0);
            self.held.at = self.held.at.saturating_sub(self.start);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.inbox.len() {
                let size = (2 * self.end).min(MAX_MESSAGE);
                self.inbox.reserve_exact(size - self.end); // else the last step would take twice as much
                self.inbox.resize(size, 0);
            }
        }
    }
}

/// The message at the front of what has come in, once it is complete: its header, and its body. Of one that can have no
/// such size the body is a refusal: where the next one begins is unknown or not waited for.
#[inline]
fn first_message(
    inbox: &[u8],
    start: usize,
    end: usize,
) -> Option<(Header, Result<&[u8], Refusal>)> {
    let waiting = inbox.get(start..end)?;
    let (header, rest) = Header::decode(waiting)?;
    let (size, limit) = (header.msg_size, MAX_MESSAGE as u32);
    match (size as usize).checked_sub(Header::SIZE) {
        None => Some((header, Err(Refusal::ShortMessage { size }))),
        Some(_) if size > limit => Some((header, Err(Refusal::LongMessage { size, limit }))),
        Some(body) => Some((header, Ok(rest.get(..body)?))),
    }
}
