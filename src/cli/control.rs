//! The part of the command line that has to do with control sockets.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use crate::manage::Tree;
use crate::view::{Mode, Rect};

#[derive(Debug, Args)]
pub struct Control {
    /// Make a control socket at PATH (mode 0600), for `mdev-user info`, `screenshot`, `wait`, `serial`, `send` and
    /// `expect`, and remove it at the end. A stale one is taken over, one that somebody listens on is not
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub control_path: Option<PathBuf>,
}

/// The server to ask.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("server").required(true))]
pub struct Server {
    /// The control socket: the PATH that `serve` or `run` was given as --control-path
    #[arg(
        short = 'c',
        long,
        value_name = "PATH",
        group = "server",
        value_hint = ValueHint::FilePath,
    )]
    control_path: Option<PathBuf>,

    /// The directory that `manage` was given as --run-dir, where its control socket is
    #[arg(long, value_name = "DIR", group = "server", value_hint = ValueHint::DirPath)]
    run_dir: Option<PathBuf>,
}

impl Server {
    /// Where its control socket is.
    pub fn path(&self) -> PathBuf {
        let in_directory = || self.run_dir.as_deref().map(Tree::control);
        self.control_path.clone().or_else(in_directory).unwrap_or_default()
    }
}

/// Where to ask.
#[derive(Debug, Args)]
pub struct Ask {
    #[command(flatten)]
    pub server: Server,

    /// The device: its node (vfio0) or its UUID, as `mdev-user info` lists them. Not needed where there is one
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
}

pub const INFO_EXAMPLES: &str = "\
Examples:
  mdev-user info -c /tmp/control
  mdev-user info -c /tmp/control --json | jq '.devices[].plane'

  cd /var/lib/node_exporter
  mdev-user info -c /tmp/control --metrics > mdev.tmp && mv mdev.tmp mdev.prom
    For Prometheus, in its text format 0.0.4: a file a server, never half of one.";

#[derive(Debug, Args)]
pub struct Info {
    #[command(flatten)]
    pub ask: Ask,

    /// Print JSON, in the form of docs/control.md
    #[arg(long)]
    pub json: bool,

    /// Print metrics in the text format of Prometheus
    #[arg(long, conflicts_with = "json")]
    pub metrics: bool,
}

pub const SCREENSHOT_EXAMPLES: &str = "\
Examples:
  mdev-user serve mdpy-xga --socket-path /tmp/mdpy.sock --control-path /tmp/control
  mdev-user screenshot -c /tmp/control screen.png

  mdev-user screenshot -c /tmp/control - | display
    To standard output; what it prints goes to standard error then.

It prints the mode and the picture's hash, for `mdev-user wait --mode` and
`--hash`: sha256:HEX, the SHA-256 of the visible rows, three bytes a pixel
(red, green, blue), row by row from the top. The guest is not held up.";

#[derive(Debug, Args)]
pub struct Screenshot {
    #[command(flatten)]
    pub ask: Ask,

    /// The PNG file to write; `-` is standard output. It appears when it is complete
    #[arg(value_name = "OUT.png", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

/// In place of one that is wider than a terminal.
pub const WAIT_USAGE: &str = "mdev-user wait <-c <PATH>|--run-dir <DIR>> [OPTIONS] \
    <--not-blank|--stable|--hash|--mode>...";

pub const WAIT_EXAMPLES: &str = "\
Examples:
  mdev-user wait -c /tmp/control --mode 1024x768 --not-blank --timeout 60s
  mdev-user wait -c /tmp/control --stable 500ms --ignore 640x16+0+464
    Until nothing has changed for half a second, but in the last text row.
  mdev-user wait -c /tmp/control --hash sha256:ba7816bf...
    Until the picture is the one of which `mdev-user screenshot` has printed
    this hash.

It looks about 50 times a second; what comes and goes in between is not seen.
Until the time-out it also waits for a server that is not there yet, or busy.
Exit status: 0 when all conditions hold at once, 1 when they did not in time
(then it says what it saw last), 2 for a wrong command line.";

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("condition").multiple(true).required(true))]
pub struct Wait {
    #[command(flatten)]
    pub ask: Ask,

    /// The pixels are not all of one colour
    #[arg(long, group = "condition")]
    pub not_blank: bool,

    /// Nothing has changed for TIME. A blinking text cursor is no change: that is, all that happens within one
    /// rectangle of 16 x 32 pixels which has two contents and no third
    #[arg(long, value_name = "TIME", group = "condition", value_parser = duration)]
    pub stable: Option<Duration>,

    /// The picture has this SHA-256: of the visible rows, three bytes a pixel (red, green, blue)
    #[arg(long, value_name = "HEX", group = "condition", value_parser = hash)]
    pub hash: Option<String>,

    /// The picture has this size in pixels
    #[arg(long, value_name = "WxH", group = "condition")]
    pub mode: Option<Mode>,

    /// Pixels that --not-blank and --stable do not look at; X and Y count from the upper left corner. Can be given
    /// several times
    #[arg(long, value_name = "WxH+X+Y")]
    pub ignore: Vec<Rect>,

    /// Give up after TIME: a number with its unit, ms, s or m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// What clap cannot say of the options together.
impl Wait {
    pub fn contradiction(&self) -> Option<String> {
        if !self.ignore.is_empty() && !self.not_blank && self.stable.is_none() {
            return Some(
                "--ignore counts for --not-blank and --stable, and neither is there".into(),
            );
        }
        let stable = self.stable.filter(|stable| *stable >= self.timeout)?;
        let timeout = self.timeout;
        Some(format!("--stable {stable:?} takes longer than --timeout {timeout:?} gives it"))
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match time {
        // A day is more than anybody waits, and can be added to any time.
        Some(time @ 0..=86_400_000) if unit != 0 => Ok(Duration::from_millis(time)),
        _ => Err("a time is a number with its unit, as 500ms, 30s or 2m, of at most a day"),
    }
}

fn hash(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_one = digits.len() == 64 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    let hash = is_one.then(|| digits.to_ascii_lowercase());
    hash.ok_or("a hash is sha256: and 64 hexadecimal digits, as `mdev-user screenshot` prints it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for text in [
            "",
            "1",
            "s",
            "1h",
            "-1s",
            "1.5s",
            "1 s",
            "1S",
            "86400001ms",
            "1441m",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for (text, milliseconds) in
            [("0s", 0), ("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1440m", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn a_hash_is_64_digits_whether_its_name_is_there_or_not() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [
            "",
            "sha256:",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('0', "g"),
            &format!("md5:{digits}"),
        ] {
            assert!(hash(text).is_err(), "{text}");
        }
        for text in [digits.clone(), format!("sha256:{digits}"), digits.to_uppercase()] {
            assert_eq!(hash(&text), Ok(digits.clone()), "{text}");
        }
    }
}
