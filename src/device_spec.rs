//! A device as the command line asks for it: `TYPE[,OPTION=VALUE]...`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::monitor::{self, Monitor};
use crate::parents::Parents;
use crate::serial::{self, Ports};

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The type.
    pub kind: &'static str,
    /// What it has been given of its type's options.
    pub options: Options,
}

/// The options of a device, by what kind of device has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// There are none.
    None,
    /// Of an mbochs.
    Monitor(Monitor),
    /// Of an mtty.
    Ports(Ports),
}

/// A file that an option names, by what is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// It is read.
    Read(PathBuf),
    /// It is made or opened, or connected to.
    Open(PathBuf),
    /// A symbolic link is made there.
    Link(PathBuf),
}

impl Named {
    pub fn path(&self) -> &Path {
        match self {
            Self::Read(path) | Self::Open(path) | Self::Link(path) => path,
        }
    }
}

impl Options {
    /// Those of a type, none of them given.
    fn of(kind: &str) -> Self {
        if let Some(ports) = Ports::of(kind) {
            Self::Ports(ports)
        } else if Monitor::is_for(kind) {
            Self::Monitor(Monitor::default())
        } else {
            Self::None
        }
    }

    fn names(&self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Monitor(_) => &monitor::NAMES,
            Self::Ports(ports) => ports.names(),
        }
    }

    /// Those that have been given, as they would be written.
    fn given(&self) -> Vec<(String, String)> {
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        match self {
            Self::None => Vec::new(),
            Self::Monitor(monitor) => monitor.given().map(owned).collect(),
            Self::Ports(ports) => ports.given().map(owned).collect(),
        }
    }

    /// Sets one of [`names`](Self::names).
    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        match self {
            Self::None => Ok(()),
            Self::Monitor(monitor) => monitor.set(option, value),
            Self::Ports(ports) => ports.set(option, value),
        }
    }

    /// Whether they go together.
    fn check(&self, kind: &str) -> Result<(), String> {
        match self {
            Self::None => Ok(()),
            Self::Monitor(monitor) => monitor.check(kind),
            Self::Ports(ports) => ports.check(),
        }
    }
}

impl DeviceSpec {
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    fn parse(text: &str) -> Result<Self, String> {
        let (name, options) = split(text)?;
        Self::new(&name, &options)
    }

    /// A device of the type of this name with these options.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    pub fn new(name: &str, options: &[(String, String)]) -> Result<Self, String> {
        let spec = Self::part(name, options)?;
        spec.options.check(spec.kind)?;
        Ok(spec)
    }

    /// The same of some of its options, whatever the others are.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    pub fn part(name: &str, options: &[(String, String)]) -> Result<Self, String> {
        let types = Parents::type_names();
        let kind = types.iter().find(|kind| **kind == name).ok_or_else(|| unknown(name, &types))?;
        let mut spec = Self { kind, options: Options::of(kind) };
        options.iter().try_for_each(|(option, value)| spec.set(option, value))?;
        Ok(spec)
    }

    /// Whether the device has this program's standard input and output.
    pub fn uses_stdio(&self) -> bool {
        matches!(&self.options, Options::Ports(ports) if ports.use_stdio())
    }

    /// The files that it is made of, or that are made for it.
    pub fn files(&self) -> Vec<Named> {
        match &self.options {
            Options::None => Vec::new(),
            Options::Monitor(monitor) => monitor.file().map(Named::Read).into_iter().collect(),
            Options::Ports(ports) => ports.files(),
        }
    }

    /// The options that it has been given, as they would be written.
    pub fn given(&self) -> Vec<(String, String)> {
        self.options.given()
    }

    /// The same device with these options, none of which it has been given before.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    pub fn with<'a>(
        mut self,
        options: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        for (option, value) in options {
            self.set(option, value)?;
        }
        self.options.check(self.kind)?;
        Ok(self)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        let (kind, names) = (self.kind, self.options.names());
        if names.is_empty() {
            return Err(format!("type {kind} has no option '{option}', nor any other"));
        }
        if !names.contains(&option) {
            let hint = match &self.options {
                Options::Ports(_) if serial::OF_A_SPEC.contains(&option) => {
                    format!("; within serial0 or serial1 commas are doubled: ,,{option}=...")
                }
                _ => String::new(),
            };
            let names = names.join(", ");
            return Err(format!("type {kind} has no option '{option}', only {names}{hint}"));
        }
        self.options.set(option, value)
    }
}

fn unknown(name: &str, types: &[&str]) -> String {
    let types = types.join(", ");
    if name.is_empty() {
        return format!("a type is missing, one of {types}");
    }
    format!("there is no type '{name}', the types are {types}")
}

/// Takes `TYPE[,OPTION=VALUE]...` apart. As with QEMU's options, a comma within a value is written twice.
pub fn split(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let mut words = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        if next == ',' && rest.next_if_eq(&',').is_none() {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(next);
        }
    }
    let mut words = words.into_iter();
    let name = words.next().unwrap_or_default();
    let mut options: Vec<(String, String)> = Vec::new();
    for word in words {
        let (option, value) = match word.split_once('=') {
            Some(("", _)) => return Err(format!("'{word}' lacks the option's name")),
            Some(pair) => pair,
            None if word.is_empty() => return Err("an option is missing after a comma".into()),
            None => return Err(format!("option '{word}' lacks its value, {word}=VALUE")),
        };
        if options.iter().any(|(other, _)| other == option) {
            return Err(format!("option '{option}' is there twice"));
        }
        options.push((option.into(), value.into()));
    }
    Ok((name, options))
}

/// [`DeviceSpec`] for clap.
#[derive(Clone)]
pub struct DeviceSpecParser;

impl TypedValueParser for DeviceSpecParser {
    type Value = DeviceSpec;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<DeviceSpec, Error> {
        let text = value.to_str().ok_or("a device is said in UTF-8".to_owned());
        text.and_then(DeviceSpec::parse)
            .map_err(|what| Error::raw(ErrorKind::InvalidValue, what).with_cmd(command))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        Some(Box::new(Parents::type_names().into_iter().map(PossibleValue::new)))
    }
}

/// The same, as it was written: for those who pass it on.
#[derive(Clone)]
pub struct DeviceTextParser;

impl TypedValueParser for DeviceTextParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, Error> {
        DeviceSpecParser.parse_ref(command, argument, value)?;
        Ok(value.to_string_lossy().into_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        DeviceSpecParser.possible_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        split(text).unwrap().1
    }

    fn pair(option: &str, value: &str) -> (String, String) {
        (option.into(), value.into())
    }

    #[test]
    fn what_is_malformed_is_refused_in_words() {
        for (text, words) in [
            ("mtty-2,", "an option is missing after a comma"),
            ("mtty-2,a=1,", "an option is missing after a comma"),
            ("mtty-2,a", "option 'a' lacks its value, a=VALUE"),
            ("mtty-2,=1", "'=1' lacks the option's name"),
            ("mtty-2,a=1,b=2,a=3", "option 'a' is there twice"),
            ("mdpy-vga,a=1", "type mdpy-vga has no option 'a', nor any other"),
            ("mtty-2,a=1", "type mtty-2 has no option 'a', only serial0, serial1, pace"),
            (
                "mtty-1,serial0=unix:/tmp/p,wait=on",
                "type mtty-1 has no option 'wait', only serial0, pace; within serial0 or serial1 commas are doubled: \
                 ,,wait=...",
            ),
            ("mtty-1,serial1=null", "type mtty-1 has no option 'serial1', only serial0, pace"),
            ("mtty-1,pace=yes", "pace is on or off, not 'yes'"),
            (
                "mtty-1,serial0=crossover",
                "serial0: crossover joins two ports, and mtty-1 has one; use mtty-2",
            ),
            (
                "mtty-2,serial0=null,serial1=crossover",
                "crossover joins both ports: one of them cannot be 'null'",
            ),
            ("mtty-2,serial0=stdio,serial1=stdio", "stdio can be had by one port only"),
            ("mtty-2,serial1=unix", "serial1: unix needs the path of a socket: write unix:PATH"),
            (
                "mtty-3",
                "there is no type 'mtty-3', the types are mtty-1, mtty-2, mdpy-vga, mdpy-xga, mdpy-hd, \
                 mbochs-small, mbochs-medium, mbochs-large",
            ),
            (
                "MTTY-2",
                "there is no type 'MTTY-2', the types are mtty-1, mtty-2, mdpy-vga, mdpy-xga, mdpy-hd, \
                 mbochs-small, mbochs-medium, mbochs-large",
            ),
            (
                "",
                "a type is missing, one of mtty-1, mtty-2, mdpy-vga, mdpy-xga, mdpy-hd, \
                 mbochs-small, mbochs-medium, mbochs-large",
            ),
            (
                ",a=1",
                "a type is missing, one of mtty-1, mtty-2, mdpy-vga, mdpy-xga, mdpy-hd, \
                 mbochs-small, mbochs-medium, mbochs-large",
            ),
        ] {
            assert_eq!(DeviceSpec::parse(text).unwrap_err(), words, "{text}");
        }
    }

    #[test]
    fn a_type_may_stand_alone() {
        let monitor = Options::Monitor(Monitor::default());
        for (kind, options) in [
            ("mtty-1", Options::Ports(Ports::of("mtty-1").unwrap())),
            ("mdpy-vga", Options::None),
            ("mbochs-small", monitor),
        ] {
            assert_eq!(DeviceSpec::parse(kind), Ok(DeviceSpec { kind, options }));
        }
    }

    #[test]
    fn options_are_pairs_in_their_order() {
        assert_eq!(options("x,b=2,a="), [pair("b", "2"), pair("a", "")]);
    }

    #[test]
    fn a_value_holds_equals_signs_and_doubled_commas() {
        assert_eq!(
            options("x,a=unix:/p,,server=on,b=1"),
            [pair("a", "unix:/p,server=on"), pair("b", "1")]
        );
    }
}
