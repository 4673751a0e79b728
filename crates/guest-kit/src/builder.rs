//! What a guest is made of.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::initramfs::Initramfs;
use crate::modules::{self, Module};
use crate::monitor::Monitor;
use crate::{Error, Guest, Output, Result, Tools, Tty};

/// Long enough for a busy machine; a boot takes a few seconds.
const BOOT: Duration = Duration::from_secs(180);
/// For a moment's work of the guest, on the same.
const SOON: Duration = Duration::from_secs(60);

/// Physical address of the memory that [`Builder::registers`] keeps free in the guest.
pub const FREE_MEMORY: u64 = 0x1000_0000;

/// Collects what a guest shall have, then boots it.
#[derive(Clone, Debug)]
pub struct Builder {
    tools: Tools,
    files: Initramfs,
    accelerator: String,
    memory_mib: u32,
    shares_memory: bool,
    console: Option<Tty>,
    kernel_arguments: String,
    arguments: Vec<OsString>,
    reboots: bool,
    launcher: Vec<OsString>,
    modules: Vec<String>,
    has_monitor: bool,
    slots: u32,
}

impl Builder {
    pub(crate) fn new(tools: &Tools) -> Self {
        Self {
            tools: tools.clone(),
            files: Initramfs::default(),
            // /dev/kvm may be there and not run a stock guest.
            accelerator: "tcg".into(),
            memory_mib: 512,
            shares_memory: false,
            console: None,
            // A panic ends QEMU at once, or reboots, instead of waiting for the time-out.
            kernel_arguments: "panic=-1".into(),
            arguments: Vec::new(),
            reboots: false,
            launcher: Vec::new(),
            modules: Vec::new(),
            has_monitor: false,
            slots: 0,
        }
    }

    /// Arguments for QEMU.
    pub fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// `-device`, as [`vfio_user_device`](crate::vfio_user_device) writes them.
    pub fn device(self, device: &str) -> Self {
        self.args(["-device", device])
    }

    /// Has QEMU listen to [`Guest::execute`].
    pub fn monitor(mut self) -> Self {
        self.has_monitor = true;
        self
    }

    /// A slot by this name, a PCI Express root port, for [`Guest::plug`]. For a device with memory BARs `memory_mib` is
    /// twice the largest: the firmware aligns what it reserves to 2 MiB only. 0 leaves it the 2 MiB that it reserves of
    /// itself.
    pub fn slot(mut self, name: &str, memory_mib: u32) -> Self {
        self.slots += 1;
        let reserve = match memory_mib {
            0 => String::new(),
            size => format!(",mem-reserve={size}M"),
        };
        let number = self.slots;
        self.monitor().device(&format!("pcie-root-port,id={name},chassis=1,slot={number}{reserve}"))
    }

    /// `kvm` instead of `tcg`.
    pub fn accelerator(mut self, accelerator: &str) -> Self {
        self.accelerator = accelerator.to_owned();
        self
    }

    /// Another size of memory than 512 MiB.
    pub fn memory_mib(mut self, size: u32) -> Self {
        self.memory_mib = size;
        self
    }

    /// Has QEMU share the guest's memory with those who serve its devices: they can do DMA.
    pub fn shares_memory(mut self) -> Self {
        self.shares_memory = true;
        self
    }

    /// Has the guest's kernel use this tty as its one console, with all messages of the boot, and puts a shell there as
    /// people know it from consoles: the prompt is `guest# `, lines can be edited, Ctrl-C interrupts, and when it ends
    /// another one begins. The shell of [`Guest`] stays where it is, on ttyS0. Booting fails if the guest finds no
    /// hardware for that tty.
    pub fn console(mut self, tty: Tty) -> Self {
        self.console = Some(tty);
        self
    }

    /// One more argument for the guest's kernel.
    pub fn kernel_argument(mut self, argument: &str) -> Self {
        self.kernel_arguments = format!("{} {argument}", self.kernel_arguments);
        self
    }

    /// An executable file in the guest, at an absolute path.
    pub fn file(mut self, path: &str, contents: &[u8]) -> Self {
        self.files.file(path, contents);
        self
    }

    /// A module of the guest's kernel, and those that it depends on: `load NAME [PARAMETER=VALUE]...` loads them in the
    /// guest. `mdpy-fb` if [`Tools::with_mdpy_fb`] has been called.
    pub fn kernel_module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// Lets scripts in the guest at registers without a driver: `devmem` may be used on BARs and on the MiB of memory at
    /// [`FREE_MEMORY`], which the kernel leaves alone, and `. /lib/pci.sh` brings functions (`guest/pci.sh`).
    pub fn registers(self) -> Self {
        self.kernel_argument("iomem=relaxed")
            .kernel_argument(&format!("memmap=1M${FREE_MEMORY:#x}"))
            .file("/lib/pci.sh", include_bytes!("guest/pci.sh"))
    }

    /// Lets the guest restart. Without this QEMU ends when it would.
    pub fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// Has QEMU started by another program: this command line, and QEMU's behind it.
    pub fn launched_by(mut self, command_line: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        self.launcher = command_line.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Boots the guest to its shell.
    pub fn boot(self) -> Result<Guest> {
        let initrd = self.initrd(include_str!("guest/console.sh"))?;
        let mut command = self.command(initrd.path());
        command.args(["-serial", "stdio", "-monitor", "none"]);
        let monitor = self.has_monitor.then(Monitor::directory).transpose()?;
        if let Some(directory) = &monitor {
            command.args(["-qmp", &Monitor::argument(directory.path())]);
        }
        // QEMU keeps what it has loaded; the file is no longer needed when the guest is up, not even to reboot.
        let mut guest = Guest::boot(self.launched(command), BOOT)?;
        if let Some(directory) = monitor {
            guest.attach(Monitor::connect(directory)?)?;
        }
        if self.console.is_some() {
            let Output { status, text } = guest.run("cat /no-console 2>/dev/null", SOON)?;
            if status == 0 {
                return Err(Error::NoConsole { message: text.trim_end().to_owned() });
            }
        }
        Ok(guest)
    }

    /// Boots the guest and leaves its shell to the person at the terminal, until the guest is off. `Ctrl-A x` ends
    /// QEMU.
    pub fn interact(mut self, greeting: &str) -> Result<ExitStatus> {
        self.files.file("/greeting", greeting.as_bytes());
        let initrd = self.initrd(include_str!("guest/shell.sh"))?;
        let mut command = self.command(initrd.path());
        command.args(["-serial", "mon:stdio"]);
        let program = command.get_program().to_owned();
        command.status().map_err(Error::io("run", program.as_ref()))
    }

    fn command(&self, initrd: &Path) -> Command {
        let mut command = self.tools.qemu.command();
        command.args([
            "-accel",
            &self.accelerator,
            "-machine",
            "q35",
            "-m",
            &self.memory_mib.to_string(),
        ]);
        if self.shares_memory {
            let memory =
                format!("memory-backend-memfd,id=memory,size={}M,share=on", self.memory_mib);
            command.args(["-object", &memory, "-machine", "memory-backend=memory"]);
        }
        command.args(["-nodefaults", "-display", "none"]);
        command.arg("-kernel").arg(&self.tools.kernel).arg("-initrd").arg(initrd);
        // Linux's serial driver has one console at a time.
        let console = match &self.console {
            Some(tty) => format!("console={tty}"),
            None => "console=ttyS0 quiet".to_owned(),
        };
        // The kernel counts timer interrupts for a moment, and panics on a busy host where an emulated CPU has none in it.
        let always = "no_timer_check";
        command.args(["-append", &format!("{console} {always} {}", self.kernel_arguments)]);
        if !self.reboots {
            command.arg("-no-reboot");
        }
        command.args(&self.arguments);
        command
    }

    /// `command` behind the launcher's words, if there is one.
    fn launched(&self, command: Command) -> Command {
        let Some((program, arguments)) = self.launcher.split_first() else { return command };
        let mut launched = Command::new(program);
        launched.args(arguments).arg(command.get_program()).args(command.get_args());
        let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        launched.envs(set);
        launched
    }

    fn initrd(&self, console: &str) -> Result<NamedTempFile> {
        let busybox =
            fs::read(&self.tools.busybox).map_err(Error::io("read", &self.tools.busybox))?;
        let mut files = self.files.clone();
        for directory in ["/proc", "/sys", "/dev", "/etc", "/tmp"] {
            files.directory(directory);
        }
        files.file("/bin/busybox", &busybox);
        self.lay_modules(&mut files)?;
        files.file("/init", include_bytes!("guest/init.sh"));
        files.file("/console", console.as_bytes());
        let mut initrd = tempfile::Builder::new()
            .prefix("mdev-user-guest-")
            .suffix(".cpio")
            .tempfile()
            .map_err(Error::io("create a file in", &std::env::temp_dir()))?;
        initrd.write_all(&files.finish()).map_err(Error::io("write", initrd.path()))?;
        Ok(initrd)
    }

    fn lay_modules(&self, files: &mut Initramfs) -> Result<()> {
        if !self.modules.is_empty() {
            files.file("/bin/load", include_bytes!("guest/load.sh"));
        }
        let mut laid = Vec::new();
        for name in &self.modules {
            let mut order = String::new();
            for Module { name, bytes } in modules::in_order(&self.tools, name)? {
                let path = format!("/lib/modules/{name}.ko");
                order += &format!("{path}\n");
                if !laid.contains(&path) {
                    files.file(&path, &bytes);
                    laid.push(path);
                }
            }
            files.file(&format!("/lib/modules/{name}.order"), order.as_bytes());
        }
        Ok(())
    }
}
