//! The part of the command line that has to do with whoever manages the machine.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Args, ValueHint};

#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Socket {
    /// Make the socket at PATH (mode 0600) and remove it at the end. A stale one is taken over, one that somebody
    /// listens on is not
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket_path: Option<PathBuf>,

    /// Use the open file descriptor N: a listening UNIX stream socket, or one that a client is connected to already
    /// (the program then ends with that client). What systemd hands over by LISTEN_FDS needs no option
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = descriptor)]
    pub fd: Option<RawFd>,
}

fn descriptor(text: &str) -> Result<RawFd, &'static str> {
    match text.parse() {
        Ok(0..=2) => {
            Err("0, 1 and 2 are the standard streams; hand another one over, as 3 or above")
        }
        Ok(fd) if fd > 2 => Ok(fd),
        Ok(_) | Err(_) => Err("a descriptor is a number, 3 or above"),
    }
}

/// How to be told that a server is ready.
#[derive(Debug, Args)]
pub struct Ready {
    /// When clients can connect, write a line end to the open file descriptor N and close it, as s6 has it. systemd is told
    /// by NOTIFY_SOCKET
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = descriptor)]
    pub ready_fd: Option<RawFd>,
}

/// Who may use a server's sockets.
#[derive(Debug, Args)]
pub struct Peers {
    /// Let processes of this user (a number) use the sockets, and none of others: neither root nor you unless named too.
    /// Can be given several times. The mode of the sockets stays 0600
    #[arg(long = "allow-uid", value_name = "UID", allow_negative_numbers = true, value_parser = uid)]
    allow_uids: Vec<u32>,
}

impl Peers {
    /// Those users; `None` if whoever may connect may.
    pub fn uids(&self) -> Option<Vec<u32>> {
        (!self.allow_uids.is_empty()).then(|| self.allow_uids.clone())
    }
}

fn uid(text: &str) -> Result<u32, &'static str> {
    // The last number means nobody at all.
    let uid = text.parse().ok().filter(|uid| *uid < u32::MAX);
    uid.ok_or("a user is a number, 0 to 4294967294; `id -u NAME` tells it")
}
