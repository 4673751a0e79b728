//! How long it takes from power-on until the guest's driver has a device: ours beside QEMU's own of the same kind, and
//! two boots with QEMU's beside each other to know what the measurement itself is worth.

use std::thread;
use std::time::{Duration, Instant};

use guest_kit::{Builder, Guest, Tools, vfio_user_device};

use super::summary::Summary;
use super::{interval_name, median, spread};
use crate::cargo::build_program;
use crate::report::{Result, heading};
use crate::server::Server;

const SOON: Duration = Duration::from_secs(120);

/// Two devices that the same driver drives.
struct Pair {
    ours: &'static str,
    /// Arguments for QEMU's own.
    theirs: &'static [&'static str],
    name: &'static str,
    /// In the guest: has the driver there, if the kernel has not.
    load: &'static str,
    module: Option<&'static str>,
    /// What the driver's last line has in it when it is done.
    line: &'static str,
}

const PAIRS: [Pair; 2] = [
    Pair {
        ours: "mtty-2",
        theirs: &[
            "-chardev",
            "null,id=one",
            "-chardev",
            "null,id=two",
            "-device",
            "pci-serial-2x,chardev1=one,chardev2=two",
        ],
        name: "pci-serial-2x",
        load: ":",
        module: None,
        line: "ttyS2 at I/O",
    },
    Pair {
        ours: "mbochs-medium",
        // Ours has no ROM that the firmware would run.
        theirs: &["-device", "bochs-display,vgamem=16M,romfile="],
        name: "bochs-display",
        load: "load bochs",
        module: Some("bochs"),
        line: "Initialized bochs-drm",
    },
];

/// Milliseconds: to the driver's line, and of those what the kernel says that it has run.
struct Boot {
    all: f64,
    kernel: f64,
}

/// Prints the table.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    heading("Building mdev-user");
    let program = build_program()?;
    let tools = Tools::prepare()?;
    for pair in &PAIRS {
        heading(&format!(
            "{rounds} rounds of boots with {}, the same again, and {}",
            pair.name, pair.ours
        ));
        let server = Server::start(&program, &[pair.ours])?;
        let mut boots: [Vec<Boot>; 3] = Default::default();
        for round in 0..rounds {
            // Another one begins each time.
            for at in (0..3).map(|turn| (round + turn) % 3) {
                let builder = Guest::builder(&tools);
                let builder = match at {
                    2 => builder.device(&vfio_user_device(&server.socket())),
                    _ => builder.args(pair.theirs),
                };
                if let Some(boots) = boots.get_mut(at) {
                    boots.push(boot(builder, pair)?);
                }
            }
        }
        server.stop()?;
        print(pair, &boots, rounds, summary);
    }
    let cpus = thread::available_parallelism()?;
    println!(
        "\nFrom the start of QEMU's process to the last line of the driver about the device (the module's loading\n\
         included, where it is one), by the guest's clock from the moment on that both clocks can be compared at: when\n\
         its shell has answered. kernel: of that, since the guest's kernel began. Software emulation, {cpus} CPUs, nothing pinned.\n\
         The second row of each is the control: what two equal boots differ by."
    );
    Ok(())
}

fn boot(builder: Builder, pair: &Pair) -> Result<Boot> {
    let builder = match pair.module {
        Some(module) => builder.kernel_module(module),
        None => builder,
    };
    let begin = Instant::now();
    let mut guest = builder.boot()?;
    guest.check(pair.load, SOON)?;
    // The kernel's time of a line that is written now, and that of the driver's.
    guest.check("echo now >/dev/kmsg", SOON)?;
    let now = begin.elapsed().as_secs_f64() * 1e3;
    let said = guest.check("dmesg", SOON)?;
    let time = |words: &str| -> Result<f64> {
        let line = said.lines().rfind(|line| line.contains(words));
        let line =
            line.ok_or_else(|| format!("the guest's kernel has not said '{words}':\n{said}"))?;
        let stamp = line.trim_start_matches('[').split(']').next().unwrap_or_default();
        Ok(stamp.trim().parse::<f64>()? * 1e3)
    };
    let (driver, mark) = (time(pair.line)?, time("] now")?);
    guest.power_off(SOON)?;
    let messages = guest.qemu_messages();
    if !messages.is_empty() {
        return Err(format!("QEMU complained:\n{messages}").into());
    }
    Ok(Boot { all: now - (mark - driver), kernel: driver })
}

fn print(pair: &Pair, boots: &[Vec<Boot>; 3], rounds: usize, summary: &mut Summary) {
    let [base, ..] = boots;
    println!(
        "\n{:<22} {:>9} {:>9}   all, as a multiple of the first, round by round: median ({})",
        "",
        "all",
        "kernel",
        interval_name(rounds)
    );
    let names = [pair.name, "the same again", pair.ours];
    for (name, boots) in names.into_iter().zip(boots) {
        let all: Vec<_> = boots.iter().map(|it| it.all).collect();
        let kernel: Vec<_> = boots.iter().map(|it| it.kernel).collect();
        let ratios: Vec<_> = all.iter().zip(base).map(|(it, base)| it / base.all).collect();
        println!(
            "{name:<22} {:>6.0} ms {:>6.0} ms   {}",
            median(&all),
            median(&kernel),
            spread(&ratios)
        );
        if name == pair.ours {
            summary.ratios(&format!("{name}: boot to driver, of {}", pair.name), &ratios, None);
        }
    }
}
