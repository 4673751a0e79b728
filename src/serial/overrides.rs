//! Modem inputs set by hand.

use mtty::spec::msr;

/// The lines' names, and their bits in MSR.
const LINES: [(&str, u8); 4] =
    [("cts", msr::CTS), ("dsr", msr::DSR), ("ri", msr::RI), ("dcd", msr::DCD)];

/// Which inputs stand still whatever the connection does, and how; or a change of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    on: u8,
    off: u8,
    /// Of a change: those that go back to the connection.
    auto: u8,
}

impl Overrides {
    /// A change as a user writes it: `cts=off,dcd=auto`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut change = Self::default();
        for word in text.split(',') {
            let wrong = || {
                format!(
                    "'{word}' is no setting of a line: those are cts, dsr, ri or dcd, each =on, =off or =auto"
                )
            };
            let (name, value) = word.split_once('=').ok_or_else(wrong)?;
            let (_, bit) = LINES.iter().find(|(line, _)| *line == name).ok_or_else(wrong)?;
            if (change.on | change.off | change.auto) & bit != 0 {
                return Err(format!("line '{name}' is there twice"));
            }
            match value {
                "on" => change.on |= bit,
                "off" => change.off |= bit,
                "auto" => change.auto |= bit,
                _ => return Err(wrong()),
            }
        }
        Ok(change)
    }

    /// Makes a change.
    pub fn change(&mut self, to: Self) {
        let touched = to.on | to.off | to.auto;
        self.on = self.on & !touched | to.on;
        self.off = self.off & !touched | to.off;
    }

    /// The inputs, of those that the connection has.
    pub fn of(self, inputs: u8) -> u8 {
        (inputs | self.on) & !self.off
    }

    /// Names of the lines that are set by hand, and how.
    pub fn by_hand(self) -> impl Iterator<Item = (&'static str, bool)> {
        LINES.into_iter().filter_map(move |(name, bit)| {
            ((self.on | self.off) & bit != 0).then_some((name, self.on & bit != 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_setting_is_refused_in_words() {
        for text in ["", "cts", "cts=", "cts=1", "rts=on", "CTS=on", "cts=on,", "cts=on;dcd=on"] {
            let what = Overrides::parse(text).unwrap_err();
            assert!(
                what.ends_with("cts, dsr, ri or dcd, each =on, =off or =auto"),
                "{text}: {what}"
            );
        }
        let twice = Overrides::parse("cts=on,ri=on,cts=auto");
        assert_eq!(twice.unwrap_err(), "line 'cts' is there twice");
    }

    #[test]
    fn a_line_set_by_hand_stands_still_until_it_is_given_back() {
        let mut overrides = Overrides::default();
        overrides.change(Overrides::parse("cts=off,ri=on").unwrap());
        assert_eq!((overrides.of(0xb0), overrides.of(0x00)), (0xe0, 0x40));
        overrides.change(Overrides::parse("cts=auto,ri=off,dcd=on").unwrap());
        assert_eq!((overrides.of(0x10), overrides.of(0x40)), (0x90, 0x80));
        assert_eq!(overrides.by_hand().collect::<Vec<_>>(), [("ri", false), ("dcd", true)]);
    }
}
