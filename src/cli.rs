//! The command line.

mod changing;
mod control;
mod handed;
mod manage;
mod places;
mod sandbox;
mod serial;
mod serving;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};
use log::LevelFilter;

pub use changing::{FaultArgs, Set};
pub use control::{Control, Info, Screenshot, Wait};
use control::{INFO_EXAMPLES, SCREENSHOT_EXAMPLES, WAIT_EXAMPLES, WAIT_USAGE};
pub use handed::{Peers, Ready, Socket};
pub use manage::{Create, Events, List, Manage, Remove, Reset};
pub use sandbox::{AllowPath, Sandbox, SandboxMode, SeccompMode};
pub use serial::{Expect, Send, Serial, SerialVerb};
pub use serving::{Faults, Polling};

use crate::activation;
use crate::device_spec::{DeviceSpec, DeviceSpecParser};

/// Serves the kernel's mdev sample devices to QEMU and other vfio-user clients, without root and without a kernel
/// module.
#[derive(Debug, Parser)]
#[command(name = "mdev-user", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to log on standard error. Without it the environment variable RUST_LOG counts, and without that it is
    /// info, for `run` warn
    #[arg(
        long,
        value_name = "LEVEL",
        global = true,
        ignore_case = true,
        value_parser = PossibleValuesParser::new(LEVELS).try_map(|level| level.parse::<LevelFilter>()),
    )]
    pub log_level: Option<LevelFilter>,

    /// Print what this program can do, as JSON, and exit
    // For the help; `main` looks for it before anything else can be wrong.
    #[arg(long)]
    pub print_capabilities: bool,

    #[command(subcommand)]
    pub command: Option<Command>,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

const EXAMPLES: &str = "\
Examples:
  A dual-port serial card, and the QEMU that uses it, in one go:
    mdev-user run mtty-2 -- qemu-system-x86_64 -m 512 -nographic disk.img

  The same in two terminals; serve prints the -device argument for QEMU:
    mdev-user serve mtty-2 --socket-path /tmp/mtty.sock
    qemu-system-x86_64 -m 512 -nographic disk.img -device '...'

QEMU must be 10.1 or newer. It needs no shared memory option.
Exit status: 0 all well, 1 something failed, 2 the command line is wrong;
that of `run` is the command's.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve one device on a socket, in the foreground, until SIGTERM or SIGINT
    #[command(after_help = SERVE_EXAMPLES, override_usage = SERVE_USAGE)]
    Serve(Serve),
    /// Run QEMU with devices: serve them, add the -device arguments, run the command, clean up
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Manage any number of devices, which come and go at run time, in the foreground, until SIGTERM or SIGINT
    #[command(after_help = manage::MANAGE_EXAMPLES)]
    Manage(Manage),
    /// Have a manager make a device; prints its UUID and its socket
    #[command(after_help = manage::CREATE_EXAMPLES)]
    Create(Create),
    /// Have a manager take a device away; waits until its user has let it go
    #[command(after_help = manage::REMOVE_EXAMPLES)]
    Remove(Remove),
    /// List the devices that there are
    #[command(after_help = manage::LIST_EXAMPLES)]
    List(List),
    /// Reset a device, as its client can
    #[command(after_help = manage::RESET_EXAMPLES)]
    Reset(Reset),
    /// Change the options of a device that is there: what hangs on its ports, its monitor
    #[command(after_help = changing::SET_EXAMPLES, override_usage = changing::SET_USAGE)]
    Set(Set),
    /// Have a device that is there go wrong on purpose, to test its client
    #[command(after_help = FAULT_HELP, override_usage = changing::FAULT_USAGE)]
    Fault(FaultArgs),
    /// Print what happens to devices, a line an event, without end
    #[command(after_help = manage::EVENTS_EXAMPLES)]
    Events(Events),
    /// List the device types and how many instances of each can be made
    Types(Types),
    /// Tell how the devices behind a control socket do: state, client, picture, counters
    #[command(after_help = INFO_EXAMPLES)]
    Info(Info),
    /// Write the picture that a device shows to a PNG file
    #[command(after_help = SCREENSHOT_EXAMPLES)]
    Screenshot(Screenshot),
    /// Wait until the picture that a device shows is as it should be
    #[command(after_help = WAIT_EXAMPLES, override_usage = WAIT_USAGE)]
    Wait(Wait),
    /// Do something to a serial port's line: a break, its modem lines, errors
    #[command(after_help = serial::SERIAL_EXAMPLES)]
    Serial(Serial),
    /// Send text to a guest by a serial port
    #[command(after_help = serial::SEND_EXAMPLES)]
    Send(Send),
    /// Wait until a guest has sent a text by a serial port
    #[command(after_help = serial::EXPECT_EXAMPLES)]
    Expect(Expect),
    /// Print what makes a shell complete this program's commands, options and types
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the manual page, or write those of all commands
    #[command(after_help = MAN_EXAMPLES)]
    Man(Man),
}

/// What a port's SPEC can have.
macro_rules! serial {
    () => {
        "\
Serial ports: a SPEC is one of these; words and options are those of QEMU
  loopback  crossover  null  stdio  file:PATH[,append=on|off]  pipe:PATH
  pty[,path=LINK]  unix:PATH[,server=on|off][,wait=on|off][,reconnect-ms=N]
  tcp:HOST:PORT with the same options; without HOST this machine's own
  All take logfile=PATH, logappend=on|off, logtimestamp=on|off and
  history=BYTES (65536), what is kept of the output while nobody is connected.
  With `run` a comma within it is written twice: mtty-1,serial0=pty,,path=LINK"
    };
}

/// The options in brief. The manual page has the tables of docs/faults.md.
macro_rules! faults {
    () => {
        "\
Faults: a SPEC is ACTION[,OPTION=VALUE]..., at its shortest
  delay,ms=N  stall  drop  error,errno=NAME  cut,bytes=N  short,bytes=N
  disconnect        of messages; command=NAME, region=NAME, offset=N choose some
  lose-irq,index=NAME  stick-irq,index=NAME
                    of interrupts; vector=N chooses one
  All take at=N, the first that is meant, 1 without it, and count=N, how many
  from there on, 1 without it, or always. The manual page mdev-user-serve(1),
  which `mdev-user man` writes, explains them, as docs/faults.md does."
    };
}

const FAULT_HELP: &str = concat!(faults!(), "\n\n", changing::fault_examples!());

const SERVE_USAGE: &str = "mdev-user serve [OPTIONS] [--socket-path <PATH> | --fd <N>] <TYPE>";

const SERVE_EXAMPLES: &str = concat!(
    serial!(),
    "\n\n",
    faults!(),
    "

Examples:
  mdev-user serve mtty-2 --socket-path /tmp/mtty.sock
    Serves one QEMU after the other. When it is ready it prints the -device
    argument for QEMU; Ctrl-C ends it and removes the socket. In a script's
    background use SIGTERM: a shell has what it starts by & ignore SIGINT.

  mdev-user serve mtty-1 --socket-path /tmp/mtty.sock --once
    Ends with the first QEMU.

  mdev-user serve mtty-1 --socket-path /tmp/mtty.sock \\
      --fault error,errno=EIO,command=region-read,region=bar0,offset=7,at=3
    Answers the third read of the port's scratch register with an error, once."
);

const RUN_EXAMPLES: &str = concat!(
    serial!(),
    "\n\n",
    faults!(),
    "

Examples:
  mdev-user run mtty-2 -- qemu-system-x86_64 -m 512 -nographic disk.img
  mdev-user run mtty-2 mtty-1 -- qemu-system-x86_64 -m 512 -nographic disk.img
    Two cards, in this order on the guest's bus.
  mdev-user run mbochs-medium,xres=1600,yres=900 --control-path /tmp/control \\
      -- qemu-system-x86_64 -m 512 -vga none -nographic disk.img
    A display; `mdev-user screenshot -c /tmp/control OUT.png` shows it. Without
    -vga none the guest's console is on QEMU's own display.

The devices end with the command: a QEMU that puts itself into the background
(-daemonize) loses them."
);

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mdev-user completions bash > ~/.local/share/bash-completion/completions/mdev-user
  mdev-user completions zsh > ~/.zfunc/_mdev-user    # a directory of $fpath
  mdev-user completions fish > ~/.config/fish/completions/mdev-user.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  mdev-user man | man -l -
  mdev-user man --out ~/.local/share/man/man1
    Afterwards `man mdev-user` and `man mdev-user-run` find them.";

#[derive(Debug, Args)]
pub struct Serve {
    /// Type of the device, as `mdev-user types` lists them
    #[arg(value_name = "TYPE", value_parser = DeviceSpecParser)]
    pub device: DeviceSpec,

    #[command(flatten)]
    pub socket: Socket,

    #[command(flatten)]
    pub device_flags: DeviceFlags,

    #[command(flatten)]
    pub control: Control,

    #[command(flatten)]
    pub peers: Peers,

    #[command(flatten)]
    pub ready: Ready,

    /// End when the first client has left
    #[arg(long)]
    pub once: bool,

    #[command(flatten)]
    pub polling: Polling,

    #[command(flatten)]
    pub faults: Faults,

    #[command(flatten)]
    pub allow_path: AllowPath,

    #[command(flatten)]
    pub sandbox: Sandbox,
}

/// The options of a device, which `run` takes with its type.
#[derive(Debug, Args)]
pub struct DeviceFlags {
    /// Of an mbochs display: width in pixels of the mode that its monitor prefers
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    xres: Option<String>,

    /// Of an mbochs display: height in pixels of that mode
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    yres: Option<String>,

    /// Of an mbochs display: what its monitor says of itself. `auto` makes an EDID, `off` has none, `hex:` is one
    /// written out, anything else a file with one [default: auto]
    #[arg(long, value_name = "auto|off|FILE", value_hint = ValueHint::FilePath)]
    edid: Option<String>,

    /// Of an mtty: what hangs on its first port. loopback, crossover (with the second port), null, pty[,path=LINK],
    /// unix:PATH, tcp:HOST:PORT, file:PATH, stdio or pipe:PATH; see Serial ports for the options [default: loopback]
    #[arg(long, value_name = "SPEC")]
    serial0: Option<String>,

    /// Of an mtty-2: what hangs on its second port
    #[arg(long, value_name = "SPEC")]
    serial1: Option<String>,

    /// Of an mtty: whether characters take the time that they would at the speed that the guest has set [default: off]
    #[arg(long, value_name = "on|off")]
    pace: Option<String>,
}

impl Serve {
    /// The device with the options that have a flag of their own.
    ///
    /// # Errors
    /// What is wrong with them, or with the options together.
    pub fn complete(&mut self) -> Result<(), clap::Error> {
        let flags = [
            ("xres", &self.device_flags.xres),
            ("yres", &self.device_flags.yres),
            ("edid", &self.device_flags.edid),
            ("serial0", &self.device_flags.serial0),
            ("serial1", &self.device_flags.serial1),
            ("pace", &self.device_flags.pace),
        ];
        let given = flags.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        self.device = self
            .device
            .clone()
            .with(given)
            .map_err(|what| Cli::command().error(ErrorKind::InvalidValue, what))?;
        let Socket { socket_path, fd } = &self.socket;
        if socket_path.is_none()
            && fd.is_none()
            && let Ok(why) = activation::absent()
        {
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            return Err(Cli::command().error(
                ErrorKind::MissingRequiredArgument,
                format!(
                    "a socket is needed: --socket-path PATH, --fd N, or one by LISTEN_FDS{why}"
                ),
            ));
        }
        if self.ready.ready_fd.is_some() && self.ready.ready_fd == self.socket.fd {
            return Err(Cli::command().error(
                ErrorKind::ArgumentConflict,
                "--ready-fd and --fd are the same, and it takes two descriptors",
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct Run {
    /// Types of the devices, in the order in which QEMU is to see them. TYPE,OPTION=VALUE,... gives a device options:
    /// serial0, serial1 and pace of an mtty, xres, yres and edid of an mbochs, as `mdev-user help serve` has them
    #[arg(value_name = "TYPE", required = true, value_parser = DeviceSpecParser)]
    pub devices: Vec<DeviceSpec>,

    #[command(flatten)]
    pub control: Control,

    #[command(flatten)]
    pub polling: Polling,

    #[command(flatten)]
    pub faults: Faults,

    #[command(flatten)]
    pub allow_path: AllowPath,

    #[command(flatten)]
    pub sandbox: Sandbox,

    /// The command, after `--`. For each device `-device {"driver":"vfio-user-pci",...}` is added at its end. Its exit
    /// status becomes this program's; 127 if it cannot be found, 126 if it cannot be run, 128 + N if signal N ended it
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Types {
    /// Print JSON, in the form of `mdevctl types --dumpjson`
    #[arg(long)]
    pub json: bool,

    /// Ask the manager that was given this directory what it has left
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub run_dir: Option<PathBuf>,

    /// Ask the manager that has this control socket
    #[arg(
        short = 'c',
        long,
        value_name = "PATH",
        conflicts_with = "run_dir",
        value_hint = ValueHint::FilePath,
    )]
    pub control_path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write all pages to files in DIR, which is made if it is missing
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_has_no_contradiction() {
        Cli::command().debug_assert();
    }
}
