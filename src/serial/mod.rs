//! What hangs on the ports of a serial card: back ends of the host, and the verbs that reach them.
//!
//! A [`Wire`](wire::Wire) is a port's line. It lives in the device, on the device's loop. A [`Port`] is for everybody
//! else: it sends the wire something to do, by a queue and an eventfd that the wire watches, and hears of the result by a
//! channel.

mod bell;
mod escapes;
mod exchange;
mod incoming;
mod options;
mod overrides;
mod port;
mod record;
mod status;
mod wire;

pub use bell::{Bell, Ringer, Woken, has_left};
pub use escapes::Text;
pub use exchange::Change;
pub use options::{OF_A_SPEC, Ports};
pub use overrides::Overrides;
pub use port::{Port, Unheard};
pub use record::Heard;
pub use wire::errors;

/// A pattern for what a guest sends: bytes, whatever they stand for, and lines that end with LF or CR LF.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn regex(text: &str) -> Result<regex::bytes::Regex, String> {
    let regex = regex::bytes::RegexBuilder::new(text)
        .unicode(false)
        .multi_line(true)
        .crlf(true)
        .size_limit(MAX_REGEX)
        .build()
        .map_err(|error| {
            // The last line says what, those before it where.
            let text = error.to_string();
            let what = text.lines().last().unwrap_or_default();
            let what = what.strip_prefix("error: ").unwrap_or(what);
            format!("it is no regular expression: {what}")
        })?;
    // A script whose variable is not set would wait for nothing.
    if regex.is_match(b"") {
        return Err("it matches where nothing has come; say what is to come".into());
    }
    Ok(regex)
}

/// Bytes of a compiled pattern.
const MAX_REGEX: usize = 1 << 20;

/// Bytes as text in JSON: each character is one byte, U+0000 to U+00FF.
pub fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of such a text; `None` if there are other characters in it.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}
