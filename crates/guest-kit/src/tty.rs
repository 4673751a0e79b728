//! Which tty a guest's console can be on.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The name of a tty that the kernel's console can be on beside the guest's own shell, which has ttyS0: `ttyS1`, say. It is
/// parsed from `tty`, letters if any, and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tty(String);

impl FromStr for Tty {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let is_tty = name.strip_prefix("tty").is_some_and(|rest| {
            let number = rest.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        match name {
            "ttyS0" => Err(Error::OwnTty),
            _ if is_tty => Ok(Self(name.to_owned())),
            _ => Err(Error::NoTty),
        }
    }
}

impl fmt::Display for Tty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_of_a_tty_or_the_guests_own_shells_is_refused_with_what_would_be_right() {
        for name in [
            "",
            "tty",
            "ttyS",
            "S1",
            "ttyS1,115200",
            "/dev/ttyS1",
            "ttyS1 quiet",
            "tty-1",
            "ttyS1x",
        ] {
            let said = name.parse::<Tty>().unwrap_err().to_string();
            assert!(said.contains("ttyS1") && said.lines().count() == 1, "{said}");
        }
        let said = "ttyS0".parse::<Tty>().unwrap_err().to_string();
        assert!(said.contains("own shell") && said.contains("ttyS1"), "{said}");
        for name in ["ttyS1", "ttyS12", "tty1", "ttyUSB0"] {
            assert_eq!(name.parse::<Tty>().unwrap().to_string(), name);
        }
    }
}
