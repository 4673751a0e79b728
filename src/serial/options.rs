//! The options of an mtty, as the command line has them: what hangs on its ports.

use std::sync::Arc;

use chardev::{Backend, Spec};
use mtty::line::{Line, Paced};
use signal_hook::consts::SIGXFSZ;

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
        Ok(())
    }

    /// Whether one of them has this program's standard input and output.
    pub fn use_stdio(&self) -> bool {
        self.specs.iter().flatten().any(|(_, spec)| spec.backend == Backend::Stdio)
    }

    /// The files that they name.
    pub fn files(&self) -> Vec<Named> {
        let mut files = Vec::new();
        for (_, spec) in self.specs.iter().flatten() {
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
        }
        files
    }

    /// Opens all back ends.
    ///
    /// # Errors
    /// A sentence that says what cannot be opened, and the way out.
    pub fn open(&self) -> Result<Lines, String> {
        let writes =
            |spec: &Spec| spec.log.is_some() || matches!(spec.backend, Backend::File { .. });
        if self.specs.iter().flatten().any(|(_, spec)| writes(spec)) {
            // Beyond the limit (ulimit -f) a file is to be full, and not the end of the program.
            signal_hook::flag::register(SIGXFSZ, Arc::default())
                .map_err(|error| format!("cannot catch SIGXFSZ: {}", plain(&error)))?;
        }
        let is_crossed =
            self.specs.iter().flatten().any(|(_, spec)| spec.backend == Backend::Crossover);
        let default = if is_crossed { "crossover" } else { "loopback" };
        let paced = self.pace == Some(true);
        let (mut lines, mut ports) = (Vec::<Box<dyn Line>>::new(), Vec::new());
        for (number, given) in self.specs.iter().enumerate() {
            let failed = |error: &dyn std::fmt::Display| format!("serial{number}: {error}");
            let (text, spec) = match given {
                Some(given) => given.clone(),
                None => (default.into(), default.parse().map_err(|error| failed(&error))?),
            };
            let (port, orders) = port::pair().map_err(|error| failed(&plain(&error)))?;
            let wire = Wire::open(text, &spec, paced, orders).map_err(|error| failed(&error))?;
            let place = wire.status().address.filter(|place| !wire.text().contains(place.as_str()));
            let line: Box<dyn Line> = Box::new(wire);
            lines.push(if paced { Box::new(Paced::new(line)) } else { line });
            ports.push(port.at(place));
        }
        Ok((lines, ports))
    }
}
