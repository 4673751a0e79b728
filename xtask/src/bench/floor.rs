//! What a guest waits for a register of ours, beside one of a server in C that does nothing but answer. Two of those are
//! the control.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use guest_kit::{Guest, Tools, vfio_user_device};

use super::summary::Summary;
use super::{PROBE, interval_name, median, ratios, spread};
use crate::cargo::build_program;
use crate::report::{Result, heading, show};
use crate::server::Server;

const SOURCE: &str = include_str!("floor.c");
const SOON: Duration = Duration::from_secs(120);
const LOADS: u32 = 4000;

/// What the ratio of ours, as it is served without an option, may be.
const MOST: f64 = 1.2;

/// The I/O port of each card's BAR 0, and the vendor, in the order of the bus: ours is 4348, the C server's 1234.
const PORTS: &str = "for device in /sys/bus/pci/devices/*; do
    case $(cat $device/vendor) in 0x4348) ;; 0x1234) echo 1 >$device/enable ;; *) continue ;; esac
    echo $(cat $device/vendor) $(head -n 1 $device/resource)
done";

/// Compiles the server with this machine's compiler.
fn compile(compiler: &str, directory: &Path) -> Result<PathBuf> {
    let (source, program) = (directory.join("floor.c"), directory.join("floor"));
    fs::write(&source, SOURCE)?;
    let mut cc = Command::new(compiler);
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(&source);
    show(&cc);
    let status = cc.status().map_err(|error| {
        format!("{compiler}: {error}; a C compiler is needed, as gcc is: install one, so that there is a `cc`")
    })?;
    if status.success() { Ok(program) } else { Err(format!("{compiler}: {status}").into()) }
}

/// Prints the table.
pub fn run(rounds: usize, summary: &mut Summary) -> Result {
    heading("Building the server in C, mdev-user, and the program that measures in the guest");
    let directory = tempfile::tempdir()?;
    // First, as it may not be there, and the rest takes minutes.
    let floor = compile("cc", directory.path())?;
    let program = build_program()?;
    let probe = guest_kit::program(PROBE)?;
    let tools = Tools::prepare()?;

    heading("Booting a guest with four cards that have a register");
    let floors = [Server::peer(&floor, &[])?, Server::peer(&floor, &[])?];
    let servers = [
        Server::start(&program, &["mtty-1"])?,
        Server::start(&program, &["mtty-1", "--poll-us", "0"])?,
    ];
    let mut builder = Guest::builder(&tools).file("/bin/probe", &probe);
    for server in floors.iter().chain(&servers) {
        builder = builder.device(&vfio_user_device(&server.socket()));
    }
    let mut guest = builder.boot()?;
    let cards = cards(&guest.check(PORTS, SOON)?)?;

    heading(&format!("{rounds} rounds of {LOADS} loads of a register on each"));
    let mut times: [Vec<f64>; 4] = Default::default();
    for round in 0..rounds {
        // Another one begins each time.
        for at in (0..cards.len()).map(|turn| (round + turn) % cards.len()) {
            let (Some(port), Some(times)) = (cards.get(at), times.get_mut(at)) else { continue };
            let time = guest.check(&format!("probe register {port:#x} {LOADS}"), SOON)?;
            times.push(time.trim().parse()?);
        }
    }
    guest.power_off(SOON)?;
    servers.into_iter().try_for_each(Server::stop)?;
    drop(floors);
    print(&times, summary)
}

/// Ports of a harmless register: two of the C server's, polling, sleeping.
fn cards(found: &str) -> Result<[u16; 4]> {
    let of = |vendor: &str| -> Result<Vec<u16>> {
        let lines = found.lines().filter_map(|line| line.strip_prefix(vendor));
        let starts = lines.filter_map(|line| line.split_whitespace().next());
        let ports = starts.map(|it| u16::from_str_radix(it.trim_start_matches("0x"), 16));
        // The last of eight: a UART's scratch register.
        Ok(ports.map(|port| port.map(|port| port + 7)).collect::<std::result::Result<_, _>>()?)
    };
    match (&of("0x1234")?[..], &of("0x4348")?[..]) {
        ([first, second], [polling, sleeping]) => Ok([*first, *second, *polling, *sleeping]),
        _ => Err(format!("the guest has other cards: {found}").into()),
    }
}

fn print(times: &[Vec<f64>; 4], summary: &mut Summary) -> Result {
    let [base, again, ..] = times;
    heading(&format!(
        "Medians, and as a multiple of the first one's, round by round: median ({})",
        interval_name(base.len())
    ));
    let rows = [
        ("C, which only answers", None),
        ("C, another", None),
        ("mtty-1", Some(MOST)),
        ("mtty-1, --poll-us 0", None),
    ];
    for ((name, most), times) in rows.into_iter().zip(times) {
        let against = ratios(times, base);
        println!("{name:<22} {:6.2} us {}", median(times) / 1e3, spread(&against));
        let what = format!("a guest's register: {name}");
        match most {
            Some(most) => summary.against(&what, &against, &ratios(again, base), most),
            None => summary.ratios(&what, &against, None),
        }
    }
    println!(
        "\nOne load of a register, by a guest in software emulation; {} CPUs, nothing pinned. The second row is the\n\
         control. The server in C sleeps in read() between messages; ours polls for a while before it sleeps, unless\n\
         told not to.",
        thread::available_parallelism()?
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_is_not_there_is_named_with_one_that_would_do() {
        let directory = tempfile::tempdir().unwrap();
        let error = compile("/nowhere/cc", directory.path()).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/cc: ") && error.contains("gcc"), "{error}");
    }
}
