//! Words and options as QEMU splits them: at commas, of which one in a value is written twice.

use crate::SpecError;

/// `name=value` pairs behind the first word, each to be taken once.
#[derive(Debug)]
pub(crate) struct Words {
    backend: &'static str,
    options: Vec<(String, Option<String>)>,
}

/// The pieces between single commas.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && letters.next_if_eq(&',').is_none() {
            pieces.push(String::new());
        } else if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    pieces
}

impl Words {
    pub(crate) fn new(backend: &'static str, pieces: impl Iterator<Item = String>) -> Self {
        let options = pieces.map(|piece| match piece.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (piece, None),
        });
        Self { backend, options: options.collect() }
    }

    /// Takes an option out; of one that is there more than once the last counts, as QEMU has it.
    fn take(&mut self, name: &str) -> Option<Option<String>> {
        let mut found = None;
        self.options.retain(|(key, value)| {
            let is_it = key == name;
            if is_it {
                found = Some(value.clone());
            }
            !is_it
        });
        found
    }

    /// An option that is a path.
    pub(crate) fn path(&mut self, name: &'static str) -> Result<Option<String>, SpecError> {
        match self.take(name) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(SpecError::Empty { name }),
        }
    }

    /// An option that is `on` or `off`, in QEMU's spellings, or its bare name for `on`; `no` and its name for `off`.
    pub(crate) fn switch(&mut self, name: &'static str) -> Result<Option<bool>, SpecError> {
        let negated = self.take(&format!("no{name}"));
        match (self.take(name), negated) {
            (None, None) => Ok(None),
            (Some(None), None) => Ok(Some(true)),
            (None, Some(None)) => Ok(Some(false)),
            (Some(Some(value)), None) => match value.as_str() {
                "on" | "yes" | "true" | "y" => Ok(Some(true)),
                "off" | "no" | "false" | "n" => Ok(Some(false)),
                _ => Err(SpecError::NotASwitch { name, value }),
            },
            (_, Some(value)) => {
                Err(SpecError::NotASwitch { name, value: value.unwrap_or("both".into()) })
            }
        }
    }

    /// An option that is a number from `least` to `most`, both included.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, SpecError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let value = value.unwrap_or_default();
        match whole(&value) {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(SpecError::NotANumber { name, value, least, most }),
        }
    }

    /// Whatever has not been taken is wrong here.
    pub(crate) fn finish(self, known: &'static str) -> Result<(), SpecError> {
        match self.options.into_iter().next() {
            None => Ok(()),
            Some((name, _)) if name.is_empty() => Err(SpecError::Comma),
            Some((name, _)) => Err(SpecError::UnknownOption { backend: self.backend, name, known }),
        }
    }
}

/// A number as C has it, and QEMU: `0x` makes it hexadecimal, another `0` in front octal.
fn whole(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // Rust would take a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u64::from_str_radix(digits, radix).ok()
}
