//! `cargo xtask demo`: a guest's own serial driver drives a card that mdev-user serves.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use guest_kit::{Guest, Tools, vfio_user_device};

use crate::cargo::build_program;
use crate::report::{Result, heading};
use crate::server::Server;

const DEVICE_TYPE: &str = "mtty-2";
const PORTS: [usize; 2] = [1, 2];
const SOON: Duration = Duration::from_secs(60);

/// The guest's side: functions that show the card and send through its ports.
const GUEST_SCRIPT: &str = include_str!("demo/card.sh");

/// Shows all of it and ends.
pub fn run() -> Result {
    let (tools, server) = serve()?;

    heading("Booting a Linux guest in QEMU; all that the card takes is this argument:");
    let device = vfio_user_device(&server.socket());
    println!("-device '{device}'");
    let start = Instant::now();
    let mut guest = Guest::builder(&tools).device(&device).boot()?;
    println!("up in {:.1} s", start.elapsed().as_secs_f32());
    guest.check(GUEST_SCRIPT, SOON)?;

    heading("The PCI card, as the guest sees it");
    print!("{}", guest.check("show_card", SOON)?);

    heading(
        "Its ports, as the guest's serial driver sees them (/proc/tty/driver/serial; 0: is the guest's console)",
    );
    print!("{}", guest.check("cat /proc/tty/driver/serial", SOON)?);

    heading("A text through each port; the card's ports each send to themselves");
    for port in PORTS {
        print!(
            "{}",
            guest.check(&format!("echo_text {port} 'Hello from port {port} of mtty'"), SOON)?
        );
    }

    heading("4096 random bytes through each port");
    for port in PORTS {
        print!("{}", guest.check(&format!("echo_random {port} 4096"), SOON)?);
    }

    heading("The driver's counters: what was sent was received, without an error");
    print!("{}", guest.check("show_counters", SOON)?);

    heading("Powering off");
    guest.power_off(SOON)?;
    let messages = guest.qemu_messages();
    if !messages.is_empty() {
        return Err(format!("QEMU complained:\n{messages}").into());
    }
    server.stop()?;
    println!("QEMU ended without a warning, mdev-user on SIGTERM.");
    println!("\nTry it yourself: cargo xtask demo --interactive");
    Ok(())
}

/// Leaves the person in the guest's shell.
pub fn interact() -> Result {
    if !io::stdin().is_terminal() {
        return Err("demo --interactive needs a terminal to be interactive with".into());
    }
    let (tools, server) = serve()?;
    heading("Booting the guest (about 5 s). `poweroff` or Ctrl-A x ends it.");
    let status = Guest::builder(&tools)
        .device(&vfio_user_device(&server.socket()))
        .file("/opt/card.sh", GUEST_SCRIPT.as_bytes())
        .interact(include_str!("demo/greeting.txt"))?;
    server.stop()?;
    if status.success() { Ok(()) } else { Err(format!("QEMU ended with {status}").into()) }
}

fn serve() -> Result<(Tools, Server)> {
    heading("Building mdev-user");
    let program = build_program()?;
    heading("Looking for QEMU, a kernel and a busybox for the guest");
    let tools = Tools::prepare()?;
    println!("QEMU {}", tools.qemu().version());
    heading("Serving a two-port serial card on a socket");
    let server = Server::start(&program, &[DEVICE_TYPE])?;
    Ok((tools, server))
}
