//! The program `mdev-user`: the command line, and what joins devices to servers.
//!
//! It is a library for its own fuzz targets and tests (ADR 29). Nobody else is to use it, and no version of it promises
//! anything.

mod activation;
mod cli;
mod commands;
mod control;
mod device_spec;
mod errors;
#[doc(hidden)] // for the fuzz targets; not covered by semantic versioning
pub mod fuzzing;
#[cfg(test)]
mod idle;
mod inherited;
mod logging;
mod manage;
mod monitor;
mod notify;
mod order;
mod parents;
mod peers;
mod sandbox;
mod serial;
mod signals;
mod usage;
mod view;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

const PRINT_CAPABILITIES: &str = "--print-capabilities";

/// The whole program: reads the command line, does what it says, and returns the exit status.
pub fn main() -> ExitCode {
    let _terminal = chardev::TerminalGuard::new();
    // Before anything can be wrong with the rest: a program that starts this one relies on it.
    if std::env::args_os()
        .skip(1)
        .take_while(|word| word != "--")
        .any(|word| word == PRINT_CAPABILITIES)
    {
        return finish(commands::capabilities::print());
    }
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    if let Some(Command::Serve(options)) = &mut cli.command
        && let Err(error) = options.complete()
    {
        return usage::report(&error);
    }
    if let Some(what) = cli.contradiction() {
        return usage::contradiction(&what);
    }
    // The terminal of `run` belongs to the command.
    let quiet = matches!(cli.command, Some(Command::Run(_)));
    signals::outlive_full_files();
    let confined = cli.sandbox().is_some_and(|sandbox| sandbox.is_on());
    logging::start(cli.log_level, quiet, confined);
    let result = match cli.command {
        Some(Command::Serve(options)) => commands::serve::serve(options),
        Some(Command::Run(options)) => commands::run::run(options),
        Some(Command::Info(options)) => commands::info::print(&options),
        Some(Command::Screenshot(options)) => commands::screenshot::take(options),
        Some(Command::Wait(options)) => commands::wait::wait(options),
        Some(Command::Serial(options)) => commands::serial::run(&options),
        Some(Command::Send(options)) => commands::send::send(options),
        Some(Command::Expect(options)) => commands::expect::expect(options),
        Some(Command::Manage(options)) => commands::manage::manage(&options),
        Some(Command::Create(options)) => commands::create::create(&options),
        Some(Command::Remove(options)) => commands::remove::remove(&options),
        Some(Command::List(options)) => commands::list::print(&options),
        Some(Command::Reset(options)) => commands::reset::reset(&options),
        Some(Command::Set(options)) => commands::set::set(&options),
        Some(Command::Fault(options)) => commands::fault::fault(&options),
        Some(Command::Events(options)) => commands::events::print(&options),
        Some(Command::Types(options)) => commands::types::print(&options),
        Some(Command::Completions(options)) => commands::completions::print(&options),
        Some(Command::Man(options)) => commands::man::print(&options),
        None => return usage::no_command(),
    };
    finish(result)
}

/// The exit status; after a word about what went wrong.
fn finish(result: Result<ExitCode, Box<dyn Error>>) -> ExitCode {
    logging::finish();
    result.unwrap_or_else(|error| {
        errors::complain(error);
        ExitCode::FAILURE
    })
}
