//! `cargo xtask demo`: a guest's own drivers drive a serial card and two displays that mdev-user serves.

mod displays;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use guest_kit::{Builder, Guest, Tools, vfio_user_device};

use crate::cargo::build_program;
use crate::report::{Result, heading};
use crate::server::Server;

const CARD: &str = "mtty-2";
const PORTS: [usize; 2] = [1, 2];
const SOON: Duration = Duration::from_secs(60);

/// The guest's side: functions that show the card and send through its ports.
const GUEST_SCRIPT: &str = include_str!("demo/card.sh");

/// What the demo consists of, beside the guest.
struct Stage {
    program: PathBuf,
    tools: Tools,
    card: Server,
    displays: Vec<Server>,
}

/// Shows all of it and ends.
pub fn run() -> Result {
    let stage = Stage::set()?;

    heading("Booting a Linux guest in QEMU; all that the devices take are these arguments:");
    for device in stage.devices() {
        println!("-device '{device}'");
    }
    let start = Instant::now();
    let mut guest = stage.guest().boot()?;
    println!("up in {:.1} s", start.elapsed().as_secs_f32());
    show_card(&mut guest)?;
    displays::run(&mut guest, &stage.program, &stage.displays)?;

    heading("Powering off");
    guest.power_off(SOON)?;
    let messages = guest.qemu_messages();
    if !messages.is_empty() {
        return Err(format!("QEMU complained:\n{messages}").into());
    }
    stage.strike()?;
    println!("QEMU ended without a warning, mdev-user on SIGTERM.");
    println!("\nTry it yourself: cargo xtask demo --interactive");
    Ok(())
}

fn show_card(guest: &mut Guest) -> Result {
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
    Ok(())
}

/// Leaves the person in the guest's shell.
pub fn interact() -> Result {
    if !io::stdin().is_terminal() {
        return Err("demo --interactive needs a terminal to be interactive with".into());
    }
    let stage = Stage::set()?;
    heading("Booting the guest (about 5 s). `poweroff` or Ctrl-A x ends it.");
    println!("From another terminal, when the guest's displays show something:");
    for (kind, display) in displays::TYPES.iter().zip(&stage.displays) {
        let (program, control) = (stage.program.display(), display.control());
        println!("  {program} screenshot -c {} {kind}.png", control.display());
    }
    let status = stage
        .guest()
        .file("/opt/card.sh", GUEST_SCRIPT.as_bytes())
        .interact(include_str!("demo/greeting.txt"))?;
    stage.strike()?;
    if status.success() { Ok(()) } else { Err(format!("QEMU ended with {status}").into()) }
}

impl Stage {
    fn set() -> Result<Self> {
        heading("Building mdev-user");
        let program = build_program()?;
        heading("Looking for QEMU, a kernel, its drivers and a busybox for the guest");
        let tools = Tools::prepare()?.with_mdpy_fb()?;
        println!("QEMU {}", tools.qemu().version());
        heading("Serving a two-port serial card and two displays, each on a socket");
        let card = Server::start(&program, &[CARD])?;
        let displays = displays::TYPES.map(|kind| Server::start_with_control(&program, &[kind]));
        let displays = displays.into_iter().collect::<Result<_>>()?;
        Ok(Self { program, tools, card, displays })
    }

    /// QEMU's arguments for them.
    fn devices(&self) -> impl Iterator<Item = String> {
        let servers = std::iter::once(&self.card).chain(&self.displays);
        servers.map(|server| vfio_user_device(&server.socket()))
    }

    fn guest(&self) -> Builder {
        let guest = displays::prepare(Guest::builder(&self.tools));
        self.devices().fold(guest, |guest, device| guest.device(&device))
    }

    fn strike(self) -> Result {
        self.displays.into_iter().chain([self.card]).try_for_each(Server::stop)
    }
}
