//! A socket that this program was started with.

// UNSAFETY: the number of a descriptor is all that a command line can say, and nothing else makes an owned descriptor
// of a number.
#![expect(unsafe_code, reason = "see above")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};

use crate::errors::plain;

/// What `--fd` names.
pub enum Inherited {
    /// It listens.
    Listening(UnixListener),
    /// A client is at its other end.
    Connected(UnixStream),
}

/// Takes over the descriptor that `--fd` names. To be called once, and before the program opens any of its own.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn take(fd: RawFd) -> Result<Inherited, String> {
    let error = |what: &str| {
        format!("--fd {fd}: {what}; hand over a UNIX stream socket that listens or is connected")
    };
    let system = |errno: Errno| match errno {
        Errno::BADF => error("no such descriptor is open"),
        Errno::NOTSOCK => error("it is not a socket"),
        _ => error(&plain(&errno.into())),
    };

    // SAFETY: only asks the kernel whether there is such a descriptor; one that is open stays so, as nothing in this
    // program has got at it yet.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = fcntl_getfd(borrowed).map_err(system)?;
    // SAFETY: it is open, as was just seen, and was given to this program by whoever started it, to be its own.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // A command that `run` starts, say, has no business with it.
    fcntl_setfd(&socket, flags | FdFlags::CLOEXEC).map_err(system)?;

    let domain = sockopt::socket_domain(&socket).map_err(system)?;
    let kind = sockopt::socket_type(&socket).map_err(system)?;
    if domain != AddressFamily::UNIX || kind != SocketType::STREAM {
        return Err(error("it is another kind of socket"));
    }
    if sockopt::socket_acceptconn(&socket).map_err(system)? {
        return Ok(Inherited::Listening(socket.into()));
    }
    match rustix::net::getpeername(&socket) {
        Ok(_) => Ok(Inherited::Connected(socket.into())),
        Err(_) => Err(error("it neither listens nor is connected")),
    }
}
