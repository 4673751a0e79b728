//! How a guest has set its port up.

use std::fmt;
use std::time::Duration;

use crate::spec::{CLOCK_HZ, lcr};

/// The parity bit of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parity {
    /// There is none.
    #[default]
    None,
    /// It makes the number of ones odd.
    Odd,
    /// It makes the number of ones even.
    Even,
    /// It is always 1.
    Mark,
    /// It is always 0.
    Space,
}

/// The stop bits of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StopBits {
    /// One.
    #[default]
    One,
    /// One and a half, with words of 5 bits.
    OneAndHalf,
    /// Two, with longer words.
    Two,
}

/// Speed and frame, as DLL, DLM and LCR have them. As text: `115200 8N1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// DLM and DLL. 0 counts as 1.
    pub divisor: u16,
    /// Bits of a word, 5 to 8. A number only: characters are carried with all their 8 bits.
    pub word_length: u8,
    /// The parity bit.
    pub parity: Parity,
    /// The stop bits.
    pub stop_bits: StopBits,
}

impl Settings {
    /// What the registers say.
    pub(crate) fn of(lcr: u8, divisor: u16) -> Self {
        let word_length = 5 + (lcr & lcr::WLS);
        let parity = match lcr & (lcr::PEN | lcr::EPS | lcr::STICK) {
            bits if bits & lcr::PEN == 0 => Parity::None,
            bits if bits & lcr::STICK == 0 && bits & lcr::EPS == 0 => Parity::Odd,
            bits if bits & lcr::STICK == 0 => Parity::Even,
            bits if bits & lcr::EPS == 0 => Parity::Mark,
            _ => Parity::Space,
        };
        let stop_bits = match (lcr & lcr::STB != 0, word_length) {
            (false, _) => StopBits::One,
            (true, 5) => StopBits::OneAndHalf,
            (true, _) => StopBits::Two,
        };
        Self { divisor, word_length, parity, stop_bits }
    }

    /// Bits a second.
    pub fn baud(&self) -> u32 {
        CLOCK_HZ / 16 / u32::from(self.divisor.max(1))
    }

    /// How long so many characters take: start, data, parity and stop bits each, of 16 clocks times the divisor.
    pub fn time_of(&self, characters: u32) -> Duration {
        let parity_bits = u64::from(self.parity != Parity::None);
        let half_stop_bits = match self.stop_bits {
            StopBits::One => 2,
            StopBits::OneAndHalf => 3,
            StopBits::Two => 4,
        };
        let half_bits = 2 * (1 + u64::from(self.word_length) + parity_bits) + half_stop_bits;
        // Half a bit is 8 clocks times the divisor: at most 1.4e7 clocks a character.
        let clocks =
            u64::from(characters).saturating_mul(8 * half_bits * u64::from(self.divisor.max(1)));
        let (seconds, rest) = (clocks / u64::from(CLOCK_HZ), clocks % u64::from(CLOCK_HZ));
        Duration::from_secs(seconds)
            + Duration::from_nanos(rest * 1_000_000_000 / u64::from(CLOCK_HZ))
    }
}

/// Those of a port after a reset.
impl Default for Settings {
    fn default() -> Self {
        Self::of(0, 0)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Odd => 'O',
            Parity::Even => 'E',
            Parity::Mark => 'M',
            Parity::Space => 'S',
        };
        let stop_bits = match self.stop_bits {
            StopBits::One => "1",
            StopBits::OneAndHalf => "1.5",
            StopBits::Two => "2",
        };
        write!(f, "{} {}{parity}{stop_bits}", self.baud(), self.word_length)
    }
}
