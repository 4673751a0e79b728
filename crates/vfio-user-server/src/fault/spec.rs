//! The words of a fault.

use std::time::Duration;

use vfio_device::{ERR, Firing, INTX, MSI, MSIX, REQ};

use super::{Count, Effect, Fault, Target, What, is_access};
use crate::command::Command;

/// What the text of a fault begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Delay,
    Stall,
    Drop,
    Error,
    Cut,
    Short,
    Disconnect,
    LoseIrq,
    StickIrq,
}

use Action::{Cut, Delay, Disconnect, Drop, Error, LoseIrq, Short, Stall, StickIrq};

/// An option that an action cannot do without, and the placeholder for its value.
type Needed = Option<(&'static str, &'static str)>;

const ACTIONS: [(&str, Action, Needed); 9] = [
    ("delay", Delay, Some(("ms", "N"))),
    ("stall", Stall, None),
    ("drop", Drop, None),
    ("error", Error, Some(("errno", "ERRNO"))),
    ("cut", Cut, Some(("bytes", "N"))),
    ("short", Short, Some(("bytes", "N"))),
    ("disconnect", Disconnect, None),
    ("lose-irq", LoseIrq, Some(("index", "INDEX"))),
    ("stick-irq", StickIrq, Some(("index", "INDEX"))),
];
const OF_MESSAGES: [&str; 5] = ["command", "region", "offset", "at", "count"];
const OF_IRQS: [&str; 3] = ["vector", "at", "count"];

const INDEXES: [(&str, u32); 5] =
    [("intx", INTX), ("msi", MSI), ("msix", MSIX), ("err", ERR), ("req", REQ)];

const REGIONS: [(&str, u32); 9] = [
    ("bar0", 0),
    ("bar1", 1),
    ("bar2", 2),
    ("bar3", 3),
    ("bar4", 4),
    ("bar5", 5),
    ("rom", 6),
    ("config", 7),
    ("vga", 8),
];

/// An hour: a delay that is longer is a stall.
const LONGEST: u64 = 3_600_000;

/// # Errors
/// A sentence that says what is wrong and what would be right.
pub(super) fn parse(text: &str) -> Result<Fault, String> {
    let mut words = text.split(',');
    let name = words.next().unwrap_or_default();
    let found = ACTIONS.iter().find(|(known, ..)| *known == name);
    let &(_, action, needed) = found.ok_or_else(|| {
        let names = list(ACTIONS.iter().map(|(name, ..)| *name));
        match name {
            "" => format!("a fault is missing, one of {names}"),
            _ => format!("there is no fault '{name}', the faults are {names}"),
        }
    })?;
    let more: &[&str] = if matches!(action, LoseIrq | StickIrq) { &OF_IRQS } else { &OF_MESSAGES };
    let known = needed.iter().map(|(option, _)| option).chain(more).copied();
    let options = Options { pairs: pairs(name, words, known)? };

    if let Some((option, value)) = needed
        && options.get(option).is_none()
    {
        return Err(format!("fault {name} lacks {option}={value}"));
    }
    let bytes = || {
        let bytes = options.number("bytes", 0, u32::MAX.into())?.unwrap_or_default();
        Ok::<_, String>(usize::try_from(bytes).unwrap_or(usize::MAX))
    };
    let effect = match action {
        Delay => {
            let ms = options.number("ms", 0, LONGEST)?.unwrap_or_default();
            Effect::Delay(Duration::from_millis(ms))
        }
        Stall => Effect::Stall,
        Drop => Effect::Drop,
        Error => Effect::Error(options.errno()?),
        Cut => Effect::Cut(bytes()?),
        Short => Effect::Short(bytes()?),
        Disconnect => Effect::Disconnect,
        LoseIrq => return options.irq(text, Firing::Lost),
        StickIrq => return options.irq(text, Firing::Stuck),
    };
    let target = options.target()?;
    Ok(Fault { text: text.into(), what: What::Message(effect, target), count: options.count()? })
}

/// The options, each of which the action knows.
fn pairs<'a>(
    action: &str,
    words: impl Iterator<Item = &'a str>,
    known: impl Iterator<Item = &'static str> + Clone,
) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for word in words {
        let (option, value) = match word.split_once('=') {
            Some(("", _)) => return Err(format!("'{word}' lacks the option's name")),
            Some(pair) => pair,
            None if word.is_empty() => return Err("an option is missing after a comma".into()),
            None => return Err(format!("option '{word}' lacks its value, {word}=VALUE")),
        };
        if !known.clone().any(|it| it == option) {
            let known = list(known);
            return Err(format!(
                "fault {action} has no option '{option}', its options are {known}"
            ));
        }
        if pairs.iter().any(|(other, _)| *other == option) {
            return Err(format!("option '{option}' is there twice"));
        }
        pairs.push((option, value));
    }
    Ok(pairs)
}

struct Options<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    fn get(&self, option: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(known, _)| *known == option).map(|(_, value)| *value)
    }

    fn number(&self, option: &str, least: u64, most: u64) -> Result<Option<u64>, String> {
        let Some(text) = self.get(option) else { return Ok(None) };
        let number = number(text).filter(|number| (least..=most).contains(number));
        let wrong = || format!("{option}='{text}': a number from {least} to {most}");
        number.ok_or_else(wrong).map(Some)
    }

    fn errno(&self) -> Result<i32, String> {
        let text = self.get("errno").unwrap_or_default();
        if let Some((_, errno)) = ERRNOS.iter().find(|(name, _)| *name == text) {
            return Ok(*errno);
        }
        let number = number(text).filter(|number| (1..=4095).contains(number));
        number.and_then(|number| i32::try_from(number).ok()).ok_or_else(|| {
            format!("errno='{text}': a number from 1 to 4095, or one of Linux's names (EIO)")
        })
    }

    /// A number that fits a word, or one of these names.
    fn named(&self, option: &str, names: &[(&str, u32)]) -> Result<Option<u32>, String> {
        let Some(text) = self.get(option) else { return Ok(None) };
        let named = names.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        let number = || number(text).and_then(|number| u32::try_from(number).ok());
        named.or_else(number).map(Some).ok_or_else(|| {
            let names = list(names.iter().map(|(name, _)| *name));
            format!("{option}='{text}': a number, or one of {names}")
        })
    }

    fn irq(&self, text: &str, firing: Firing) -> Result<Fault, String> {
        let index = self.named("index", &INDEXES)?.unwrap_or_default();
        let vector = self.number("vector", 0, u32::MAX.into())?;
        let vector = vector.and_then(|vector| u32::try_from(vector).ok());
        let what = What::Irq { firing, index, vector };
        Ok(Fault { text: text.into(), what, count: self.count()? })
    }

    fn target(&self) -> Result<Target, String> {
        let target = Target {
            command: self.command()?,
            region: self.named("region", &REGIONS)?,
            offset: self.number("offset", 0, u64::MAX)?,
        };
        match ["region", "offset"].into_iter().find(|option| self.get(option).is_some()) {
            Some(option) if target.command.is_some_and(|command| !is_access(command)) => {
                Err(format!("option '{option}' is for command=region-read and region-write alone"))
            }
            _ => Ok(target),
        }
    }

    /// `None`: any.
    fn command(&self) -> Result<Option<u16>, String> {
        let Some(text) = self.get("command").filter(|text| *text != "any") else { return Ok(None) };
        let named = commands().find(|command| kebab(*command) == text);
        let number = || number(text).and_then(|number| u16::try_from(number).ok());
        let number = named.map(Command::number).or_else(number).ok_or_else(|| {
            let names: Vec<_> =
                commands().filter(|it| !is_servers(it.number())).map(kebab).collect();
            let names = list(names.iter().map(String::as_str));
            format!("command='{text}': any, a number from 0 to 65535, or one of {names}")
        })?;
        if is_servers(number) {
            return Err(format!("command='{text}': servers say it and clients do not"));
        }
        Ok(Some(number))
    }

    fn count(&self) -> Result<Count, String> {
        let at = self.number("at", 1, u64::MAX)?.unwrap_or(1);
        let count = match self.get("count") {
            Some("always") => None,
            Some(text) => {
                let wrong = |_| format!("count='{text}': always, or a number from 1");
                Some(self.number("count", 1, u64::MAX).map_err(wrong)?.unwrap_or(1))
            }
            None => Some(1),
        };
        Ok(Count { at, count, seen: 0, acted: 0 })
    }
}

/// All commands that the specification names.
fn commands() -> impl Iterator<Item = Command> {
    (0..=u8::MAX).filter_map(|number| Command::try_from(u16::from(number)).ok())
}

/// Whether it goes from server to client, so that no client's messages could match.
fn is_servers(command: u16) -> bool {
    [Command::DmaRead, Command::DmaWrite].iter().any(|it| it.number() == command)
}

fn kebab(command: Command) -> String {
    command.name().to_ascii_lowercase().replace('_', "-")
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // What `from_str_radix` takes besides.
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

/// Declares names of errors.
macro_rules! errnos {
    ($($name:ident)+) => { &[ $( (stringify!($name), libc::$name), )+ ] };
}

/// All that Linux has (errno(3)).
const ERRNOS: &[(&str, i32)] = errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN EWOULDBLOCK ENOMEM EACCES EFAULT ENOTBLK
    EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
    EPIPE EDOM ERANGE EDEADLK EDEADLOCK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC
    EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME
    ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD
    EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE
    EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP ENOTSUP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE
    EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN
    ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL
    EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD
    ENOTRECOVERABLE ERFKILL EHWPOISON
};
