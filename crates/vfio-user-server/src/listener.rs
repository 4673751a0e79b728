//! The socket on which clients come.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::closer::{self, Account};
pub use crate::socket_path::ListenError;
use crate::socket_path::{SocketFile, listen_at};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A listening socket; one that was made here goes from the file system when it is dropped, one that was inherited
/// stays.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    own: Option<SocketFile>,
}

impl Listener {
    /// Makes a socket at `path`, mode 0600 from its first moment. One that is there already is taken over if nobody
    /// listens on it any more.
    ///
    /// # Errors
    /// [`ListenError`] names the path and the way out.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let (socket, file) = listen_at(path, BACKLOG)?;
        Ok(Self { socket: socket.into(), own: Some(file) })
    }

    /// Takes a socket over that listens already. Its file, if it has one, is somebody else's.
    ///
    /// # Errors
    /// What making it non-blocking answered.
    pub fn inherited(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, own: None })
    }

    /// The path, if the socket was made here.
    pub fn path(&self) -> Option<&Path> {
        self.own.as_ref().map(SocketFile::path)
    }

    /// Accepts a connection, if one waits. The socket blocks, whatever the listener does.
    ///
    /// # Errors
    /// What the system answered, as when this process can open no more descriptors.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((socket, _)) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The client left before we got to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Who has not been accepted may have sent what is not to be closed here. Those who wait at an inherited socket are
        // for whoever holds it next.
        let account = Account::default();
        let most = if self.own.take().is_some() { 2 * BACKLOG } else { 0 };
        for _ in 0..most {
            match self.socket.accept() {
                Ok((stream, _)) => closer::close_elsewhere(stream.into(), &account),
                Err(_) => break,
            }
        }
    }
}
