//! What a newcomer types. `cargo xtask --help` tells the rest.

mod bench;
mod cargo;
mod demo;
mod guest;
mod interrupt;
mod package;
mod report;
mod server;
mod test;

use std::path::PathBuf;
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
    Guest {
        /// The socket of a device; can be given several times
        #[arg(long, required = true, value_name = "PATH")]
        socket: Vec<PathBuf>,
        /// Run this shell script in the guest instead, and end; can be given several times
        #[arg(long, value_name = "FILE")]
        run: Vec<PathBuf>,
        /// A module of the guest's kernel, with those that it needs: bochs, say, or mdpy-fb. `load NAME` loads it in
        /// the guest; can be given several times
        #[arg(long, value_name = "NAME")]
        module: Vec<String>,
        /// A file to put into the guest, with what it is called there: /tmp/my.ko=build/my.ko; can be given several times
        #[arg(long, value_name = "PATH=FILE")]
        file: Vec<String>,
    },
    /// Runs every check that a change must pass, guests included
    Test,
    /// Measures our devices beside QEMU's own, in one guest
    ///
    /// serial: what a guest waits for a register, and how fast a tty goes each way, to and from a socket on the host. The
    /// guest has four serial ports: two of QEMU's own pci-serial, mtty, and mtty served with --poll-us 0. display: stores
    /// to a framebuffer and loads from it, of mbochs and of two of QEMU's own bochs-display. QEMU's two are each other's
    /// control. They take turns. Leave the machine alone meanwhile.
    Bench {
        /// Measure only this
        of: Option<bench::Of>,
        /// How often each takes its turn [default: 11 for serial, 101 for display]
        #[arg(long)]
        rounds: Option<usize>,
    },
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let outcome = interrupt::watch().and_then(|()| match task {
        Task::Demo { interactive: false } => demo::run(),
        Task::Demo { interactive: true } => demo::interact(),
        Task::Guest { socket, run, module, file } => guest::run(&socket, &run, &module, &file),
        Task::Test => test::run(),
        Task::Bench { of, rounds } => bench::run(of, rounds),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}
