//! Bytes and descriptors over a connected `AF_UNIX` stream socket: one `recvmsg`, one `sendto`, never blocking.
//!
//! The kernel ends a read after the bytes of a send that carried descriptors. Given sends A (none), B (one), C (none),
//! the first read yields A + B and B's descriptor, the second C. So *descriptors belong to the last message begun in
//! a read*. `tests/transport.rs` watches over this: it is a habit of the kernel's, not a promise.
//!
//! Received descriptors are `OwnedFd`s from the first moment, close-on-exec, and closed when nobody wants them.

// UNSAFETY: recvmsg and getsockopt, and the ownership of the descriptors that recvmsg makes. rustix has the first safe
// at twice the instructions, and the second unsound: docs/adr/0007-scm-rights.md.
#![expect(unsafe_code, reason = "the first system call of every message")]
#![expect(
    clippy::host_endian_bytes,
    reason = "control data is in the layout of this host's kernel"
)]

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{self, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::closer::{self, Account};

/// Descriptors that can arrive with one read: the kernel's `SCM_MAX_FD`.
pub const MAX_RECEIVED_FDS: usize = 253;
/// Descriptors that [`send`] attaches at most.
pub const MAX_SENT_FDS: usize = 16;
/// How [`send`] does.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// Bytes in front of a control message's data, `struct cmsghdr`: its length as a long, level and type as ints.
const CONTROL_HEADER: usize = size_of::<usize>() + 2 * size_of::<i32>();

/// Control data for `N` bytes, aligned as the kernel aligns `struct cmsghdr`.
#[repr(align(8))]
struct Control<const N: usize>([u8; N]);

/// Bytes of control data, padding included, that `fds` descriptors take: `CMSG_SPACE`.
const fn control_space(fds: usize) -> usize {
    (CONTROL_HEADER + fds * size_of::<i32>()).next_multiple_of(size_of::<usize>())
}

/// A descriptor that somebody else has a say in: it is closed without waiting.
#[derive(Debug)]
pub struct Foreign {
    fd: ManuallyDrop<OwnedFd>,
    /// Who is answerable for it, if that is anybody in particular.
    account: Option<Account>,
}

impl Foreign {
    /// Has it closed on this account.
    pub(crate) fn charge(&mut self, account: &Account) {
        self.account = Some(account.clone());
    }
}

impl From<OwnedFd> for Foreign {
    fn from(fd: OwnedFd) -> Self {
        Self { fd: ManuallyDrop::new(fd), account: None }
    }
}

impl From<Foreign> for OwnedFd {
    fn from(mut foreign: Foreign) -> Self {
        foreign.account = None;
        let mut foreign = ManuallyDrop::new(foreign);
        // SAFETY: it is taken once, as `foreign` is not dropped.
        unsafe { ManuallyDrop::take(&mut foreign.fd) }
    }
}

impl AsFd for Foreign {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: it is taken once, as nothing looks at it after this.
        closer::close(unsafe { ManuallyDrop::take(&mut self.fd) }, self.account.take());
    }
}

/// Descriptors on their way from the socket to the message they belong to, in the order sent.
///
/// Holds up to [`MAX_RECEIVED_FDS`], for which the room is taken once, with the first.
#[derive(Default)]
pub struct Fds {
    held: Vec<Foreign>,
    /// What the next read's control data go to, since the first read; kept, since clearing it each time would cost more
    /// than the parsing.
    control: Option<Box<Rights>>,
}

/// Control data for as many descriptors as can come.
type Rights = Control<{ control_space(MAX_RECEIVED_FDS) }>;

impl Fds {
    /// An empty queue. It allocates with its first read, and with its first descriptor, and then no more.
    pub fn new() -> Self {
        Self::default()
    }

    /// Descriptors held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds a descriptor behind the others, for a transport that receives them itself. Returns `false` if there was no
    /// room; it is closed.
    pub fn push(&mut self, fd: OwnedFd) -> bool {
        keep(&mut self.held, fd.into())
    }

    /// Closes all.
    #[inline]
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.held.clear();
        }
    }

    /// Takes all, first ones first. Those that the iterator has not yielded when it is dropped are closed.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = OwnedFd> {
        self.held.drain(..).map(OwnedFd::from)
    }

    /// Whether each could be an eventfd.
    pub(crate) fn are_anonymous(&self) -> bool {
        self.held.iter().all(|fd| closer::is_anonymous(&fd.fd))
    }

    /// Has all closed on this account that are closed from here on.
    #[cold]
    pub(crate) fn charge(&mut self, account: &Account) {
        self.held.iter_mut().for_each(|fd| fd.charge(account));
    }

    /// Takes the only descriptor, if there is exactly one.
    pub fn take_only(&mut self) -> Option<Foreign> {
        if self.len() == 1 { self.held.pop() } else { None }
    }

    /// Moves all of `from` behind those already here. Returns `false` if some found no room; they are closed.
    pub fn append(&mut self, from: &mut Self) -> bool {
        from.held.drain(..).all(|fd| keep(&mut self.held, fd))
    }

    /// Takes over the descriptors of a read whose control data are the first `size` bytes of the buffer. Returns
    /// `false` if some found no room; they are closed.
    ///
    /// # Safety
    ///
    /// The bytes are as `recvmsg` has just written them, and this is the first look at them.
    #[cold]
    unsafe fn adopt(&mut self, size: usize) -> bool {
        let mut all = true;
        let control = self.control.as_ref().and_then(|control| control.0.get(..size));
        let mut rest = control.unwrap_or_default();
        while let Some((length, rights)) = control_header(rest) {
            let data = rest.get(CONTROL_HEADER..length).filter(|_| rights).unwrap_or_default();
            for fd in data.as_chunks().0 {
                // SAFETY: by this function's contract the kernel has just installed the descriptor for us, and
                // nobody else knows its number.
                let fd = unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(*fd)) };
                all &= keep(&mut self.held, fd.into());
            }
            rest = rest.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
        }
        all
    }
}

/// Appends if there is room, closes if not.
fn keep(held: &mut Vec<Foreign>, fd: Foreign) -> bool {
    let room = held.len() < MAX_RECEIVED_FDS;
    if room {
        held.reserve_exact(MAX_RECEIVED_FDS - held.len());
        held.push(fd);
    }
    room
}

/// Length, header included, of the control message at the front of `bytes`, and whether it is `SCM_RIGHTS`.
fn control_header(bytes: &[u8]) -> Option<(usize, bool)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let length = usize::from_ne_bytes(*length);
    let rights = i32::from_ne_bytes(*level) == libc::SOL_SOCKET
        && i32::from_ne_bytes(*kind) == libc::SCM_RIGHTS;
    (CONTROL_HEADER..=bytes.len()).contains(&length).then_some((length, rights))
}

impl fmt::Debug for Fds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.held).finish()
    }
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes put at the front of the buffer; 0 if the peer has closed the connection.
    pub bytes: usize,
    /// Descriptors appended.
    pub fds: usize,
    /// Descriptors were sent that did not arrive: this process may hold no more, or [`Fds`] was full. What they
    /// were sent for can only be refused.
    pub fds_lost: bool,
}

/// Takes what is there: up to `buf.len()` bytes, and the descriptors sent with the last of them, which are appended
/// to `fds`.
///
/// One `recvmsg`; allocates nothing but the first time, and with the first descriptor. Control messages other than `SCM_RIGHTS` are dropped.
///
/// # Errors
///
/// `WouldBlock` if nothing is there, `ConnectionReset` if the peer left with bytes of ours unread, `InvalidInput` for
/// an empty `buf`, which could not be told from the end of the stream.
pub fn receive(socket: impl AsFd, buf: &mut [u8], fds: &mut Fds) -> io::Result<Received> {
    if buf.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = socket.as_fd().as_raw_fd();
    let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: a msghdr is integers and pointers, for which 0 is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let control = fds.control.get_or_insert_with(|| Box::new(Control([0; _])));
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` points to `buf` and to `fds.control`, with their sizes, and both are borrowed mutably here.
    let bytes =
        retry(|| unsafe { libc::syscall(libc::SYS_recvmsg, socket, &raw mut message, flags) })?;

    let before = fds.len();
    let control_size = message.msg_controllen as usize;
    // SAFETY: the call above has filled that many bytes of it.
    let room = control_size == 0 || unsafe { fds.adopt(control_size) };
    let truncated = message.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received { bytes, fds: fds.len() - before, fds_lost: truncated || !room })
}

/// Sends `bytes`, and `fds` with the first of them. Returns how many bytes went out.
///
/// One `sendto`, or `sendmsg` if there are descriptors; allocates nothing. The number may be less than asked for: the rest
/// is to be sent later, without the descriptors, which have gone.
///
/// # Errors
///
/// `WouldBlock` if the socket's buffer is full, `BrokenPipe` (and no SIGPIPE) if the peer is gone, `InvalidInput` for
/// more than [`MAX_SENT_FDS`] descriptors, or for descriptors without a byte to go with.
#[inline]
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let sent = match fds {
        [] => retry_on_intr(|| net::send(&socket, bytes, SEND)),
        _ => send_with(socket.as_fd(), bytes, fds),
    };
    Ok(sent?)
}

#[cold]
fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut room = [const { MaybeUninit::uninit() }; cmsg_space!(ScmRights(MAX_SENT_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let fits = fds.len() <= MAX_SENT_FDS && control.push(SendAncillaryMessage::ScmRights(fds));
    if bytes.is_empty() || !fits {
        return Err(Errno::INVAL);
    }
    retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SEND))
}

/// Calls until no signal interrupts: a system call that returns a size, or -1 and errno. As a bare number: the C library's
/// own functions are points at which a thread can be cancelled, which takes as many instructions again as all else here.
fn retry(mut call: impl FnMut() -> libc::c_long) -> io::Result<usize> {
    loop {
        if let Ok(size) = usize::try_from(call()) {
            return Ok(size);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether the other end is closed altogether, though there may be something to read from it.
pub(crate) fn has_hung_up(socket: impl AsFd) -> bool {
    let mut ends = [PollFd::new(&socket, PollFlags::empty())];
    let known = poll(&mut ends, Some(&Timespec::default())).is_ok();
    known && ends.iter().any(|end| end.revents().contains(PollFlags::HUP))
}

/// Who is at the other end of a socket, or was when it connected: it may have handed the socket on since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The process; `None` if it lives in a PID namespace that is not visible from here, or on error.
    pub pid: Option<u32>,
    /// Its effective user, as this process's user namespace has it (65534 if that has no number for it); `None` on error.
    pub uid: Option<u32>,
}

/// Asks the system who is at the other end of a UNIX socket (`SO_PEERCRED`).
pub fn peer(socket: impl AsFd) -> Peer {
    // The kernel says pid 0 for a client of an outer namespace, when this server is in a container. rustix's type
    // for the answer cannot hold that.
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    let to = (&raw mut credentials).cast();
    // SAFETY: the option's value is a struct ucred, for which any bytes will do; `to` is one, and `size` its size.
    let result =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut size) };
    if result != 0 {
        return Peer::default();
    }
    let pid = u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0);
    // What is not connected has (uid_t)-1, which is no user.
    Peer { pid, uid: Some(credentials.uid).filter(|uid| *uid != u32::MAX) }
}
