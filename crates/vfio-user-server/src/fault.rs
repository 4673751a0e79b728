//! Faults on demand, for those who write clients: an answer that comes late, wrong or never, an interrupt that is lost or
//! does not end.
//!
//! What happens is decided by counting and by nothing else, so that it happens at the same place each time.

mod spec;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use vfio_device::{Device, Firing, IrqIntercept};

use crate::command::Command;
use crate::log_limit::LogLimit;
use crate::wire::{Header, RegionAccess};

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
/// | `errno` | `EIO` and the like, or 1 to 4095 | needed |
/// | `bytes` | 0 to 4294967295; more than there are is all of them | needed |
/// | `command` | the specification's name (`region-read`), a number, or `any` | `any` |
/// | `region` | region index; region reads and writes alone | any |
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
/// none to be dropped or shortened; all else holds for it too.
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
pub(crate) struct Faults {
    faults: Vec<Fault>,
    log: LogLimit,
}

impl Faults {
    /// Those that befall interrupts go to the device. `None` if there are none at all.
    pub(crate) fn new(
        faults: impl IntoIterator<Item = Fault>,
        device: &mut Device,
    ) -> Option<Self> {
        let (irqs, faults): (Vec<_>, Vec<_>) =
            faults.into_iter().partition(|fault| matches!(fault.what, What::Irq { .. }));
        let none = irqs.is_empty() && faults.is_empty();
        let name = device.object().to_string();
        device.intercept_irqs(if irqs.is_empty() { None } else { Some(intercept(irqs, name)) });
        if none { None } else { Some(Self { faults, log: LogLimit::new() }) }
    }

    /// A message has come in. Returns what is to become of it.
    pub(crate) fn message(
        &mut self,
        device: &Device,
        client: &str,
        header: &Header,
        body: &[u8],
    ) -> Option<Effect> {
        let mut acts = None;
        for fault in &mut self.faults {
            let What::Message(effect, target) = fault.what else { continue };
            if target.matches(header, body) && fault.count.next() && acts.is_none() {
                acts = Some((effect, &*fault));
            }
        }
        let (effect, fault) = acts?;
        let name = device.object();
        let number = header.command;
        let command = Command::try_from(number).map_or("unknown command", Command::name);
        let seen = fault.count.seen;
        say(
            &mut self.log,
            format_args!("{name}: {client}: fault {fault}: {command} ({number}), match {seen}"),
        );
        Some(effect)
    }
}

/// Has these faults decide what becomes of interrupts of the device that is called so.
fn intercept(mut faults: Vec<Fault>, name: String) -> IrqIntercept {
    let mut log = LogLimit::new();
    Box::new(move |fired, number| {
        let mut acts = None;
        for fault in &mut faults {
            let What::Irq { firing, index, vector } = fault.what else { continue };
            let matches = index == fired && vector.is_none_or(|vector| vector == number);
            if matches && fault.count.next() && acts.is_none() {
                acts = Some((firing, &*fault));
            }
        }
        let Some((firing, fault)) = acts else { return Firing::Signalled };
        let seen = fault.count.seen;
        let what = format_args!("irq index {fired} vector {number}, match {seen}");
        say(&mut log, format_args!("{name}: fault {fault}: {what}"));
        firing
    })
}

/// A fault may act at each of a million messages.
fn say(limit: &mut LogLimit, what: fmt::Arguments<'_>) {
    match limit.admit(Instant::now()) {
        Some(0) => log::info!("{what}"),
        Some(held_back) => log::info!("{what} ({held_back} lines like it were left out)"),
        None => log::debug!("{what}"),
    }
}
