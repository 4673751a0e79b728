//! What is made out of the command line's definition: completions and manual pages.

use std::fs;

use crate::{complaint, mdev_user, say};

const COMMANDS: [&str; 19] = [
    "serve",
    "run",
    "info",
    "screenshot",
    "wait",
    "serial",
    "send",
    "expect",
    "manage",
    "create",
    "remove",
    "list",
    "reset",
    "set",
    "fault",
    "events",
    "types",
    "completions",
    "man",
];

#[test]
fn the_page_of_serial_has_its_verbs_and_their_arguments() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(say(mdev_user(&["man", "--out"]).arg(directory.path())).status, 0);
    let text = page("mdev-user-serial.1", directory.path()).replace("\\-", "-");
    for line in [
        ".SH COMMANDS\n.TP\n\\fBbreak PORT\\fR\nSend the guest a break.\n",
        "\\fBlines PORT LINE=VALUE\\fR\n",
        "\\fBinject PORT ERROR\\fR\n",
        "overrun says that others were lost before it (framing, parity, overrun).\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for command in ["serve", "run"] {
        let text = page(&format!("mdev-user-{command}.1"), directory.path()).replace("\\-", "-");
        let (_, section) = text.split_once(".SH \"SERIAL PORTS\"\n").unwrap();
        assert!(section.contains("\npty[,path=LINK]  unix:PATH[,server=on|off]"), "{section}");
        assert_eq!(text.matches("Serial ports:").count(), 0, "{text}");
    }
    assert!(!page("mdev-user-send.1", directory.path()).contains(".SH COMMANDS"));
}

/// What bash offers after these words, the last of which is being typed.
#[track_caller]
fn offered(words: &[&str]) -> Vec<String> {
    let script = r#"
        source <("$0" completions bash) || exit
        function=$(complete -p mdev-user | sed 's/.*-F \([^ ]*\).*/\1/')
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "$function" mdev-user "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[@]}""#;
    let mut bash = std::process::Command::new("/bin/bash");
    bash.args(["--norc", "-c", script, crate::PROGRAM, "mdev-user"]).args(words);
    let said = say(&mut bash);
    assert_eq!((said.status, said.err.as_str()), (0, ""), "{words:?}");
    said.out.split_whitespace().map(str::to_owned).collect()
}

fn page(name: &str, directory: &std::path::Path) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

#[test]
fn an_unknown_shell_is_refused_with_those_that_are_known() {
    let said = say(&mut mdev_user(&["completions", "tcsh"]));
    let line = complaint(&said, 2);
    for word in ["tcsh", "bash", "zsh", "fish"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn pages_that_cannot_be_written_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let said = say(mdev_user(&["man", "--out"]).arg(&file));
    let expected = format!("cannot write {}: File exists", file.display());
    assert_eq!(complaint(&said, 1), expected);
    let below = file.join("man1");
    let said = say(mdev_user(&["man", "--out"]).arg(&below));
    assert_eq!(complaint(&said, 1), format!("cannot write {}: Not a directory", below.display()));
}

#[test]
fn bash_offers_commands_options_types_and_shells() {
    assert_eq!(offered(&["serv"]), ["serve"]);
    assert_eq!(offered(&["serve", "mt"]), ["mtty-1", "mtty-2"]);
    assert_eq!(offered(&["run", "mtty-2", "mt"]), ["mtty-1", "mtty-2"]);
    assert_eq!(offered(&["serve", "--sock"]), ["--socket-path"]);
    assert_eq!(offered(&["create", "mdpy-h"]), ["mdpy-hd"]);
    assert_eq!(offered(&["remove", "--forc"]), ["--force-after"]);
    assert_eq!(offered(&["completions", "z"]), ["zsh"]);
    assert_eq!(offered(&["--log-level", "d"]), ["debug"]);
}

#[test]
fn bash_offers_nothing_of_ours_within_the_command_of_run() {
    for words in [&["run", "mtty-2", "--", ""][..], &["run", "mtty-2", "--", "qemu", "-"]] {
        assert!(offered(words).is_empty(), "{words:?}");
    }
}

#[test]
fn zsh_and_fish_are_told_of_types_and_of_the_command_of_run() {
    let said = say(&mut mdev_user(&["completions", "zsh"]));
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("#compdef mdev-user\n"), "{}", said.out);
    assert_eq!(
        said.out.matches(":(mtty-1 mtty-2 mdpy-vga mdpy-xga mdpy-hd mbochs-small mbochs-medium mbochs-large)'").count(),
        3,
        "{}",
        said.out
    ); // serve, run, create
    assert_eq!(said.out.matches("        _normal\n").count(), 1, "{}", said.out);

    let said = say(&mut mdev_user(&["completions", "fish"]));
    assert_eq!((said.status, said.err.as_str()), (0, ""));
    for command in ["serve", "run", "create"] {
        let start =
            format!("complete -c mdev-user -n \"__fish_mdev_user_using_subcommand {command}; ");
        let line = said.out.lines().find(|line| line.starts_with(&start)).unwrap();
        assert!(line.ends_with(" -f -a \"mtty-1 mtty-2 mdpy-vga mdpy-xga mdpy-hd mbochs-small mbochs-medium mbochs-large\""), "{line}");
    }
}

#[test]
fn there_is_a_page_for_the_program_and_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("share/man/man1"); // made
    let said = say(mdev_user(&["man", "--out"]).arg(&pages));
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (0, "", ""));
    let mut names: Vec<_> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected: Vec<_> =
        COMMANDS.iter().map(|command| format!("mdev-user-{command}.1")).collect();
    expected.push("mdev-user.1".into());
    expected.sort();
    assert_eq!(names, expected);

    let printed = say(&mut mdev_user(&["man"]));
    assert_eq!((printed.status, printed.err.as_str()), (0, ""));
    assert_eq!(printed.out, page("mdev-user.1", &pages));
    for command in COMMANDS {
        assert!(printed.out.contains(&format!("\nmdev\\-user\\-{command}(1)\n")), "{command}");
    }

    for name in names {
        let text = page(&name, &pages);
        assert!(text.is_ascii(), "{name}");
        let title = format!(".TH {} 1 \"\" \"mdev-user ", name.trim_end_matches(".1"));
        assert!(text.starts_with(&title), "{name}: {text}");
        let mut sections: Vec<_> = text.lines().filter_map(|it| it.strip_prefix(".SH ")).collect();
        sections.retain(|title| !["COMMANDS", "FILES", "NOTES", "ENVIRONMENT"].contains(title));
        let needed = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\""];
        assert_eq!(sections[..5], needed, "{name}");
        assert_eq!(sections.last(), Some(&"\"SEE ALSO\""), "{name}");
        // types has nothing to show an example of
        assert_eq!(sections.contains(&"EXAMPLES"), name != "mdev-user-types.1", "{name}");
    }
}

#[test]
fn each_option_of_the_help_is_in_the_page() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(say(mdev_user(&["man", "--out"]).arg(directory.path())).status, 0);
    for command in COMMANDS {
        let help = say(&mut mdev_user(&["help", command])).out;
        let text = page(&format!("mdev-user-{command}.1"), directory.path()).replace("\\-", "-");
        let options =
            help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2);
        let mut seen = 0;
        for option in options {
            let option =
                option.split(|c: char| c != '-' && !c.is_ascii_lowercase()).next().unwrap();
            assert!(text.contains(option), "{command} {option}");
            seen += 1;
        }
        assert!(seen >= 2, "{command}: {help}");
        let usage = help.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap();
        assert!(text.contains(&format!(".SH SYNOPSIS\n{usage}")), "{command}: {usage}: {text}");
    }
    let run = page("mdev-user-run.1", directory.path());
    for words in ["126", "127", "128 + N", "XDG_RUNTIME_DIR", "0700"] {
        assert!(run.contains(words), "{words}");
    }
}
