//! What a newcomer types. `cargo xtask --help` tells the rest.

mod bench;
mod cargo;
mod deb;
mod demo;
mod guest;
mod interrupt;
mod package;
mod report;
mod sanitize;
mod server;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Shows and checks mdev-user. Needs Rust and a Debian machine; works as any user."
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Boots a Linux guest with a serial card and displays that mdev-user serves, and shows them at work
    ///
    /// Builds the program, serves an mtty-2 card, an mdpy-xga and an mbochs-medium display, each on a socket, boots a
    /// guest in QEMU with them, shows what the guest's kernel makes of them, sends data through the card's ports, and
    /// ends. Screenshots of the guest's text consoles are left in target/demo. On the first run QEMU, a kernel and a
    /// busybox are fetched from the machine's Debian mirror, and mdpy's driver is built from Debian's sources (400 MB,
    /// of which 300 MB stay in ~/.cache/mdev-user); nothing is installed.
    Demo {
        /// Leave me in the guest's shell instead
        #[arg(long)]
        interactive: bool,
    },
    /// Boots a Linux guest with the devices that you serve, and leaves you in its shell
    ///
    /// Its shell has `devmem` and functions for PCI devices: see them at work in `examples/guest/*.sh`.
    Guest(guest::Options),
    /// Runs the tests of what has unsafe code, and of what has threads, under the compiler's sanitizers
    ///
    /// Each has a build of its own below target. The one for threads wants the standard library's source: `rustup component
    /// add rust-src`.
    Sanitize {
        /// Under this one only
        with: Option<sanitize::With>,
    },
    /// Runs every check that a change must pass, guests included
    Test,
    /// Builds a Debian package and looks at it
    ///
    /// With cargo-deb, which is built into target/tools if it is not on PATH. The package holds the program, manual pages,
    /// completions, units for a user's systemd and the descriptor; it is unpacked and its program run. Nothing is
    /// installed.
    Deb,
    /// Measures ours beside other servers, our devices beside QEMU's own in one guest, and many devices in one process
    ///
    /// Without a name all of it, one after the other. Each figure is a ratio to something that took turns with it; in the
    /// end there is one table of those that matter, and what has a bound and misses it makes the task fail.
    ///
    /// wire: what a client waits for one access to a server: ours with and without polling, the vfio_user crate's, and an
    /// echo of as many bytes, which is the floor; what they cost in system calls and allocations. Client and server each
    /// have a CPU; then they share one, and so do mtty-1 with the sandbox and mtty-1 without. latency: one client among up
    /// to 1000 devices, idle or at work. No guest in either.
    ///
    /// serial: what a guest waits for a register, and how fast a tty goes each way, to and from a socket on the host. The
    /// guest has four serial ports: two of QEMU's own pci-serial, mtty, and mtty served with --poll-us 0. display: stores
    /// to a framebuffer and loads from it, of mbochs and of two of QEMU's own bochs-display. QEMU's two are each other's
    /// control. They take turns. devices: what each of up to 2000 devices of a manager costs, and what is left of them; no
    /// guest. neighbours: how long a client waits for a register beside clients that flood, do not read, or send garbage,
    /// to a device or to the control socket, on the same loop and on another; no guest. boot: from power-on until the
    /// guest's driver has mtty-2, beside QEMU's pci-serial-2x, and mbochs-medium, beside bochs-display. floor: a guest's
    /// register of mtty-1 beside one of a server in C that only answers (needs cc). Leave the machine alone meanwhile.
    Bench {
        /// Measure only this
        of: Option<bench::Of>,
        /// How often each takes its turn [default: 41 for wire, 21 for latency, 11 for serial, 101 for display, 3 for devices,
        /// 21 for neighbours, 7 for boot, 51 for floor]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: Option<u16>,
    },
    /// Shows in which functions of the server the instructions of a register access are
    ///
    /// The server is led through them one by one; nothing has to be left alone meanwhile. Needs nm, which comes with
    /// binutils.
    Profile,
    /// Runs for long what the test command runs for a moment
    #[command(subcommand)]
    Soak(soak::Of),
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let outcome = interrupt::watch().and_then(|()| match task {
        Task::Demo { interactive: false } => demo::run(),
        Task::Demo { interactive: true } => demo::interact(),
        Task::Guest(options) => guest::run(&options),
        Task::Sanitize { with } => sanitize::run(with),
        Task::Test => test::run(),
        Task::Deb => deb::run(),
        Task::Bench { of, rounds } => bench::run(of, rounds.map(usize::from)),
        Task::Profile => bench::profile(),
        Task::Soak(of) => soak::run(of),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}
