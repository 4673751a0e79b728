//! Addresses, and sockets that come and go to them.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
    sockopt,
};

use crate::OpenError;
use crate::end::Target;

/// How long to wait, when the end is opened, for each address of a host that must be there.
const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses of a host, in the system's order. May wait for a name server.
pub(crate) fn resolve(host: &str, port: &str) -> Result<Vec<SocketAddr>, OpenError> {
    let fail = |error| OpenError::Resolve { host: host.into(), port: port.into(), error };
    let number = tcp_port(port).ok_or_else(|| {
        fail(io::Error::new(io::ErrorKind::NotFound, "no such TCP service in /etc/services"))
    })?;
    let found: Vec<_> = (host, number).to_socket_addrs().map_err(fail)?.collect();
    if found.is_empty() {
        return Err(fail(io::ErrorKind::NotFound.into()));
    }
    Ok(found)
}

/// The port that a user means by `port`: its number, or the name that `/etc/services` has for it. `None` if there is no
/// such service.
pub fn tcp_port(port: &str) -> Option<u16> {
    port.parse().ok().or_else(|| service(port))
}

/// The port of a service's name.
fn service(name: &str) -> Option<u16> {
    let services = std::fs::read_to_string("/etc/services").ok()?;
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let (official, port) = (words.next()?, words.next()?);
        let number = port.strip_suffix("/tcp")?.parse().ok()?;
        (official == name || words.any(|alias| alias == name)).then_some(number)
    })
}

fn tcp_socket(address: &SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
}

/// Listens on all of the addresses that this machine has; answers the sockets, and the first one's address with its port.
/// Port 0 is the same free one with each of them.
pub(crate) fn listen_on(
    addresses: &[SocketAddr],
    backlog: i32,
) -> Result<(Vec<OwnedFd>, String), OpenError> {
    let attempt = |address: &SocketAddr| -> Result<(OwnedFd, SocketAddr), Errno> {
        let socket = tcp_socket(address)?;
        // Else the port could not be had again until connections of yesterday are forgotten.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, address)?;
        listen(&socket, backlog)?;
        let bound = SocketAddr::try_from(getsockname(&socket)?).unwrap_or(*address);
        Ok((socket, bound))
    };
    let fail = |address: &SocketAddr, error: Errno| OpenError::Bind {
        address: address.to_string(),
        error: error.into(),
    };
    let (mut sockets, mut first, mut refusal) = (Vec::new(), None::<SocketAddr>, None);
    for (number, address) in addresses.iter().enumerate() {
        // A resolver may say a thing twice.
        if addresses.iter().take(number).any(|earlier| earlier == address) {
            continue;
        }
        let mut address = *address;
        if let Some(first) = first.filter(|_| address.port() == 0) {
            address.set_port(first.port());
        }
        match attempt(&address) {
            Ok((socket, bound)) => {
                sockets.push(socket);
                first.get_or_insert(bound);
            }
            // Who connects would find us or somebody else, by chance.
            Err(error @ Errno::ADDRINUSE) => return Err(fail(&address, error)),
            Err(error) => refusal = Some(fail(&address, error)),
        }
    }
    match (first, refusal) {
        (Some(first), _) => Ok((sockets, first.to_string())),
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Err(io::Error::from(io::ErrorKind::AddrNotAvailable).into()),
    }
}

/// A socket to `target`, and whether it is connected already; if not, it says so by being writable.
pub(crate) fn connect_to(target: &mut Target) -> Result<(OwnedFd, bool), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, done) = match target {
        Target::Unix(address) => {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            let done = connect(&socket, &*address);
            (socket, done)
        }
        Target::Tcp(addresses, next) => {
            let address = addresses.get(*next % addresses.len().max(1)).ok_or(Errno::INVAL)?;
            *next = next.wrapping_add(1);
            let socket = tcp_socket(address)?;
            let done = connect(&socket, address);
            (socket, done)
        }
    };
    match done {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

/// A connection that must be had now.
pub(crate) fn connect_now(target: &Target, name: &str) -> Result<OwnedFd, OpenError> {
    let fail = |error| OpenError::Connect { address: name.into(), error };
    match target {
        Target::Unix(address) => {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .map_err(|error| fail(error.into()))?;
            connect(&socket, address).map_err(|error| fail(error.into()))?;
            Ok(socket)
        }
        Target::Tcp(addresses, _) => {
            let mut last = io::ErrorKind::NotFound.into();
            for address in addresses {
                match TcpStream::connect_timeout(address, PATIENCE) {
                    Ok(socket) => {
                        socket.set_nonblocking(true).map_err(fail)?;
                        return Ok(socket.into());
                    }
                    Err(error) => last = error,
                }
            }
            Err(fail(last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_several_addresses_is_listened_for_on_all_of_them_by_one_port() {
        let free = [SocketAddr::from(([127, 0, 0, 1], 0)), SocketAddr::from(([127, 0, 0, 2], 0))];
        let absent = SocketAddr::from(([192, 0, 2, 1], 0));
        let (sockets, name) = listen_on(&[absent, free[0], free[1], free[0]], 1).unwrap();
        let port = name.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
        assert_eq!(sockets.len(), 2);
        for mut address in free {
            address.set_port(port);
            TcpStream::connect(address).unwrap();
        }

        let mut taken = free;
        taken[1].set_port(port);
        let refusal = listen_on(&taken, 1).unwrap_err().to_string();
        assert!(refusal.contains("127.0.0.2") && refusal.contains("is in use"), "{refusal}");
        let refusal = listen_on(&[absent], 1).unwrap_err().to_string();
        assert!(refusal.contains("this machine has no such address"), "{refusal}");
    }
}
