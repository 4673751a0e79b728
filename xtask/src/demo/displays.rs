//! The displays of `cargo xtask demo`: what the guest's text consoles show on them, as PNG files.

use std::path::{Path, PathBuf};
use std::process::Command;

use guest_kit::{Builder, Guest};

use super::SOON;
use crate::report::{Result, heading, show};
use crate::server::Server;

/// The guest's side: functions that load the drivers and fill the text consoles.
const GUEST_SCRIPT: &str = include_str!("displays.sh");

/// The types; the guest's first text console comes to the first, and so on.
pub const TYPES: [&str; 2] = ["mdpy-xga", "mbochs-medium"];

/// A guest that can drive them, with its text consoles on each in turn.
pub fn prepare(guest: Builder) -> Builder {
    guest
        .kernel_module("mdpy-fb")
        .kernel_module("bochs")
        .kernel_argument("fbcon=map:01")
        .file("/opt/displays.sh", GUEST_SCRIPT.as_bytes())
}

/// Shows them in the guest, and takes screenshots from outside.
pub fn run(guest: &mut Guest, program: &Path, servers: &[Server]) -> Result {
    heading("Its displays, as the guest's drivers mdpy-fb and bochs-drm see them");
    guest.check(GUEST_SCRIPT, SOON)?;
    guest.check("load_drivers", SOON)?;
    print!("{}", guest.check("show_displays", SOON)?);

    heading("A text console of the guest on each, as seen from outside while it runs");
    let directory = directory(program);
    std::fs::create_dir_all(&directory)?;
    let mut pictures = Vec::new();
    for ((number, kind), server) in (1..).zip(TYPES).zip(servers) {
        guest.check(&format!("console {number} 'A Linux guest, on {kind}'"), SOON)?;
        let picture = directory.join(format!("{kind}.png"));
        let conditions = ["--not-blank", "--stable", "500ms", "--timeout", "60s"];
        ask(program, "wait", server, |command| command.args(conditions))?;
        ask(program, "screenshot", server, |command| command.arg(&picture))?;
        pictures.push(picture);
    }
    heading("Look at them:");
    pictures.iter().for_each(|picture| println!("{}", picture.display()));
    Ok(())
}

/// `demo`, beside where cargo has put the program.
fn directory(program: &Path) -> PathBuf {
    program.ancestors().nth(2).unwrap_or(Path::new("target")).join("demo")
}

/// Runs a verb of the program's.
fn ask(
    program: &Path,
    verb: &str,
    server: &Server,
    more: impl FnOnce(&mut Command) -> &mut Command,
) -> Result {
    let mut command = Command::new(program);
    more(command.arg(verb).arg("-c").arg(server.control()));
    show(&command);
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("mdev-user {verb}: {status}").into()) }
}
