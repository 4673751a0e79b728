//! The program `mdev-user`: the command line, and what joins devices to servers.

mod cli;
mod commands;
mod device_spec;
mod errors;
mod inherited;
mod logging;
mod parents;
mod signals;
mod sockets;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    // The terminal of `run` belongs to the command.
    let quiet = matches!(cli.command, Some(Command::Run(_)));
    logging::start(cli.log_level, quiet);
    let result = match cli.command {
        // Whatever else is asked for: a program that starts this one relies on it.
        _ if cli.print_capabilities => commands::capabilities::print(),
        Some(Command::Serve(options)) => commands::serve::serve(options),
        Some(Command::Run(options)) => commands::run::run(options),
        Some(Command::Types(options)) => commands::types::print(&options),
        None => return usage::no_command(),
    };
    logging::finish();
    result.unwrap_or_else(|error| {
        errors::complain(error);
        ExitCode::FAILURE
    })
}
