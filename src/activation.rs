//! Sockets that whoever manages the machine has opened for this program, in the way of systemd's `sd_listen_fds(3)`:
//! `LISTEN_FDS` descriptors from 3 on, for the process `LISTEN_PID`, with the names `LISTEN_FDNAMES`.

use std::env;
use std::ffi::OsStr;
use std::os::fd::RawFd;
use std::os::unix::net::UnixListener;

use crate::inherited::{self, Inherited};

/// What says that there are sockets, and is not for children.
pub const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// A device's socket.
pub const DEVICE: &str = "device";
/// The control socket.
pub const CONTROL: &str = "control";

/// The first descriptor.
const FIRST: RawFd = 3;

/// What the variables say.
#[derive(Debug, PartialEq, Eq)]
enum Offer {
    /// Nothing, or nothing to this process: then why not, if there is something.
    Nothing(Option<String>),
    /// So many sockets from [`FIRST`] on, and their names, if they have any.
    Sockets(RawFd, Option<Vec<String>>),
}

/// As `sd_listen_fds_with_names` takes them: what is for another process, or for nobody, is left alone.
fn offer(
    pid: Option<&OsStr>,
    fds: Option<&OsStr>,
    names: Option<&OsStr>,
    ours: u32,
) -> Result<Offer, String> {
    let Some(fds) = fds else { return Ok(Offer::Nothing(None)) };
    let Some(pid) = pid else {
        return Ok(Offer::Nothing(Some("LISTEN_FDS is set without LISTEN_PID".into())));
    };
    let number = |name: &str, text: &OsStr| {
        let number = text.to_str().and_then(|text| text.parse::<RawFd>().ok());
        let number = number.filter(|number| *number > 0 && *number <= RawFd::MAX - FIRST);
        number.ok_or_else(|| {
            format!("{name} is '{}', and it has to be a number above 0", text.display())
        })
    };
    let pid = number("LISTEN_PID", pid)?;
    if pid.cast_unsigned() != ours {
        let why = format!("LISTEN_FDS is set, but for process {pid} (LISTEN_PID)");
        return Ok(Offer::Nothing(Some(why)));
    }
    let count = number("LISTEN_FDS", fds)?;
    let Some(names) = names else { return Ok(Offer::Sockets(count, None)) };
    let names: Vec<_> = names.to_string_lossy().split(':').map(str::to_owned).collect();
    if Ok(names.len()) != usize::try_from(count) {
        let found = names.len();
        return Err(format!("LISTEN_FDNAMES has {found} names for LISTEN_FDS={count} sockets"));
    }
    Ok(Offer::Sockets(count, Some(names)))
}

fn offered() -> Result<Offer, String> {
    let [pid, fds, names] = VARIABLES.map(env::var_os);
    offer(pid.as_deref(), fds.as_deref(), names.as_deref(), std::process::id())
}

/// Why there are no sockets, if that needs saying: `Err` if there are, or should be.
pub fn absent() -> Result<Option<String>, ()> {
    match offered() {
        Ok(Offer::Nothing(why)) => Ok(why),
        Ok(Offer::Sockets(..)) | Err(_) => Err(()),
    }
}

/// The sockets that were handed over, until each has found its place.
#[derive(Default)]
pub struct Sockets(Vec<(String, RawFd, Inherited)>);

impl Sockets {
    /// Takes all over. To be called once, and before the program opens any descriptor of its own. `others` are numbers
    /// that the command line gives, and the options that do.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the variables, or with a descriptor.
    pub fn take(others: &[(&str, Option<RawFd>)]) -> Result<Self, String> {
        let (count, names) = match offered()? {
            Offer::Sockets(count, names) => (count, names.unwrap_or_default()),
            Offer::Nothing(why) => {
                why.iter().for_each(|why| log::debug!("{why}: not for this process"));
                return Ok(Self::default());
            }
        };
        let mut sockets = Vec::new();
        let mut names = names.into_iter();
        for fd in FIRST..FIRST + count {
            let name = names.next().unwrap_or_default();
            if let Some((option, _)) = others.iter().find(|(_, other)| *other == Some(fd)) {
                return Err(format!(
                    "{option} {fd} is one of the sockets of LISTEN_FDS; leave it out"
                ));
            }
            let called = if is_unnamed(&name) { String::new() } else { format!(" ('{name}')") };
            let socket = inherited::take(fd, &format!("LISTEN_FDS, descriptor {fd}{called}"))?;
            sockets.push((name, fd, socket));
        }
        Ok(Self(sockets))
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The socket of this name, or, if `unnamed`, without one.
    ///
    /// # Errors
    /// There are two.
    pub fn named(&mut self, purpose: &str, unnamed: bool) -> Result<Option<Inherited>, String> {
        let fits = |name: &str| name == purpose || unnamed && is_unnamed(name);
        let mut found = None;
        let mut at = 0;
        while let Some((name, ..)) = self.0.get(at) {
            if !fits(name) {
                at += 1;
                continue;
            }
            let (_, fd, socket) = self.0.remove(at);
            if let Some((first, _)) = found {
                return Err(format!(
                    "LISTEN_FDS has two sockets for the {purpose}, descriptors {first} and {fd}; name them by LISTEN_FDNAMES (FileDescriptorName=)"
                ));
            }
            found = Some((fd, socket));
        }
        Ok(found.map(|(_, socket)| socket))
    }

    /// The control socket: one of that name, or, if `unnamed`, without one.
    ///
    /// # Errors
    /// There are two, or it is connected already, or the command line has another.
    pub fn control(&mut self, unnamed: bool, path: bool) -> Result<Option<UnixListener>, String> {
        match self.named(CONTROL, unnamed)? {
            None => Ok(None),
            Some(_) if path => {
                Err("LISTEN_FDS has a control socket, and --control-path asks for another; leave one out".into())
            }
            Some(Inherited::Listening(socket)) => Ok(Some(socket)),
            Some(Inherited::Connected(_)) => {
                Err("LISTEN_FDS: the control socket is connected; hand over one that listens (Accept=no)".into())
            }
        }
    }

    /// To be called when all have found their place.
    ///
    /// # Errors
    /// One is left, which nothing is known to be done with; `known` are the names that are.
    pub fn finish(self, known: &str) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, fd, _)) => Err(format!(
                "LISTEN_FDS, descriptor {fd}: nothing is known of a socket named '{name}'; LISTEN_FDNAMES (FileDescriptorName=) can have {known}"
            )),
        }
    }
}

/// Whether a socket was given no name: systemd has some of its own for these.
fn is_unnamed(name: &str) -> bool {
    matches!(name, "" | "unknown" | "connection") || name.ends_with(".socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u32 = 4711;

    fn said(pid: Option<&str>, fds: Option<&str>, names: Option<&str>) -> Result<Offer, String> {
        offer(pid.map(OsStr::new), fds.map(OsStr::new), names.map(OsStr::new), OURS)
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let number = |name, text| format!("{name} is '{text}', and it has to be a number above 0");
        for text in ["", "0", "-1", "x", "1 ", "99999999999", "4294967295", "2147483645"] {
            assert_eq!(said(Some("4711"), Some(text), None), Err(number("LISTEN_FDS", text)));
            assert_eq!(said(Some(text), Some("1"), None), Err(number("LISTEN_PID", text)));
        }
        for (count, names, found) in [("1", "a:b", 2), ("3", "a:b", 2), ("2", "", 1)] {
            let why = format!("LISTEN_FDNAMES has {found} names for LISTEN_FDS={count} sockets");
            assert_eq!(said(Some("4711"), Some(count), Some(names)), Err(why));
        }
    }

    #[test]
    fn what_is_for_others_is_left_alone() {
        assert_eq!(said(None, None, None), Ok(Offer::Nothing(None)));
        assert_eq!(said(Some("4711"), None, Some("x")), Ok(Offer::Nothing(None)));
        let why = "LISTEN_FDS is set without LISTEN_PID".to_owned();
        assert_eq!(said(None, Some("1"), None), Ok(Offer::Nothing(Some(why))));
        let why = "LISTEN_FDS is set, but for process 1 (LISTEN_PID)".to_owned();
        assert_eq!(said(Some("1"), Some("x"), None), Ok(Offer::Nothing(Some(why))));
    }

    #[test]
    fn names_go_with_their_sockets() {
        let two = |names: &[&str]| {
            Ok(Offer::Sockets(2, Some(names.iter().map(|&name| name.to_owned()).collect())))
        };
        assert_eq!(
            said(Some("4711"), Some("2"), Some("device:control")),
            two(&["device", "control"])
        );
        assert_eq!(said(Some("4711"), Some("2"), Some(":")), two(&["", ""]));
        assert_eq!(said(Some("4711"), Some("2"), None), Ok(Offer::Sockets(2, None)));
    }
}
