//! The part of the command line that has to do with serial ports.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::control::{Ask, duration};
use crate::serial::{Overrides, Text};

pub const SERIAL_EXAMPLES: &str = "\
Examples:
  mdev-user serial -c /tmp/control break 0
  mdev-user serial -c /tmp/control lines 0 dcd=off
  mdev-user serial -c /tmp/control lines 0 dcd=auto,cts=off
  mdev-user serial -c /tmp/control inject 1 framing

A break from the console (agetty, SysRq), a modem that hangs up, noise on the
line: what a guest does about it. Lines stay as they are set until they are set
to auto. What goes to the guest keeps its order: a break comes after what has
been sent before it. `mdev-user info` shows the lines, and which are set by hand.";

#[derive(Debug, Args)]
pub struct Serial {
    #[command(flatten)]
    pub ask: Ask,

    #[command(subcommand)]
    pub verb: SerialVerb,
}

#[derive(Debug, Subcommand)]
pub enum SerialVerb {
    /// Send the guest a break
    Break {
        /// The port: 0 or 1
        port: u32,
    },
    /// Set modem lines of the guest's side by hand, or give them back to the connection
    Lines {
        /// The port: 0 or 1
        port: u32,
        /// LINE=on, LINE=off or LINE=auto, with commas between; a LINE is cts, dsr, ri or dcd
        #[arg(value_name = "LINE=VALUE", value_parser = lines)]
        lines: String,
    },
    /// Send the guest a character 00 that has gone wrong on its way
    Inject {
        /// The port: 0 or 1
        port: u32,
        /// What is wrong with it; overrun says that others were lost before it
        error: Fault,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Fault {
    Framing,
    Parity,
    Overrun,
}

impl Fault {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Parity => "parity",
            Self::Overrun => "overrun",
        }
    }
}

fn lines(text: &str) -> Result<String, String> {
    Overrides::parse(text).map(|_| text.into())
}

pub const SEND_EXAMPLES: &str = "\
Examples:
  mdev-user send -c /tmp/control 0 'root\\n'
  mdev-user send -c /tmp/control 0 - < script

Escapes in TEXT are those of printf: \\n \\r \\t \\\\ \\a \\b \\e \\f \\v, \\NNN (octal)
and \\xNN. It ends with 0 when the port has received all of it, which it does as
the guest reads (up to 16 bytes may be in its FIFO), and with 1 when that took
too long; what was not received by then is withdrawn, as it is when the command
is killed. A terminal sends \\r for the return key; a Linux guest takes \\n too.";

#[derive(Debug, Args)]
pub struct Send {
    #[command(flatten)]
    pub ask: Ask,

    /// The port: 0 or 1
    pub port: u32,

    /// What to send; `-` is standard input, as it is
    #[arg(allow_hyphen_values = true, value_parser = Text::parse)]
    pub text: Text,

    /// Give up when the guest has not taken TEXT within TIME, of standard input each piece of up to 8 KiB: a number with
    /// its unit, ms, s or m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

pub const EXPECT_EXAMPLES: &str = "\
Examples:
  mdev-user expect -c /tmp/control 0 'login: $' --timeout 60s
  mdev-user send -c /tmp/control 0 'root\\n'
  mdev-user expect -c /tmp/control 0 '# $'

It looks at all that the guest has sent by this port since the match of the
`expect` before it, or from the beginning, and prints the first match: what came
in between is not missed. The newest 64 KiB are kept. ^ and $ are where a line
begins and ends, and $ where the text ends so far.
Exit status: 0 with a match, 1 when there was none in time (then it says what
came instead), 2 for a wrong command line. To see what comes without waiting for
anything, connect to the port, or give it a logfile.";

#[derive(Debug, Args)]
pub struct Expect {
    #[command(flatten)]
    pub ask: Ask,

    /// The port: 0 or 1
    pub port: u32,

    /// What to wait for: a regular expression as Rust's crate regex has it, for bytes. It must not match the empty
    /// text, as x* would
    #[arg(allow_hyphen_values = true, value_parser = pattern)]
    pub regex: String,

    /// Give up after TIME: a number with its unit, ms, s or m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

fn pattern(text: &str) -> Result<String, String> {
    crate::serial::regex(text).map(|_| text.into())
}
