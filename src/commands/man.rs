//! `mdev-user man`: manual pages, out of the command line's definition. What that lacks stands here.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::print as print_text;
use crate::cli::{self, Cli};
use crate::errors::plain;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A term and what is to be said of it.
type Entry = (&'static str, &'static str);

const STATUS: [Entry; 3] = [
    ("0", "All is well."),
    ("1", "Something failed."),
    ("2", "The command line is wrong. Nothing was done."),
];
const STATUS_OF_SERVE: [Entry; 3] = [
    ("0", "All is well: SIGTERM, SIGINT or SIGHUP came, or the last possible client has left."),
    ("1", "Something failed, or the end did not come within 5 s of the signal."),
    ("2", "The command line is wrong. Nothing was done."),
];
const STATUS_OF_WAIT: [Entry; 3] = [
    ("0", "All conditions held at once."),
    ("1", "They did not in time, or something failed."),
    ("2", "The command line is wrong. Nothing was done."),
];
const STATUS_OF_RUN: [Entry; 5] = [
    ("N", "That of the command."),
    ("126", "The command cannot be run."),
    ("127", "The command was not found."),
    ("128 + N", "Signal N ended the command."),
    ("1, 2", "As with mdev-user(1), if the command was not reached."),
];
const LOG: Entry = (
    "RUST_LOG",
    "What to log, unless --log-level is given: a level, or levels by part of the program.",
);
const RUNTIME: Entry =
    ("XDG_RUNTIME_DIR", "Where run makes its sockets if it can, else in TMPDIR, else in /tmp.");
const LISTEN: Entry = (
    "LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES",
    "Sockets that were handed over, as sd_listen_fds(3) has it: device (serve alone) and control.",
);
const NOTIFY: Entry =
    ("NOTIFY_SOCKET", "Who is told of readiness, state and end, as sd_notify(3) has it.");
const SOCKETS: Entry = (
    "$XDG_RUNTIME_DIR/mdev-user-*/",
    "The sockets of run, in a directory of mode 0700. It goes when run ends.",
);

/// Its tables and rules of SPEC are a section of the pages: who has no more than the program needs them as well.
const FAULTS: &str = include_str!("../../docs/faults.md");

/// How their part of the help begins.
const SERIAL_PORTS: &str = "Serial ports:";

pub fn print(options: &cli::Man) -> Result<ExitCode, Box<dyn Error>> {
    let mut program = Cli::command().disable_help_subcommand(true); // it tells what the pages tell
    program.build(); // gives the commands their full names, and the options that all have
    match &options.out {
        None => print_text(&String::from_utf8(page(&program)?)?)?,
        Some(directory) => write_all(&program, directory)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The program's page, and one for each command.
fn write_all(program: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    let cannot = |path: &Path, error: io::Error| {
        format!("cannot write {}: {}", path.display(), plain(&error))
    };
    fs::create_dir_all(directory).map_err(|error| cannot(directory, error))?;
    for command in program.get_subcommands().chain([program]) {
        let path = directory.join(format!("{}.1", name(command)));
        fs::write(&path, page(command)?).map_err(|error| cannot(&path, error))?;
    }
    Ok(())
}

/// As the page is called: `mdev-user-run`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// In the order that man-pages(7) has.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let is_program = command.get_name() == "mdev-user";
    let man = Man::new(command.clone().subcommand_help_heading("COMMANDS"));
    // The title and the synopsis are ours: the library's have a date too few, and no `--`.
    let title = format!(".TH {} 1 \"\" \"mdev-user {VERSION}\" \"User Commands\"\n", name(command));
    let mut page = title.into_bytes();
    man.render_name_section(&mut page)?;
    synopsis(command).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    page.extend(options(&man)?.into_bytes());
    if is_program {
        man.render_subcommands_section(&mut page)?;
    }

    let mut rest = Roff::new();
    if !is_program {
        verbs(&mut rest, command);
    }
    let (status, variables, files): (&[Entry], &[Entry], &[Entry]) = match command.get_name() {
        "mdev-user" => (&STATUS, &[LOG, RUNTIME], &[]),
        "serve" => (&STATUS_OF_SERVE, &[LOG, LISTEN, NOTIFY], &[]),
        "wait" => (&STATUS_OF_WAIT, &[], &[]),
        "run" => (&STATUS_OF_RUN, &[LOG, RUNTIME, LISTEN, NOTIFY], &[SOCKETS]),
        _ => (&STATUS, &[], &[]),
    };
    entries(&mut rest, "EXIT STATUS", status);
    let after_help = command.get_after_help().map(|text| text.to_string()).unwrap_or_default();
    if matches!(command.get_name(), "serve" | "run") {
        serial_ports(&mut rest, &after_help);
    }
    if matches!(command.get_name(), "serve" | "run" | "fault") {
        faults(&mut rest);
    }
    entries(&mut rest, "ENVIRONMENT", variables);
    entries(&mut rest, "FILES", files);
    examples_and_notes(&mut rest, &after_help);
    see_also(&mut rest, is_program.then_some(command));
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// As the help has it.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]).text([roman(usage)]);
    page
}

/// The library's, with one empty line where it has three.
fn options(man: &Man) -> Result<String, io::Error> {
    let mut page = Vec::new();
    man.render_options_section(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    Ok(page.replace("\n.br\n\n.br\n", "\n.sp\n"))
}

/// The verbs within a command, which have no pages of their own.
fn verbs(page: &mut Roff, command: &Command) {
    let mut verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help").peekable();
    if verbs.peek().is_some() {
        page.control("SH", ["COMMANDS"]);
    }
    for verb in verbs {
        let arguments = || verb.get_positionals().map(|it| (placeholder(it), it));
        let names = arguments().map(|(name, _)| name);
        let form: Vec<_> = std::iter::once(verb.get_name().to_owned()).chain(names).collect();
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        page.control("TP", []).text([bold(form.join(" "))]).text([roman(format!("{about}."))]);
        for (name, argument) in arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let values = argument.get_possible_values();
            let values: Vec<_> = values.iter().map(PossibleValue::get_name).collect();
            let values = match values.as_slice() {
                [] => String::new(),
                values => format!(" ({})", values.join(", ")),
            };
            page.control("br", []).text([bold(name), roman(format!(": {help}{values}."))]);
        }
    }
}

/// What stands for an argument.
fn placeholder(argument: &Arg) -> String {
    let name = argument.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    name.unwrap_or_else(|| argument.get_id().as_str().to_uppercase())
}

fn entries(page: &mut Roff, title: &str, entries: &[Entry]) {
    if entries.is_empty() {
        return;
    }
    page.control("SH", [title]);
    for (term, text) in entries {
        page.control("TP", []).text([bold(*term)]).text([roman(*text)]);
    }
}

/// What the help says of them, line by line.
fn serial_ports(page: &mut Roff, after_help: &str) {
    let text = after_help.split("\n\n").find_map(|text| text.strip_prefix(SERIAL_PORTS));
    let Some((first, rest)) = text.and_then(|text| text.split_once('\n')) else { return };
    page.control("SH", ["SERIAL PORTS"]).text([roman(first.trim())]).control("nf", []);
    for line in rest.lines() {
        page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    page.control("fi", []);
}

fn faults(page: &mut Roff) {
    let intro = "What --fault takes: `ACTION[,OPTION=VALUE]...`. Numbers are decimal, or hexadecimal after `0x`.";
    page.control("SH", ["FAULTS"]).text(marked(intro));
    page.control("SS", ["Actions"]);
    for [action, what, options] in rows("| action |") {
        let options = if options.is_empty() { String::new() } else { format!(" ({options})") };
        page.control("TP", []).text(marked(action)).text(marked(&format!("{what}{options}")));
    }
    page.control("SS", ["Options"]);
    for [option, what, without] in rows("| option |") {
        let without = if without == "needed" { "needed" } else { &format!("without it {without}") };
        page.control("TP", []).text(marked(option)).text(marked(&format!("{what} ({without})")));
    }
    page.control("SS", ["Rules"]);
    let rules = FAULTS.lines().skip_while(|line| !line.starts_with("- "));
    for line in rules.take_while(|line| !line.is_empty()) {
        let text = line.strip_prefix("- ").inspect(|_| _ = page.control("IP", ["*", "2"]));
        page.text(marked(text.unwrap_or(line).trim_start()));
    }
}

/// The rows of the table whose head begins so.
fn rows(head: &str) -> impl Iterator<Item = [&'static str; 3]> {
    let rows = FAULTS.lines().skip_while(move |line| !line.starts_with(head)).skip(2);
    rows.map_while(|row| {
        let mut cells = row.strip_prefix('|')?.split('|').map(str::trim);
        Some([cells.next()?, cells.next()?, cells.next()?])
    })
}

/// Bold where backticks are.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(number, part)| if number % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

/// What stands below the help: examples as they are, and remarks.
fn examples_and_notes(page: &mut Roff, after_help: &str) {
    let paragraphs = || after_help.split("\n\n");
    // The exit status, the ports and the faults have sections of their own.
    let notes: Vec<_> = paragraphs()
        .filter(|text| {
            !text.starts_with([' ', 'E'])
                && !text.starts_with("Faults:")
                && !text.starts_with(SERIAL_PORTS)
        })
        .flat_map(str::lines)
        .take_while(|line| !line.starts_with("Exit status"))
        .collect();
    if !notes.is_empty() {
        page.control("SH", ["NOTES"]).text([roman(notes.join(" "))]);
    }
    let examples =
        paragraphs().filter(|text| text.starts_with("Examples:") || text.starts_with(' '));
    for (number, example) in examples.enumerate() {
        let lines = example.strip_prefix("Examples:\n").unwrap_or(example).lines();
        if number == 0 {
            page.control("SH", ["EXAMPLES"]);
        } else {
            page.control("PP", []);
        }
        page.control("nf", []);
        for line in lines {
            page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        page.control("fi", []);
    }
}

/// The other pages: of a command the program's, of the program the commands'.
fn see_also(page: &mut Roff, program: Option<&Command>) {
    page.control("SH", ["SEE ALSO"]);
    let mut names = vec!["qemu-system-x86_64".to_owned()];
    match program {
        Some(program) => names.extend(program.get_subcommands().map(|it| name(it).to_owned())),
        None => names.push("mdev-user".into()),
    }
    names.sort();
    let last = names.len() - 1;
    let text = names.into_iter().enumerate().flat_map(|(number, name)| {
        [bold(name), roman(if number == last { "(1)" } else { "(1), " })]
    });
    page.text(text.collect::<Vec<_>>());
}
