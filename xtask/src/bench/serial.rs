//! What a guest waits for one register, and for 64 KiB through a tty.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use guest_kit::{Guest, Tools, vfio_user_device};

use super::{PROBE, median};
use crate::cargo::build_program;
use crate::report::{Result, heading};
use crate::server::Server;

const SOON: Duration = Duration::from_secs(300);
const READS: u32 = 5000;
const BYTES: u32 = 64 << 10;

/// Finds the ports of all cards, in the order of the cards on the bus.
const PORTS: &str = "for device in /sys/bus/pci/devices/*; do
    find $device/ -path '*/tty/ttyS*' -prune
done";

/// One of the devices that are compared, with what was measured, in nanoseconds.
struct Peer {
    name: &'static str,
    tty: String,
    io_port: String,
    register: Vec<f64>,
    transfer: Vec<f64>,
}

/// Prints the table.
pub fn run(rounds: usize) -> Result {
    heading("Building mdev-user, and the program that measures in the guest");
    let program = build_program()?;
    let probe = guest_kit::program(PROBE)?;
    let tools = Tools::prepare()?;

    heading("Booting a guest with three serial ports");
    let polling = Server::start(&program, &["mtty-1"])?;
    let sleeping = Server::start(&program, &["mtty-1", "--poll-us", "0"])?;
    let directory = tempfile::tempdir()?;
    let echo = directory.path().join("echo.sock");
    send_back(UnixListener::bind(&echo)?);
    let mut guest = Guest::builder(&tools)
        .device(&vfio_user_device(&polling.socket()))
        .device(&vfio_user_device(&sleeping.socket()))
        .args(["-chardev", &format!("socket,id=echo,path={}", echo.display())])
        .device("pci-serial,chardev=echo")
        .file("/bin/probe", &probe)
        .boot()?;
    let mut peers = peers(&mut guest)?;

    heading(&format!("{rounds} rounds of {READS} reads and {} KiB on each", BYTES >> 10));
    for round in 1..=rounds {
        for peer in &mut peers {
            let register = format!("probe register {} {READS}", peer.io_port);
            peer.register.push(guest.check(&register, SOON)?.trim().parse()?);
            let transfer = format!("probe tty {} {BYTES}", peer.tty);
            peer.transfer.push(guest.check(&transfer, SOON)?.trim().parse()?);
        }
        println!("round {round} of {rounds}");
    }
    for peer in &peers {
        let number = peer.tty.trim_start_matches("/dev/ttyS");
        print!("{}", guest.check(&format!("grep ^{number}: /proc/tty/driver/serial"), SOON)?);
    }
    guest.power_off(SOON)?;
    polling.stop()?;
    sleeping.stop()?;
    print_table(&peers);
    Ok(())
}

/// The far end of the peer's line: what comes goes back.
fn send_back(listener: UnixListener) {
    thread::spawn(move || -> io::Result<()> {
        let (from, _) = listener.accept()?;
        let to = from.try_clone()?;
        io::copy(&mut &from, &mut &to).map(drop)
    });
}

/// Finds the ports in the guest and sets their ttys up; they stay open, so that they stay as they are.
fn peers(guest: &mut Guest) -> Result<Vec<Peer>> {
    // QEMU makes devices that are given as JSON after all others.
    let names = ["QEMU's pci-serial", "mtty, polling", "mtty, --poll-us 0"];
    let paths = guest.check(PORTS, SOON)?;
    let paths: Vec<&str> = paths.lines().collect();
    if paths.len() != names.len() {
        return Err(format!("the guest has other ports than {}: {paths:?}", names.len()).into());
    }
    let mut peers = Vec::new();
    for ((name, path), number) in names.into_iter().zip(paths).zip(4..) {
        let tty = format!("/dev/{}", Path::new(path).file_name().unwrap_or_default().display());
        guest.check(
            &format!("exec {number}<>{tty}; stty raw -echo clocal -crtscts 115200 <&{number}"),
            SOON,
        )?;
        let base = guest.check(&format!("cat {path}/port"), SOON)?;
        // The scratch register.
        let io_port =
            format!("0x{:x}", u16::from_str_radix(base.trim().trim_start_matches("0x"), 16)? + 7);
        println!("{name:<18} {tty} {}", base.trim());
        peers.push(Peer { name, tty, io_port, register: Vec::new(), transfer: Vec::new() });
    }
    Ok(peers)
}

fn print_table(peers: &[Peer]) {
    heading("Medians; (least .. most); how many times as long as QEMU's own");
    println!(
        "{:<18} {:<40} {} KiB written to the tty and read back",
        "",
        "one register read",
        BYTES >> 10
    );
    let base = peers.first().map(|peer| (median(&peer.register), median(&peer.transfer)));
    let (base_register, base_transfer) = base.unwrap_or((f64::NAN, f64::NAN));
    let cell = |values: &[f64], unit: f64, base: f64| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min) / unit;
        let most = values.iter().copied().fold(0.0, f64::max) / unit;
        let median = median(values);
        (median / unit, format!("({least:.2} .. {most:.2})"), median / base)
    };
    for peer in peers {
        let (register, register_range, register_ratio) = cell(&peer.register, 1e3, base_register);
        let (transfer, transfer_range, transfer_ratio) = cell(&peer.transfer, 1e6, base_transfer);
        let rate = f64::from(BYTES >> 10) / transfer * 1e3;
        println!(
            "{:<18} {register:6.2} us {register_range:<18} {register_ratio:5.1} x  \
             {transfer:8.0} ms {transfer_range:<22} {transfer_ratio:5.1} x  {rate:6.1} KiB/s",
            peer.name
        );
    }
    println!(
        "\nmtty's ports send to themselves; pci-serial's chardev is a socket whose other end sends back."
    );
}
