//! The command line.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use log::LevelFilter;

use crate::parents::Parents;

/// Serves the kernel's mdev sample devices to QEMU and other vfio-user clients, without root and without a kernel
/// module.
#[derive(Debug, Parser)]
#[command(
    name = "mdev-user",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = EXAMPLES,
)]
pub struct Cli {
    /// What to log on standard error: off, error, warn, info, debug or trace. Without it the environment variable
    /// RUST_LOG counts, and without that it is info.
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<LevelFilter>,

    /// Print what this program can do, as JSON, and exit
    #[arg(long, exclusive = true)]
    pub print_capabilities: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  A dual-port serial card, and the QEMU that uses it, in one go:
    mdev-user run mtty-2 -- qemu-system-x86_64 -m 512 -nographic disk.img

  The same in two terminals; serve prints the -device argument for QEMU:
    mdev-user serve mtty-2 --socket-path /tmp/mtty.sock
    qemu-system-x86_64 -m 512 -nographic disk.img -device '...'

QEMU must be 10.1 or newer. It needs no shared memory option.
Exit status: 0 all well, 1 something failed, 2 the command line is wrong.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve one device on a socket, in the foreground, until SIGTERM or SIGINT
    Serve(Serve),
    /// Run QEMU with devices: serve them, add the -device arguments, run the command, clean up
    Run(Run),
    /// List the device types and how many instances of each can be made
    Types(Types),
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Type of the device, as `mdev-user types` lists them
    #[arg(value_name = "TYPE", value_parser = PossibleValuesParser::new(Parents::type_names()))]
    pub kind: String,

    #[command(flatten)]
    pub socket: Socket,

    /// End when the first client has left
    #[arg(long)]
    pub once: bool,

    #[command(flatten)]
    pub polling: Polling,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Socket {
    /// Make the socket at PATH (mode 0600) and remove it at the end. A stale one is taken over, one that somebody
    /// listens on is not.
    #[arg(long, value_name = "PATH")]
    pub socket_path: Option<PathBuf>,

    /// Use the open file descriptor N: a listening UNIX stream socket, or one that a client is connected to already
    /// (the program then ends with that client)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(3..))]
    pub fd: Option<RawFd>,
}

#[derive(Debug, Args)]
pub struct Polling {
    /// Poll for up to N microseconds after a client was answered, as long as that saves wake-ups; 0 never polls.
    /// Polling makes register accesses about twice as fast and costs CPU time only while a guest is busy with them.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    pub poll_us: u64,
}

impl Polling {
    pub fn most(&self) -> Duration {
        Duration::from_micros(self.poll_us)
    }
}

#[derive(Debug, Args)]
pub struct Run {
    /// Types of the devices, in the order in which QEMU is to see them
    #[arg(value_name = "TYPE", required = true, value_parser = PossibleValuesParser::new(Parents::type_names()))]
    pub kinds: Vec<String>,

    #[command(flatten)]
    pub polling: Polling,

    /// The command, after `--`. For each device `-device {"driver":"vfio-user-pci",...}` is added at its end. Its exit
    /// status becomes this program's; 127 if it cannot be found, 128 + N if signal N ended it.
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Types {
    /// Print JSON, in the form of `mdevctl types --dumpjson`
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_has_no_contradiction() {
        Cli::command().debug_assert();
    }
}
