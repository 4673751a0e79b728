//! What is said about a command line that is wrong: one line, as about everything else that goes wrong.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Error};

use crate::cli::Cli;
use crate::errors::complain;

/// Exit status for a wrong command line.
const WRONG: u8 = 2;

/// Prints what clap has found, or the help or version that it was asked for.
pub fn report(error: &Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_help {
        // Nobody there to read it: nothing to be done.
        let _ = error.print();
    } else {
        let words: Vec<OsString> = std::env::args_os().skip(1).collect();
        complain(one_line(&error.render().to_string(), &words));
    }
    if error.use_stderr() { ExitCode::from(WRONG) } else { ExitCode::SUCCESS }
}

/// A command line that lacks the command.
pub fn no_command() -> ExitCode {
    report(&Cli::command().error(ErrorKind::MissingSubcommand, "a command is missing"))
}

/// Options that are right one by one.
pub fn contradiction(what: &str) -> ExitCode {
    report(&Cli::command().error(ErrorKind::ArgumentConflict, what))
}

/// Of clap's paragraphs the first, the useful tips, and the way to the help.
fn one_line(text: &str, words: &[OsString]) -> String {
    let mut paragraphs = text.split("\n\n");
    let what = paragraphs.next().unwrap_or_default();
    let mut line = join(what.strip_prefix("error: ").unwrap_or(what));
    for tip in paragraphs.filter_map(|text| text.trim_start().strip_prefix("tip: ")) {
        // clap's idea that every unknown option was meant as an argument helps nobody.
        if !tip.starts_with("to pass ") {
            line += &format!("; {}", join(tip));
        }
    }
    let commands = Cli::command();
    let command = words.iter().find_map(|word| commands.find_subcommand(word));
    let command = command.map(|command| command.get_name()).unwrap_or_default();
    if command == "run" && !words.iter().any(|word| word == "--") {
        line += "; the command comes after `--`: mdev-user run TYPE... -- COMMAND...";
    }
    let space = if command.is_empty() { "" } else { " " };
    line + &format!("; see `mdev-user{space}{command} --help`")
}

fn join(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
