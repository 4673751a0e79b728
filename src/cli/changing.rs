//! The part of the command line that has to do with devices that are there already.

use clap::Args;
use vfio_user_server::Fault;

use super::control::Server;
use crate::manage;

/// In place of one that does not tell the device from what follows it.
pub const SET_USAGE: &str =
    "mdev-user set <--control-path <PATH>|--run-dir <DIR>> [UUID] <OPTION=VALUE>...";

pub const SET_EXAMPLES: &str = "\
Examples:
  mdev-user set -c /tmp/control serial0=pty,path=/tmp/port
  mdev-user set --run-dir /run/user/1000/mdev vfio0 serial0=null serial1=tcp::4444
  mdev-user set -c /tmp/control xres=1920 yres=1080
  mdev-user set -c /tmp/control edid=/tmp/monitor.bin

The options are those of `create`; a comma is written once, and a path begins
with / and is below a directory that the server was given as --allow-path, or
one that its command line names; the file of an EDID is opened here, wherever it
is. What is not named stays, and if one cannot be had all stay. A guest sees another monitor when it looks next, and a serial line
that drops and comes: what was there is hung up. Where a peer cannot know a
port's place, that is printed.";

#[derive(Debug, Args)]
pub struct Set {
    #[command(flatten)]
    pub server: Server,

    /// What to change: serial0, serial1, pace; xres, yres, edid. In front of it the device, by its UUID or its node
    /// (vfio0), which is not needed where there is one
    #[arg(value_name = "OPTION=VALUE", required = true)]
    words: Vec<String>,
}

/// The device, if it is named, and its options.
type Changes<'a> = (Option<&'a str>, Vec<(&'a str, &'a str)>);

impl Set {
    /// The device, if it is named, and its options.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parts(&self) -> Result<Changes<'_>, String> {
        let (device, words) = match self.words.split_first() {
            Some((device, words)) if !device.contains('=') => (Some(device.as_str()), words),
            _ => (None, self.words.as_slice()),
        };
        if words.is_empty() {
            return Err("what is to be set is missing: OPTION=VALUE".into());
        }
        let mut options: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let (option, value) = word
                .split_once('=')
                .filter(|(option, _)| !option.is_empty())
                .ok_or_else(|| format!("'{word}' is no OPTION=VALUE"))?;
            if options.iter().any(|(other, _)| *other == option) {
                return Err(format!("option '{option}' is there twice"));
            }
            options.push((option, value));
        }
        Ok((device, options))
    }
}

pub const FAULT_USAGE: &str =
    "mdev-user fault <--control-path <PATH>|--run-dir <DIR>> [UUID] <SPEC...|off>";

/// In front of it stands what `serve` has of faults.
macro_rules! fault_examples {
    () => {
        "\
Examples:
  mdev-user fault -c /tmp/control error,errno=EIO,command=region-read,region=bar0
  mdev-user fault --run-dir /run/user/1000/mdev vfio0 stall,command=dma-map lose-irq,index=intx
  mdev-user fault -c /tmp/control off

The device has these faults from then on, and no others; they begin to count
then. With `off` it has none. What those before have done is in the server's log.
An answer that is held up stays so."
    };
}
pub(super) use fault_examples;

#[derive(Debug, Args)]
pub struct FaultArgs {
    #[command(flatten)]
    pub server: Server,

    /// How the device is to go wrong, or off. In front of it the device, by its UUID or its node (vfio0), which is not
    /// needed where there is one
    #[arg(value_name = "SPEC", required = true)]
    words: Vec<String>,
}

impl FaultArgs {
    /// The device, if it is named, and its faults.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parts(&self) -> Result<(Option<&str>, &[String]), String> {
        let (device, words) = match self.words.split_first() {
            Some((device, words)) if is_device(device) => (Some(device.as_str()), words),
            _ => (None, self.words.as_slice()),
        };
        let faults = match words {
            [] => return Err("what is to go wrong is missing: a SPEC, or off".into()),
            [word] if word == "off" => &[],
            faults => faults,
        };
        for fault in faults {
            if fault == "off" {
                return Err("off takes all faults away; it stands alone".into());
            }
            fault.parse::<Fault>().map_err(|error| format!("'{fault}': {error}"))?;
        }
        Ok((device, faults))
    }
}

/// Whether it is a node or a UUID, which no fault looks like.
fn is_device(word: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    word.strip_prefix("vfio").is_some_and(is_number) || manage::uuid(word).is_ok()
}
