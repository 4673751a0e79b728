//! The options of an mtty, as the command line has them: what hangs on its ports.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chardev::{Backend, OpenError, Role, Spec};
use mtty::line::{Line, Paced};
use vfio_device::Errno;

use super::exchange::{Change, Hung};
use super::port::{self, Port};
use super::wire::Wire;
use crate::device_spec::Named;
use crate::errors::plain;

/// Options that belong within the value of `serial0` and `serial1`, where people forget to double the comma.
pub const OF_A_SPEC: [&str; 10] = [
    "append",
    "history",
    "logappend",
    "logfile",
    "logtimestamp",
    "nodelay",
    "path",
    "reconnect-ms",
    "server",
    "wait",
];

/// The ports of a card, from the first on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    names: &'static [&'static str],
    /// As they were written, and what that means.
    specs: Vec<Option<(String, Spec)>>,
    pace: Option<bool>,
}

/// The lines of a card, and how to reach them.
pub type Lines = (Vec<Box<dyn Line>>, Vec<Port>);

impl Ports {
    /// Those of a type of this name, if it has any.
    pub fn of(kind: &str) -> Option<Self> {
        let (names, count): (&'static [_], _) = match kind {
            "mtty-1" => (&["serial0", "pace"], 1),
            "mtty-2" => (&["serial0", "serial1", "pace"], 2),
            _ => return None,
        };
        Some(Self { names, specs: vec![None; count], pace: None })
    }

    /// The options' names.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// Sets an option, one of [`names`](Self::names).
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        let twice = || format!("option '{option}' is there twice");
        let Some(number) = option.strip_prefix("serial").and_then(|it| it.parse::<usize>().ok())
        else {
            let pace = match value {
                "on" => true,
                "off" => false,
                _ => return Err(format!("{option} is on or off, not '{value}'")),
            };
            return if self.pace.replace(pace).is_some() { Err(twice()) } else { Ok(()) };
        };
        let spec: Spec = value.parse().map_err(|error| format!("{option}: {error}"))?;
        match self.specs.get_mut(number) {
            Some(Some(_)) => Err(twice()),
            Some(place) => {
                *place = Some((value.into(), spec));
                Ok(())
            }
            None => Err(format!("there is no port for '{option}'")),
        }
    }

    /// Whether a card can be made with them, as far as that can be said without opening anything.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn check(&self) -> Result<(), String> {
        let is_crossover = |(_, spec): &&(String, Spec)| spec.backend == Backend::Crossover;
        let given = || self.specs.iter().flatten();
        if self.specs.len() == 1 && given().any(|it| is_crossover(&it)) {
            return Err("serial0: crossover joins two ports, and mtty-1 has one; use mtty-2".into());
        }
        if given().any(|it| is_crossover(&it))
            && let Some((text, _)) = given().find(|it| !is_crossover(it))
        {
            return Err(format!("crossover joins both ports: one of them cannot be '{text}'"));
        }
        let uses_stdio = given().filter(|(_, spec)| spec.backend == Backend::Stdio);
        if uses_stdio.count() > 1 {
            return Err("stdio can be had by one port only".into());
        }
        if let [Some((_, one)), Some((_, other))] = self.specs.as_slice()
            && listens(one)
            && listens(other)
            && let Some(place) = same_socket(&one.backend, &other.backend)
        {
            let why = format!("serial0 and serial1 cannot both listen on {place}");
            return Err(format!("{why}; give each a place of its own"));
        }
        Ok(())
    }

    /// Whether one of them has this program's standard input and output.
    pub fn use_stdio(&self) -> bool {
        self.specs().any(|spec| spec.backend == Backend::Stdio)
    }

    /// What has been given of them for each port.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.specs.iter().flatten().map(|(_, spec)| spec)
    }

    /// The same, with the option's name.
    pub fn named_specs(&self) -> impl Iterator<Item = (&'static str, &Spec)> {
        let specs = self.names.iter().copied().zip(&self.specs);
        specs.filter_map(|(name, spec)| Some((name, &spec.as_ref()?.1)))
    }

    /// What has been given of them, as it was written.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, String)> {
        let specs = self.names.iter().copied().zip(&self.specs);
        let specs = specs.filter_map(|(name, spec)| Some((name, spec.as_ref()?.0.clone())));
        let pace = self.pace.map(|on| ("pace", if on { "on" } else { "off" }.to_owned()));
        specs.chain(pace)
    }

    /// The files that they name.
    pub fn files(&self) -> Vec<Named> {
        self.specs().flat_map(files).collect()
    }

    fn paces(&self) -> bool {
        self.pace == Some(true)
    }

    /// What hangs on each port, if need be by default.
    fn all(&self) -> Result<Vec<(String, Spec)>, String> {
        let is_crossover = |(_, spec): &(String, Spec)| spec.backend == Backend::Crossover;
        let is_crossed = self.specs.iter().flatten().any(is_crossover);
        let text = if is_crossed { "crossover" } else { "loopback" };
        let default: Spec = text.parse().map_err(|error| format!("{text}: {error}"))?;
        let default = (text.to_owned(), default);
        Ok(self.specs.iter().map(|given| given.as_ref().unwrap_or(&default).clone()).collect())
    }

    /// Opens all back ends.
    ///
    /// # Errors
    /// A sentence that says what cannot be opened, and the way out.
    pub fn open(&self) -> Result<Lines, String> {
        let (mut lines, mut ports) = (Vec::<Box<dyn Line>>::new(), Vec::new());
        for (number, (text, spec)) in self.all()?.into_iter().enumerate() {
            let failed = |error: &dyn std::fmt::Display| format!("serial{number}: {error}");
            let (port, orders) = port::pair().map_err(|error| failed(&plain(&error)))?;
            let hung = Hung::open(text, &spec).map_err(|error| failed(&error))?;
            let pace = Arc::new(AtomicBool::new(self.paces()));
            let wire = Wire::new(hung, Arc::clone(&pace), orders);
            let place = wire.status().address.filter(|place| !wire.text().contains(place.as_str()));
            lines.push(Box::new(Paced::switched(Box::new(wire), pace)));
            ports.push(port.at(place));
        }
        Ok((lines, ports))
    }

    /// What each port of a card is to become that is as `from` says, so that it is as this says. What is new is opened here,
    /// and so is an end that is `named` and connects once: it may have lost its peer.
    ///
    /// # Errors
    /// A sentence that says what cannot be, and the way out. Nothing has changed then.
    pub fn changes(
        &self,
        from: &Self,
        named: impl Fn(&str) -> bool,
    ) -> Result<Vec<Change>, (Errno, String)> {
        let invalid = |what| (Errno::INVAL, what);
        let pace = (self.paces() != from.paces()).then_some(self.paces());
        let before = from.all().map_err(invalid)?;
        let before: Vec<Spec> = before.into_iter().map(|(_, spec)| spec).collect();
        let all = self.all().map_err(invalid)?;
        let mut changes = Vec::new();
        for ((number, (text, spec)), old) in all.into_iter().enumerate().zip(&before) {
            let name = format!("serial{number}");
            let is_new = spec != *old || named(&name) && connects_once(&spec);
            let hung = is_new.then(|| exchange(&name, text, &spec, &before)).transpose()?;
            changes.push(Change { hung, pace });
        }
        Ok(changes)
    }
}

/// Opens what is to hang on a port of a card that is in use, with `before` on its ports.
fn exchange(
    name: &str,
    text: String,
    spec: &Spec,
    before: &[Spec],
) -> Result<Hung, (Errno, String)> {
    if spec.backend == Backend::Stdio {
        let why = "stdio can be had from the beginning only; use pty, unix:PATH or tcp:HOST:PORT";
        return Err((Errno::INVAL, format!("{name}: {why}")));
    }
    let own = |place: &dyn std::fmt::Display| {
        let why = format!(
            "{name}: {place} is in use by this device itself; set the port that has it to null first"
        );
        (Errno::BUSY, why)
    };
    // One that connects would find ourselves, and that we have gone.
    if let Some(place) = before.iter().find_map(|old| same_socket(&spec.backend, &old.backend)) {
        return Err(own(&place));
    }
    Hung::open(text, spec).map_err(|error| match &error {
        OpenError::InUse { path } | OpenError::LinkExists { path }
            if before.iter().flat_map(files).any(|file| file.path() == path) =>
        {
            own(&path.display())
        }
        _ => (Errno::INVAL, format!("{name}: {error}")),
    })
}

/// The socket that two ends both have, but for those that both connect to it.
fn same_socket(new: &Backend, old: &Backend) -> Option<String> {
    let connects = |role: &Role| matches!(role, Role::Client { .. });
    match (new, old) {
        (Backend::Unix { path, role }, Backend::Unix { path: other, role: of_other })
            if path == other && !(connects(role) && connects(of_other)) =>
        {
            Some(path.display().to_string())
        }
        (
            Backend::Tcp { host, port, role, .. },
            Backend::Tcp { host: other, port: of_other, role: its, .. },
        ) if (host, port) == (other, of_other)
            && port != "0"
            && !(connects(role) && connects(its)) =>
        {
            Some(format!("{host}:{port}"))
        }
        _ => None,
    }
}

fn listens(spec: &Spec) -> bool {
    let (Backend::Unix { role, .. } | Backend::Tcp { role, .. }) = &spec.backend else {
        return false;
    };
    matches!(role, Role::Server { .. })
}

fn connects_once(spec: &Spec) -> bool {
    let (Backend::Unix { role, .. } | Backend::Tcp { role, .. }) = &spec.backend else {
        return false;
    };
    matches!(role, Role::Client { reconnect: None })
}

fn files(spec: &Spec) -> Vec<Named> {
    let mut files = Vec::new();
    match &spec.backend {
        Backend::Pty { link } => files.extend(link.clone().map(Named::Link)),
        Backend::Unix { path, .. } | Backend::File { path, .. } => {
            files.push(Named::Open(path.clone()));
        }
        Backend::Pipe { path } => files.extend([".in", ".out"].map(|end| {
            let mut path = path.clone().into_os_string();
            path.push(end);
            Named::Open(path.into())
        })),
        _ => (),
    }
    files.extend(spec.log.as_ref().map(|log| Named::Open(log.path.clone())));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_listen_on_one_place_only_where_the_system_chooses_it() {
        let check = |specs: [&str; 2]| {
            let mut ports = Ports::of("mtty-2").unwrap();
            ports.set("serial0", specs[0]).unwrap();
            ports.set("serial1", specs[1]).unwrap();
            ports.check()
        };
        for (specs, place) in [
            (["unix:/tmp/p", "unix:/tmp/p,wait=on"], "/tmp/p"),
            (["tcp:localhost:7,history=1", "tcp:localhost:7"], "localhost:7"),
        ] {
            let why = format!("serial0 and serial1 cannot both listen on {place};");
            assert!(check(specs).unwrap_err().starts_with(&why), "{specs:?}");
        }
        for specs in [
            ["unix:/tmp/p", "unix:/tmp/q"],
            ["unix:/tmp/p", "unix:/tmp/p,server=off"],
            ["tcp:localhost:7,server=off", "tcp:localhost:7,server=off"],
            ["tcp:localhost:7", "tcp:localhost:8"],
            ["tcp:localhost:0", "tcp:localhost:0"],
        ] {
            assert_eq!(check(specs), Ok(()), "{specs:?}");
        }
    }
}
