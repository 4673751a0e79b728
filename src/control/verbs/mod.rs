//! The verbs, a file each. A new one is a file and a line in [`ALL`].

mod create;
mod events;
mod expect;
mod fault;
mod info;
mod list;
mod plane;
mod remove;
mod reset;
mod send;
mod serial;
mod set;
mod types;

pub use info::comm;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;
use vfio_device::Errno;
use vfio_user_server::transport::Foreign;

use super::devices::Devices;
use super::lines::Handed;
use super::reply::{Answer, Failure};
use crate::{manage, monitor};

const ALL: [Verb; 13] = [
    info::VERB,
    plane::VERB,
    serial::VERB,
    send::VERB,
    expect::VERB,
    reset::VERB,
    set::VERB,
    fault::VERB,
    list::VERB,
    events::VERB,
    types::VERB,
    create::VERB,
    remove::VERB,
];

/// How long a verb can be asked to wait, in milliseconds: a day.
const MAX_WAIT_MS: u64 = 86_400_000;

struct Verb {
    name: &'static str,
    /// What a request can have beside `id` and `verb`.
    members: &'static [&'static str],
    run: fn(&Request<'_>, &Devices) -> Result<Answer, Failure>,
}

struct Request<'a> {
    members: &'a Map<String, Value>,
    /// Who wants to know.
    client: BorrowedFd<'a>,
    /// The descriptor that came along, of which member `fd` says what it is for.
    fd: Option<Foreign>,
}

impl Request<'_> {
    /// A member that is text, if it is there.
    fn text(&self, member: &str) -> Result<Option<&str>, Failure> {
        match self.members.get(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Failure::invalid(format!("'{member}' is a string"))),
        }
    }

    /// A member that is a whole number, if it is there.
    fn number(&self, member: &str) -> Result<Option<u64>, Failure> {
        let number = self.members.get(member).map(|value| {
            let why = || Failure::invalid(format!("'{member}' is a whole number"));
            value.as_u64().ok_or_else(why)
        });
        number.transpose()
    }

    /// For how long a verb is to wait.
    fn timeout(&self) -> Result<Duration, Failure> {
        Ok(self.time("timeout_ms")?.unwrap_or_default())
    }

    /// A member that is a time in milliseconds, if it is there.
    fn time(&self, member: &str) -> Result<Option<Duration>, Failure> {
        match self.number(member)? {
            Some(time) if time > MAX_WAIT_MS => {
                Err(Failure::invalid(format!("'{member}' is at most {MAX_WAIT_MS}")))
            }
            time => Ok(time.map(Duration::from_millis)),
        }
    }

    /// Has the option that member `fd` names be what is in the file that came along, in place of what stands there, by
    /// which the file is called.
    fn read_handed(&self, options: &mut [(String, String)]) -> Result<(), Failure> {
        let Some(name) = self.text("fd")? else { return Ok(()) };
        let fd = self.fd.as_ref().ok_or_else(|| {
            Failure::invalid(format!("'fd' is '{name}', and no descriptor came with the line"))
        })?;
        if name != monitor::EDID {
            let why = format!("'fd' is '{}', not '{name}'", monitor::EDID);
            return Err(Failure::invalid(why));
        }
        let option = options.iter_mut().find(|(option, _)| option == name).ok_or_else(|| {
            Failure::invalid(format!("'fd' is '{name}', and there is no such option beside it"))
        })?;
        option.1 = monitor::read_handed(fd.as_fd(), &option.1).map_err(Failure::invalid)?;
        Ok(())
    }

    /// A member that is a UUID, if it is there.
    fn uuid(&self, member: &str) -> Result<Option<Uuid>, Failure> {
        let text = self.text(member)?;
        text.map(manage::uuid).transpose().map_err(Failure::invalid)
    }
}

/// Does what a request asks for.
pub fn run(
    members: &Map<String, Value>,
    handed: Handed,
    client: BorrowedFd<'_>,
    devices: &Devices,
) -> Result<Answer, Failure> {
    let fd = match handed {
        Handed::Nothing => None,
        Handed::One(fd) => Some(fd),
        Handed::Many => {
            return Err(Failure::invalid("more descriptors than one came with the line"));
        }
        Handed::Lost => {
            let why = "this process may have no more files open: the descriptor did not come";
            return Err(Failure::new(Errno::MFILE, why));
        }
    };
    let request = Request { members, client, fd };
    let verbs = || ALL.map(|verb| verb.name).join(", ");
    let name = request
        .text("verb")?
        .ok_or_else(|| Failure::invalid(format!("a request has a 'verb', one of {}", verbs())))?;
    let verb = ALL.iter().find(|verb| verb.name == name).ok_or_else(|| {
        Failure::invalid(format!("there is no verb '{name}', the verbs are {}", verbs()))
    })?;
    let known = |member: &str| member == "verb" || verb.members.contains(&member);
    match request.members.keys().find(|member| !known(member)) {
        Some(member) => Err(Failure::invalid(format!("verb '{name}' takes no '{member}'"))),
        None if request.fd.is_some() && !members.contains_key("fd") => {
            let why = format!("a descriptor came with '{name}', and no 'fd' says what it is for");
            Err(Failure::invalid(why))
        }
        None => (verb.run)(&request, devices),
    }
}
