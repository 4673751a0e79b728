//! `cargo xtask guest`: a guest with devices that others serve.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use guest_kit::{Builder, Guest, Tools, Tty, vfio_user_device};

use crate::report::{Result, heading};

const BOOT_AND_END: Duration = Duration::from_secs(60);
const SCRIPT: Duration = Duration::from_secs(600);

/// What a person sees who is left in the guest.
const GREETING: &str = include_str!("guest/greeting.txt");

#[derive(Debug, Args)]
pub struct Options {
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
    /// Have the guest's kernel use this tty as its console, ttyS1 say, and put a second shell there
    #[arg(long, value_name = "TTY")]
    console: Option<Tty>,
    /// Have Debian's gdbserver there too; it is fetched the first time (4 MB)
    #[arg(long)]
    gdbserver: bool,
}

/// Runs the scripts in the guest, or leaves the person in its shell if there are none.
pub fn run(options: &Options) -> Result {
    // Before the long part: what cannot work is said at once.
    for socket in &options.socket {
        std::os::unix::net::UnixStream::connect(socket).map_err(|error| {
            format!("nobody serves {}: {error}; start your device first", socket.display())
        })?;
    }
    let read = |path: &PathBuf| match fs::read_to_string(path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    };
    let texts = options.run.iter().map(read).collect::<std::result::Result<Vec<_>, _>>()?;
    let file = |text: &String| -> Result<(String, Vec<u8>)> {
        let (path, file) =
            text.split_once('=').filter(|(path, _)| path.starts_with('/')).ok_or_else(|| {
                format!("{text}: a file is named as it is called in the guest: /PATH=FILE")
            })?;
        let bytes = fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
        Ok((path.to_owned(), bytes))
    };
    let mut files = options.file.iter().map(file).collect::<Result<Vec<_>>>()?;
    let mut tools = Tools::prepare()?;
    if options.module.iter().any(|module| module == "mdpy-fb") {
        tools = tools.with_mdpy_fb()?;
    }
    if options.gdbserver {
        files.extend(tools.gdbserver()?);
    }
    // Shared always: one with DMA needs no option, and for one without it the file is closed at once.
    let mut builder = Guest::builder(&tools).registers().shares_memory();
    for socket in &options.socket {
        builder = builder.device(&vfio_user_device(&std::path::absolute(socket)?));
    }
    for (path, bytes) in &files {
        builder = builder.file(path, bytes);
    }
    for module in &options.module {
        builder = builder.kernel_module(module);
    }
    if let Some(tty) = &options.console {
        builder = builder.console(tty.clone());
    }
    if texts.is_empty() { interact(builder) } else { exercise(builder, &texts) }
}

fn exercise(builder: Builder, scripts: &[(String, String)]) -> Result {
    heading("Booting the guest (about 5 s)");
    let mut guest = builder.boot()?;
    for (name, script) in scripts {
        heading(&format!("{name}, in the guest"));
        let output = guest.run(&format!("( set -e\n{script}\n)"), SCRIPT)?;
        print!("{}", output.text);
        if output.status != 0 {
            return Err(format!("{name} ended with status {}", output.status).into());
        }
    }
    guest.power_off(BOOT_AND_END)?;
    let messages = guest.qemu_messages();
    if messages.is_empty() { Ok(()) } else { Err(format!("QEMU complained:\n{messages}").into()) }
}

fn interact(builder: Builder) -> Result {
    if !io::stdin().is_terminal() {
        return Err("without --run the guest's shell needs a terminal".into());
    }
    heading("Booting the guest (about 5 s). `poweroff` or Ctrl-A x ends it.");
    let status = builder.interact(GREETING)?;
    if status.success() { Ok(()) } else { Err(format!("QEMU ended with {status}").into()) }
}
