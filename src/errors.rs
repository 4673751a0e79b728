//! Errors in the words of a user.

use std::fmt::Display;
use std::io::{self, Write};

use vfio_device::Errno;

/// Says what is wrong, in one line, whatever is in a path or a name.
pub fn complain(what: impl Display) {
    let what = printable(&what.to_string());
    // `eprintln!` would panic if nobody listens.
    let _ = writeln!(io::stderr(), "mdev-user: {what}");
}

/// Text of somebody else, which is not to play with a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() || turns(it) { '?' } else { it }).collect()
}

/// Whether it turns the direction of what is around it, so that it is seen in another order than it has.
fn turns(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// An error without the number that Rust puts after it.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// The kernel's name of an error.
pub fn name(errno: Errno) -> String {
    match NAMES.iter().find(|(known, _)| *known == errno) {
        Some((_, name)) => (*name).into(),
        None => format!("error {}", errno.raw_os_error()),
    }
}

/// The kernel's name of an error, and what it says.
pub fn describe(errno: Errno) -> String {
    format!("{}: {}", name(errno), plain(&errno.into()))
}

/// Those of `docs/control.md`.
const NAMES: [(Errno, &str); 14] = [
    (Errno::ACCESS, "EACCES"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::BUSY, "EBUSY"),
    (Errno::EXIST, "EEXIST"),
    (Errno::FBIG, "EFBIG"),
    (Errno::INVAL, "EINVAL"),
    (Errno::MFILE, "EMFILE"),
    (Errno::NFILE, "ENFILE"),
    (Errno::NODEV, "ENODEV"),
    (Errno::NOENT, "ENOENT"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::USERS, "EUSERS"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_goes_and_the_name_comes() {
        assert_eq!(describe(Errno::NOSPC), "ENOSPC: No space left on device");
        assert_eq!(describe(Errno::PIPE), "error 32: Broken pipe");
        assert_eq!(plain(&io::Error::other("as it is")), "as it is");
    }

    #[test]
    fn the_document_has_each_name() {
        let document = include_str!("../docs/control.md");
        for (_, name) in NAMES {
            assert!(document.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
