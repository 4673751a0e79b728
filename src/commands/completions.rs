//! `mdev-user completions`: for a shell, out of the command line's definition, and with what clap_complete lacks.

use std::error::Error;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{generate, shells};

use super::print as print_text;
use crate::cli::{self, Cli, Shell};

/// After `--` stands another program's command line. With no answer bash completes file names.
const BASH_START: &str = "    COMPREPLY=()\n";
const BASH_ANOTHERS: &str =
    "    [[ \" ${COMP_WORDS[*]:0:COMP_CWORD} \" == *\" -- \"* ]] && return 0\n";
/// The commands' names where it says what they take, and elsewhere (clap-rs/clap#6421, in 4.6.11).
const BASH_MISNAMED: [&str; 2] = ["mdev__subcmd__user", "mdev__user"];

const ZSH_START: &str = "_mdev-user() {\n";
/// zsh can complete another program's command line.
const ZSH_ANOTHERS: &str = "    local dashes=${words[(i)--]}
    if (( dashes < CURRENT )); then
        shift $dashes words
        (( CURRENT -= dashes ))
        _normal
        return
    fi
";

pub fn print(options: &cli::Completions) -> Result<ExitCode, Box<dyn Error>> {
    let text = match options.shell {
        Shell::Bash => {
            let [from, to] = BASH_MISNAMED;
            generated(shells::Bash)?.replace(from, to).replacen(
                BASH_START,
                &format!("{BASH_START}{BASH_ANOTHERS}"),
                1,
            )
        }
        Shell::Zsh => {
            generated(shells::Zsh)?.replacen(ZSH_START, &format!("{ZSH_START}{ZSH_ANOTHERS}"), 1)
        }
        Shell::Fish => generated(shells::Fish)? + &fish_values(),
    };
    print_text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn generated(shell: impl clap_complete::Generator) -> Result<String, Box<dyn Error>> {
    let mut out = Vec::new();
    generate(shell, &mut Cli::command(), "mdev-user", &mut out);
    Ok(String::from_utf8(out)?)
}

/// The values of arguments that are not options: types, shells.
fn fish_values() -> String {
    let program = Cli::command();
    let mut text = String::new();
    for command in program.get_subcommands() {
        let name = command.get_name();
        for argument in command.get_positionals() {
            let values = argument.get_possible_values();
            let values: Vec<_> = values.iter().map(|value| value.get_name()).collect();
            if !values.is_empty() {
                text += &format!(
                    "complete -c mdev-user -n \"__fish_mdev_user_using_subcommand {name}; \
                     and not contains -- -- (commandline -opc)\" -f -a \"{}\"\n",
                    values.join(" ")
                );
            }
        }
    }
    text
}
