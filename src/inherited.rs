//! Descriptors that this program was started with.

// UNSAFETY: the number of a descriptor is all that a command line or a variable can say, and nothing else makes an owned
// descriptor of a number.
#![expect(unsafe_code, reason = "see above")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketType};

use crate::errors::plain;

/// A socket that was handed over.
pub enum Inherited {
    /// It listens.
    Listening(UnixListener),
    /// A client is at its other end.
    Connected(UnixStream),
}

/// Takes a descriptor over. To be called once for each number, and before the program opens any descriptor of its own.
fn own(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: only asks the kernel whether there is such a descriptor; one that is open stays so, as nothing in this
    // program has got at it yet.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = fcntl_getfd(borrowed)?;
    // SAFETY: it is open, as was just seen, and was given to this program by whoever started it, to be its own.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    // A command that `run` starts, say, has no business with it.
    fcntl_setfd(&owned, flags | FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Takes over the socket with this number, which `name` says where it comes from. To be called once for each number, and
/// before the program opens any descriptor of its own.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn take(fd: RawFd, name: &str) -> Result<Inherited, String> {
    let error = |what: &str| {
        format!("{name}: {what}; hand over a UNIX stream socket that listens or is connected")
    };
    let system = |errno: Errno| match errno {
        Errno::BADF => error("no such descriptor is open"),
        Errno::NOTSOCK => error("it is not a socket"),
        _ => error(&plain(&errno.into())),
    };

    let socket = own(fd).map_err(system)?;
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

/// Takes over the descriptor with this number, which is to be written to; under the same conditions.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn take_writable(fd: RawFd, name: &str) -> Result<OwnedFd, String> {
    let error =
        |what: &str| format!("{name}: {what}; hand over the end of a pipe that can be written to");
    let system = |errno: Errno| match errno {
        Errno::BADF => error("no such descriptor is open"),
        _ => error(&plain(&errno.into())),
    };
    let descriptor = own(fd).map_err(system)?;
    let flags = fcntl_getfl(&descriptor).map_err(system)?;
    if flags & OFlags::ACCMODE == OFlags::RDONLY || flags.contains(OFlags::PATH) {
        return Err(error("it cannot be written to"));
    }
    Ok(descriptor)
}
