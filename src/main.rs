//! The program `mdev-user`: the command line, and what joins devices to servers.

mod cli;
mod commands;
mod inherited;
mod logging;
mod parents;
mod signals;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_level);
    if cli.print_capabilities {
        return commands::capabilities::print();
    }
    let result = match cli.command {
        Some(Command::Serve(options)) => commands::serve::serve(options),
        Some(Command::Run(options)) => commands::run::run(options),
        Some(Command::Types(options)) => commands::types::print(&options),
        None => Cli::command()
            .error(ErrorKind::MissingSubcommand, "a command is needed; see --help")
            .exit(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("mdev-user: {error}");
        ExitCode::FAILURE
    })
}
