//! Faults on demand, for those who write clients: an answer that comes late, wrong or never, an interrupt that is lost or
//! does not end.
//!
//! What happens is decided by counting and by nothing else, so that it happens at the same place each time.

mod acting;
mod spec;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use vfio_device::{Device, Firing, IrqIntercept, Region};

use crate::command::Command;
use crate::wire::{Header, RegionAccess};

use acting::Acting;

/// A fault and the messages or interrupts that it befalls: `ACTION[,OPTION=VALUE]...`. For
/// [`Endpoint::with_faults`](crate::Endpoint::with_faults).
///
/// | action | what happens | options |
/// |---|---|---|
/// | `delay` | the command is carried out; its answer, and what the client has said since, wait | `ms` |
/// | `stall` | the command is carried out; its answer, and what the client has said since, wait for ever | |
/// | `drop` | the command is carried out and not answered; what follows is | |
/// | `error` | the command is not carried out, and answered with this error | `errno`: a name or a number |
/// | `cut` | the command is carried out; so many bytes of the answer go out, its header's 16 included, then the connection is closed | `bytes` |
/// | `short` | the command is carried out; its answer has a body of so many bytes at most, and says so | `bytes` |
/// | `disconnect` | the command is not carried out, the connection is closed | |
/// | `lose-irq` | the interrupt is not signalled | `index`, `vector` |
/// | `stick-irq` | the interrupt is signalled, and does not end: see [`Firing::Stuck`] | `index`, `vector` |
///
/// | option | is | if left out |
/// |---|---|---|
/// | `ms` | milliseconds, 0 to 3600000 | needed |
/// | `errno` | a name that Linux has (`EIO`), or 1 to 4095 | needed |
/// | `bytes` | 0 to 4294967295; more than there are is all of them | needed |
/// | `command` | the specification's name (`region-read`), a number, or `any`; not what a server says | `any` |
/// | `region` | `bar0` to `bar5`, `rom`, `config`, `vga`, or a number; region reads and writes alone | any |
/// | `offset` | where the access begins; region reads and writes alone | any |
/// | `index` | irq index: `intx`, `msi`, `msix`, `err`, `req`, or a number | needed |
/// | `vector` | of this irq index | any |
/// | `at` | the first of the matching messages or interrupts that is befallen, from 1 | 1 |
/// | `count` | how many are from there on; `always` for all | 1 |
///
/// Numbers are decimal, or hexadecimal after `0x`.
///
/// A message matches by its header, and if need be by where it accesses, no matter who sent it: the device's user, or a
/// connection that has still to become that or is refused. A message whose size is impossible is none. Each fault counts
/// the messages that match it, from the device's first client on through all that follow. Where several faults befall one
/// message, the first of them acts, and the others count it as theirs. A command that wants no answer (No_reply) has
/// none to be dropped or shortened; all else holds for it too, and `cut` closes.
///
/// Each fault that acts is a line of the log at info, up to ten a second, and at debug beyond that. When the endpoint ends
/// each says how often it has acted, at info, or at warn that it never has. One for which the device has no interrupt, region
/// or offset is warned of when it is given to the endpoint.
///
/// ```
/// use vfio_user_server::Fault;
///
/// let fault: Fault = "error,errno=EIO,command=region-read,region=7,at=3".parse()?;
/// assert_eq!(fault.to_string(), "error,errno=EIO,command=region-read,region=7,at=3");
/// let error = "error,command=region-read".parse::<Fault>().unwrap_err();
/// assert_eq!(error.to_string(), "fault error lacks errno=ERRNO");
/// # Ok::<(), vfio_user_server::FaultError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As it was written.
    text: String,
    what: What,
    count: Count,
}

/// Why a text is no [`Fault`]: a sentence that names the word, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        spec::parse(text).map_err(FaultError)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Message(Effect, Target),
    /// [`Firing::Lost`] or [`Firing::Stuck`].
    Irq {
        firing: Firing,
        index: u32,
        vector: Option<u32>,
    },
}

impl What {
    /// What the fault is about and the device does not have, or the specification.
    fn absent_on(&self, device: &Device) -> Option<String> {
        match *self {
            Self::Irq { index, vector, .. } => {
                let vectors = device.irqs().info(index).map_or(0, |info| info.count);
                match vector {
                    _ if vectors == 0 => Some(format!("the device has no irq index {index}")),
                    Some(vector) if vector >= vectors => Some(format!(
                        "irq index {index} has no vector {vector}, but {vectors} from 0"
                    )),
                    _ => None,
                }
            }
            Self::Message(_, Target { command, region, offset }) => {
                if let Some(command) = command.filter(|it| Command::try_from(*it).is_err()) {
                    return Some(format!("the specification has no command {command}"));
                }
                let region = region?;
                let size = device.region(region).map_or(0, Region::size);
                match offset {
                    _ if size == 0 => Some(format!("the device has no region {region}")),
                    Some(offset) if offset >= size => Some(format!(
                        "region {region} has no offset {offset:#x}, but {size:#x} bytes"
                    )),
                    _ => None,
                }
            }
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Delay(Duration),
    Stall,
    Drop,
    Error(i32),
    Cut(usize),
    Short(usize),
    Disconnect,
}

/// Which messages are meant; `None` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    command: Option<u16>,
    region: Option<u32>,
    offset: Option<u64>,
}

impl Target {
    fn matches(&self, header: &Header, body: &[u8]) -> bool {
        if self.command.is_some_and(|command| command != header.command) {
            return false;
        }
        if self.region.is_none() && self.offset.is_none() {
            return true;
        }
        let accesses = is_access(header.command);
        let Some((access, _)) = RegionAccess::decode(body).filter(|_| accesses) else {
            return false;
        };
        self.region.is_none_or(|region| region == access.region)
            && self.offset.is_none_or(|offset| offset == access.offset)
    }
}

/// Whether a command accesses one place of one region.
fn is_access(command: u16) -> bool {
    [Command::RegionRead, Command::RegionWrite].iter().any(|it| it.number() == command)
}

/// How many have matched, and which of them are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    at: u64,
    /// `None`: all from there on.
    count: Option<u64>,
    seen: u64,
    /// On how many the fault has acted.
    acted: u64,
}

impl Count {
    /// One more has matched. Returns whether it is meant.
    fn next(&mut self) -> bool {
        self.seen = self.seen.saturating_add(1);
        let after = self.seen.checked_sub(self.at);
        after.is_some_and(|after| self.count.is_none_or(|count| after < count))
    }
}

/// The faults of one endpoint that befall messages.
#[derive(Debug)]
pub(crate) struct Faults(Acting);

impl Faults {
    /// Those that befall interrupts go to the device. `None` if there are none at all.
    pub(crate) fn new(
        faults: impl IntoIterator<Item = Fault>,
        device: &mut Device,
    ) -> Option<Self> {
        let faults: Vec<_> = faults.into_iter().collect();
        let name = device.object().to_string();
        for fault in &faults {
            if let Some(absent) = fault.what.absent_on(device) {
                let so = match fault.what {
                    What::Irq { .. } => "it cannot act",
                    What::Message(..) => "a client that looks first will not meet it",
                };
                log::warn!("{name}: fault {fault}: {absent}; {so}");
            }
        }
        let none = faults.is_empty();
        let (irqs, faults): (Vec<_>, Vec<_>) =
            faults.into_iter().partition(|fault| matches!(fault.what, What::Irq { .. }));
        let intercept = (!irqs.is_empty()).then(|| intercept(Acting::new(irqs, name.clone())));
        device.intercept_irqs(intercept);
        (!none).then(|| Self(Acting::new(faults, name)))
    }

    /// A message has come in. Returns what is to become of it.
    pub(crate) fn message(&mut self, client: &str, header: &Header, body: &[u8]) -> Option<Effect> {
        let matches = |what: &What| match what {
            What::Message(effect, target) => target.matches(header, body).then_some(*effect),
            What::Irq { .. } => None,
        };
        let number = header.command;
        let command = Command::try_from(number).map_or("unknown command", Command::name);
        self.0.befall(matches, Some(client), format_args!("{command} ({number})"))
    }
}

/// Has these faults decide what becomes of interrupts.
fn intercept(mut faults: Acting) -> IrqIntercept {
    Box::new(move |fired, number| {
        let matches = |what: &What| match *what {
            What::Irq { firing, index, vector } => {
                (index == fired && vector.is_none_or(|vector| vector == number)).then_some(firing)
            }
            What::Message(..) => None,
        };
        let what = format_args!("irq index {fired} vector {number}");
        faults.befall(matches, None, what).unwrap_or(Firing::Signalled)
    })
}
