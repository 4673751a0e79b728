//! The part of the command line that says what a server may still do once it serves.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::{Cli, Command};

/// The sandbox of a server.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Sandbox {
    /// What this program may do once its sockets are open, whatever a client makes of it: auto gives up all that it can, and
    /// tells what this kernel cannot; strict does not start then; off gives up nothing
    #[arg(
        long = "sandbox",
        value_name = "auto|strict|off",
        hide_possible_values = true,
        default_value = "auto"
    )]
    pub mode: SandboxMode,

    /// What becomes of a system call that it does not need: kill ends the program by SIGSYS, log lets it pass and has the
    /// kernel log it, off has no filter [default: kill]
    #[arg(long, value_name = "kill|log|off", hide_possible_values = true)]
    seccomp: Option<SeccompMode>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SandboxMode {
    #[default]
    Auto,
    Strict,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeccompMode {
    Kill,
    Log,
    Off,
}

impl Sandbox {
    pub fn seccomp(&self) -> SeccompMode {
        match self.mode {
            SandboxMode::Off => SeccompMode::Off,
            SandboxMode::Auto | SandboxMode::Strict => self.seccomp.unwrap_or(SeccompMode::Kill),
        }
    }

    /// Whether there is to be any.
    pub fn is_on(&self) -> bool {
        self.mode != SandboxMode::Off
    }

    fn contradiction(&self) -> Option<&'static str> {
        match (self.mode, self.seccomp?) {
            (SandboxMode::Off, SeccompMode::Kill | SeccompMode::Log) => {
                Some("--sandbox off has no filter of system calls; leave --seccomp out")
            }
            (SandboxMode::Strict, SeccompMode::Log | SeccompMode::Off) => Some(
                "--sandbox strict is all of it, and --seccomp takes something away; use --sandbox auto",
            ),
            _ => None,
        }
    }
}

/// What a device may be given later.
#[derive(Debug, Args)]
pub struct AllowPath {
    /// Let `set` give a device files, sockets and terminals below DIR. Can be given several times. Without it there are those
    /// that this command line names
    #[arg(long = "allow-path", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub directories: Vec<PathBuf>,
}

impl Cli {
    /// The sandbox of a command that serves.
    pub fn sandbox(&self) -> Option<Sandbox> {
        match self.command.as_ref()? {
            Command::Serve(options) => Some(options.sandbox),
            Command::Run(options) => Some(options.sandbox),
            Command::Manage(options) => Some(options.sandbox),
            _ => None,
        }
    }

    /// What options do not go together that are right one by one.
    pub fn contradiction(&self) -> Option<String> {
        let of_sockets = match &self.command {
            Some(Command::Wait(options)) => return options.contradiction(),
            Some(Command::Serve(options)) => options.contradiction(),
            Some(Command::Run(options)) => options.contradiction(),
            _ => None,
        };
        of_sockets.or_else(|| self.sandbox()?.contradiction().map(Into::into))
    }
}
