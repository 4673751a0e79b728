//! A device as the command line asks for it: `TYPE[,OPTION=VALUE]...`.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::monitor::{self, Monitor};
use crate::parents::Parents;

/// What to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The type.
    pub kind: &'static str,
    /// The options of an mbochs; other types have none.
    pub monitor: Monitor,
}

impl DeviceSpec {
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    fn parse(text: &str) -> Result<Self, String> {
        let (name, options) = split(text)?;
        let types = Parents::type_names();
        let kind =
            types.iter().find(|kind| **kind == name).ok_or_else(|| unknown(&name, &types))?;
        Self { kind, monitor: Monitor::default() }
            .with(options.iter().map(|(option, value)| (option.as_str(), value.as_str())))
    }

    /// The same device with these options, none of which it has been given before.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what would be right.
    pub fn with<'a>(
        mut self,
        options: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, String> {
        let kind = self.kind;
        for (option, value) in options {
            if !Monitor::is_for(kind) {
                return Err(format!("type {kind} has no option '{option}', nor any other"));
            }
            if !monitor::NAMES.contains(&option) {
                let names = monitor::NAMES.join(", ");
                return Err(format!("type {kind} has no option '{option}', only {names}"));
            }
            self.monitor.set(option, value)?;
        }
        self.monitor.check(kind)?;
        Ok(self)
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
fn split(text: &str) -> Result<(String, Vec<(String, String)>), String> {
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
            ("mtty-2,a=1", "type mtty-2 has no option 'a', nor any other"),
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
        assert_eq!(
            DeviceSpec::parse("mtty-1"),
            Ok(DeviceSpec { kind: "mtty-1", monitor: Monitor::default() })
        );
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
