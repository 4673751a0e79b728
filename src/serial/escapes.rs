//! Text for a guest, as it is written on a command line.

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// What comes by standard input.
    Input,
    Bytes(Vec<u8>),
}

impl Text {
    /// `-` is standard input, anything else a text with escapes.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "-" { Ok(Self::Input) } else { unescape(text.as_bytes()).map(Self::Bytes) }
    }
}

/// A text with the escapes of printf.
fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            out.push(first);
            continue;
        }
        let (value, length) = escape(rest).ok_or_else(|| {
            let word = String::from_utf8_lossy(rest.get(..1).unwrap_or_default()).into_owned();
            format!("'\\{word}' is no escape: those are \\n \\r \\t \\\\ \\a \\b \\e \\f \\v \\NNN \\xNN")
        })?;
        out.push(value);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(out)
}

/// What stands after a backslash: the byte that it means, and its own length.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let digits = |from: usize, most: usize, radix: u32| {
        let digits = text.get(from..)?.iter().take(most);
        let digits = digits.map_while(|digit| char::from(*digit).to_digit(radix));
        let (count, value) =
            digits.fold((0, 0), |(count, value), digit| (count + 1, value * radix + digit));
        // Octal 400 and above is more than a byte.
        (count != 0).then_some(())?;
        Some((u8::try_from(value).ok()?, from + count))
    };
    let plain = |value| Some((value, 1));
    match text.first()? {
        b'n' => plain(b'\n'),
        b'r' => plain(b'\r'),
        b't' => plain(b'\t'),
        b'\\' => plain(b'\\'),
        b'a' => plain(0x07),
        b'b' => plain(0x08),
        b'e' => plain(0x1b),
        b'f' => plain(0x0c),
        b'v' => plain(0x0b),
        b'x' => digits(1, 2, 16),
        b'0'..=b'7' => digits(0, 3, 8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_escape_is_refused() {
        for text in ["\\", "a\\q", "\\x", "\\xg", "\\400", "\\8"] {
            let what = unescape(text.as_bytes()).unwrap_err();
            assert!(what.contains(" is no escape: those are "), "{text}: {what}");
        }
    }

    #[test]
    fn escapes_are_those_of_printf() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("plain %s", b"plain %s"),
            (r"a\nb\r\t\\", b"a\nb\r\t\\"),
            (r"\a\b\e\f\v", b"\x07\x08\x1b\x0c\x0b"),
            (r"\0\3\033[A\3777", b"\x00\x03\x1b[A\xff7"),
            (r"\x3\x41B\xff", b"\x03AB\xff"),
        ] {
            assert_eq!(unescape(text.as_bytes()).as_deref(), Ok(bytes), "{text}");
        }
    }
}
