//! What a server gives up once its sockets and back ends are open, before a client's first byte is read.
//!
//! Of the files and ports nothing is left but what the command line has named ([`files`], Landlock), of the system calls
//! nothing but what serving takes ([`filter`], seccomp); no program that is started has more rights than this one
//! (`no_new_privs`), and no core file is written, in which guests' data would be.

mod files;
mod filter;
mod status;

use std::env;
use std::error::Error;
use std::path::Path;
use std::thread;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::set_no_new_privs;
use seccompiler::{apply_filter, sock_filter};

use crate::cli::{self, SandboxMode, SeccompMode};
use crate::device_spec::{DeviceSpec, Options};
use crate::manage::Allowed;
use crate::notify;
use files::Kernel;
pub use files::{Files, give_up_files};
pub use status::{Status, in_force};

/// A sandbox that this program is not in yet.
#[derive(Debug)]
pub struct Sandbox {
    options: cli::Sandbox,
    pub files: Files,
    needs: filter::Needs,
    /// Whether this kernel takes a filter.
    filters: bool,
}

impl Sandbox {
    pub fn new(options: cli::Sandbox) -> Self {
        let filters = options.seccomp() != SeccompMode::Off && takes_filters();
        Self { options, files: Files::new(), needs: filter::Needs::default(), filters }
    }

    /// Whether there is to be any.
    pub fn is_on(&self) -> bool {
        self.options.is_on()
    }

    /// These devices, opened. If they can be changed, then to what is allowed.
    pub fn add_devices(&mut self, devices: &[DeviceSpec], changes: Option<&Allowed>) {
        devices.iter().for_each(|it| self.files.add_device(it, changes.is_some()));
        if let Some(allowed) = changes {
            self.add_allowed(allowed);
            if devices.iter().any(|it| matches!(it.options, Options::Ports(_))) {
                self.add_later_ports();
            }
        }
    }

    /// What devices are made of that are yet to come.
    pub fn add_later_devices(&mut self, allowed: &Allowed) {
        self.add_allowed(allowed);
        self.add_later_ports();
    }

    /// Sockets, yet to be made, that others may use as well: theirs is another owner or mode.
    pub fn add_shared_sockets(&mut self) {
        self.needs.shares = true;
    }

    /// A file that is written anew, as a whole.
    pub fn add_saved(&mut self, path: &Path) {
        self.files.add_saved(path);
        self.needs.saves = true;
    }

    fn add_allowed(&mut self, allowed: &Allowed) {
        allowed.directories().iter().for_each(|it| self.files.add_allowed(it));
    }

    fn add_later_ports(&mut self) {
        self.files.add_later_ports();
        self.needs.names = true;
    }

    /// This kernel has all that there is to be, or what is left of it will do.
    ///
    /// # Errors
    /// Of a strict one: what is missing, and the way out.
    pub fn check(&self) -> Result<(), String> {
        let missing = self.missing(Kernel::ask());
        if self.options.mode != SandboxMode::Strict || missing.is_empty() {
            return Ok(());
        }
        Err(refusal(&missing.join(", ")))
    }

    fn missing(&self, kernel: Kernel) -> Vec<&'static str> {
        let mut missing = self.files.missing(kernel);
        if !filter::is_known() {
            missing.push("a filter of system calls, which there is for x86_64 and aarch64 only");
        } else if !self.filters && self.options.seccomp() != SeccompMode::Off {
            missing.push("seccomp (Linux 3.17 has it)");
        }
        missing
    }

    /// Enters it, for good. The process `child` can be signalled and waited for, and is not in it. To be called by the one
    /// thread that there is, but for that of the log.
    ///
    /// # Errors
    /// Of a strict one: what the kernel has against it.
    pub fn enter(mut self, child: Option<u32>) -> Result<(), Box<dyn Error>> {
        if !self.is_on() {
            status::set(Status { options: self.options, ..Status::default() });
            return Ok(());
        }
        self.files.signals = child.is_some();
        self.needs.child = child;
        self.needs.tcp = self.files.tcp != files::Tcp::Connect([].into());
        self.needs.has_tcp = self.files.has_tcp;
        self.needs.unix = self.files.unix;
        self.needs.notify = env::var_os(notify::VARIABLE).is_some_and(|name| !name.is_empty());
        let kernel = Kernel::ask();
        let mut status = Status {
            options: self.options,
            missing: self.missing(kernel).into_iter().map(Into::into).collect(),
            ..Status::default()
        };
        // A guest's data is in the memory of this process.
        if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        {
            status.missing.push(format!("a limit on core files ({error})"));
        }
        if let Err(error) = set_no_new_privs(true) {
            status.missing.push(format!("no_new_privs ({error})"));
        }
        if self.files.can_be_had(kernel) {
            match (self.files.enter(), kernel) {
                (Ok(()), Kernel::Version(version)) => {
                    status.landlock = Some((version, self.files.describe()));
                }
                (Ok(()), Kernel::No(_)) => (),
                (Err(error), _) => status.missing.push(format!("Landlock ({error})")),
            }
        }
        if filter::is_known() && self.filters {
            match filter::enter(self.needs, self.options.seccomp()) {
                Ok(()) => status.filter = Some(self.options.seccomp()),
                Err(error) => status.missing.push(format!("a filter of system calls ({error})")),
            }
        }
        let missing = status.missing.join(", ");
        if !missing.is_empty() {
            if self.options.mode == SandboxMode::Strict {
                return Err(refusal(&missing).into());
            }
            log::warn!("sandbox: this kernel lacks {missing}; going on without");
        }
        if self.options.seccomp() == SeccompMode::Log {
            log::warn!(
                "--seccomp log: system calls that are not expected are let pass, and logged by the kernel"
            );
        }
        status::set(status);
        Ok(())
    }
}

fn refusal(missing: &str) -> String {
    format!(
        "--sandbox strict: this kernel lacks {missing}; use another kernel, or --sandbox auto, which does without"
    )
}

/// Has a thread try one that allows everything. It is gone with the thread, and so is the thread's `no_new_privs`.
fn takes_filters() -> bool {
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    let allow = [sock_filter { code, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    let thread = thread::Builder::new().spawn(move || apply_filter(&allow).is_ok());
    thread.is_ok_and(|thread| thread.join().unwrap_or(false))
}
