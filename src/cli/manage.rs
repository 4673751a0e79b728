//! The part of the command line that has to do with managers.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueHint};
use uuid::Uuid;

use super::control::{Server, duration};
use super::handed::{Peers, Ready};
use super::{Polling, Sandbox};
use crate::device_spec::DeviceTextParser;
use crate::manage;
use crate::parents::Pools;

pub const MANAGE_EXAMPLES: &str = "\
Examples:
  mdev-user manage --run-dir /run/user/1000/mdev
  mdev-user create --run-dir /run/user/1000/mdev mtty-2
    In another terminal: a device, at run time. It prints its UUID and socket.
  mdev-user remove --run-dir /run/user/1000/mdev UUID

  mdev-user manage --run-dir /run/user/1000/mdev --config devices.json --save
    Makes what is in the file, and writes back what comes and goes.

DIR has mdev_supported_types/TYPE, devices/UUID and vfio/devices/vfioN, as sysfs
and /dev have them. It must be the user's own, and short: sockets are in it.";

#[derive(Debug, Args)]
pub struct Manage {
    /// The directory for sockets and for files that say how devices do. Made (mode 0700) if it is missing. What an
    /// earlier manager has left in it is cleared
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub run_dir: PathBuf,

    /// Make the devices that FILE defines with `"start": "auto"`, in the form of `mdevctl list --dumpjson`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Write devices that are created into FILE, which need not be there yet, and take those out that are removed
    #[arg(long, requires = "config")]
    pub save: bool,

    /// Let devices have files, sockets and terminals below DIR. Can be given several times. Without it they have none
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub allow_path: Vec<PathBuf>,

    /// Serve on N threads [default: one a CPU, 4 at most]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<u16>::new().range(1..=256),
    )]
    pub loops: Option<u16>,

    #[command(flatten)]
    pub pools: PoolFlags,

    #[command(flatten)]
    pub peers: Peers,

    #[command(flatten)]
    pub ready: Ready,

    #[command(flatten)]
    pub polling: Polling,

    #[command(flatten)]
    pub sandbox: Sandbox,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct PoolFlags {
    /// Ports that the devices of parent mtty have in all
    #[arg(long, value_name = "N", default_value_t = Pools::default().ports, value_parser = units(), allow_negative_numbers = true)]
    mtty_ports: u32,

    /// Displays of parent mdpy
    #[arg(long, value_name = "N", default_value_t = Pools::default().displays, value_parser = units(), allow_negative_numbers = true)]
    mdpy_max: u32,

    /// Megabytes (of 2^20 bytes) that the displays of parent mbochs have in all
    #[arg(long, value_name = "MB", default_value_t = Pools::default().megabytes, value_parser = units(), allow_negative_numbers = true)]
    mbochs_mb: u32,
}

impl From<PoolFlags> for Pools {
    fn from(flags: PoolFlags) -> Self {
        Self { ports: flags.mtty_ports, displays: flags.mdpy_max, megabytes: flags.mbochs_mb }
    }
}

fn units() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(0..=1_000_000)
}

pub const CREATE_EXAMPLES: &str = "\
Examples:
  mdev-user create --run-dir /run/user/1000/mdev mtty-2,serial0=pty
  mdev-user create --run-dir /run/user/1000/mdev mbochs-medium,xres=1600,yres=900 \\
      --uuid 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001

It prints one line: UUID SOCKET. The socket is for QEMU's -device:
  {\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"SOCKET\"}}";

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    pub server: Server,

    /// Type of the device. TYPE,OPTION=VALUE,... gives it options, as `run` takes them
    #[arg(value_name = "TYPE", value_parser = DeviceTextParser)]
    pub device: String,

    /// Its UUID; without it one is made
    #[arg(long, value_name = "UUID", value_parser = manage::uuid)]
    pub uuid: Option<Uuid>,
}

pub const REMOVE_EXAMPLES: &str = "\
Examples:
  mdev-user remove --run-dir /run/user/1000/mdev 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
  mdev-user remove --run-dir /run/user/1000/mdev --force-after 10s 83b8f4f2-...

Nobody can open the device from that moment on. Who uses it is asked to let it
go, now and every 10 s, and waited for. Interrupt this command, and the removal
goes on; --force-after can be said to one that is going on.";

#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    pub server: Server,

    /// The device's UUID
    #[arg(value_name = "UUID", value_parser = manage::uuid)]
    pub uuid: Uuid,

    /// Send whoever uses the device away after TIME: a number with its unit, ms, s or m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub force_after: Option<Duration>,
}

pub const LIST_EXAMPLES: &str = "\
Examples:
  mdev-user list --run-dir /run/user/1000/mdev
  mdev-user list --run-dir /run/user/1000/mdev --json > devices.json
    For `mdev-user manage --config`, once \"start\" is \"auto\".";

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub server: Server,

    /// Print JSON, in the form of `mdevctl list --dumpjson`
    #[arg(long)]
    pub json: bool,
}

pub const RESET_EXAMPLES: &str = "\
Examples:
  mdev-user reset --run-dir /run/user/1000/mdev 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
  mdev-user reset -c /tmp/control
    The device as after power-on, whatever its guest is about to do with it.";

#[derive(Debug, Args)]
pub struct Reset {
    #[command(flatten)]
    pub server: Server,

    /// The device: its UUID or its node (vfio0). Not needed where there is one
    #[arg(value_name = "UUID")]
    pub device: Option<String>,
}

pub const EVENTS_EXAMPLES: &str = "\
Examples:
  mdev-user events --run-dir /run/user/1000/mdev
  mdev-user events --run-dir /run/user/1000/mdev --json | jq -r 'select(.event == \"opened\") | .node'

It prints what happens from then on, until the server ends:
  created, registered, opened, closed, removed, request, forced, released, faulted";

#[derive(Debug, Args)]
pub struct Events {
    #[command(flatten)]
    pub server: Server,

    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
}
