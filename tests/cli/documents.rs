//! What README.md and docs/control.md say is so.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::Program;
use crate::shape::same_shape;
use crate::{mdev_user, say, shell, socket_of};

const DOCUMENTS: [&str; 17] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/compatibility.md",
    "docs/control.md",
    "docs/faults.md",
    "docs/security.md",
    "docs/systemd.md",
    "docs/manage.md",
    "docs/writing-a-device.md",
    "crates/chardev/README.md",
    "crates/mbochs/README.md",
    "crates/mdpy/README.md",
    "crates/mtty/README.md",
    "crates/vfio-device/README.md",
    "crates/vfio-user-server/README.md",
];

/// What is no variable that somebody sets: a prefix, and how a test starts itself again.
const NOBODY_S: [&str; 2] = ["MDEV_USER_", "MDEV_USER_SOAK_SOCKET"];

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The fenced blocks that are opened with these words.
fn blocks(document: &str, words: &str) -> Vec<String> {
    let start = format!("\n```{words}\n");
    let text = |block: &str| block.split("\n```").next().unwrap().to_owned();
    document.split(&start).skip(1).map(text).collect()
}

/// Rows of the table whose head begins so, as cells.
fn table(document: &str, head: &str) -> Vec<Vec<String>> {
    let rows = document.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let cells = |row: &str| {
        let row = row.replace(r"\|", "/");
        row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "{head}");
    rows
}

/// Words between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_json_of_control_md_is_what_the_program_prints() {
    let control = document("docs/control.md");
    for (block, arguments) in
        [("json types", &["types", "--json"][..]), ("json capabilities", &["--print-capabilities"])]
    {
        let [written] = &blocks(&control, block)[..] else { panic!("{block}") };
        let mut written: Value = serde_json::from_str(written).unwrap();
        let printed: Value = serde_json::from_str(&say(&mut mdev_user(arguments)).out).unwrap();
        if let Some(version) = written.get_mut("version") {
            *version = env!("CARGO_PKG_VERSION").into();
        }
        assert_eq!(written, printed, "{block}");
    }
}

#[test]
fn the_control_socket_answers_as_control_md_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control");
    let program = Program::serve_with("mdpy-vga", &["--control-path", path.to_str().unwrap()]);
    let _client = crate::client(&program.path());
    let control = document("docs/control.md");
    let [lines] = &blocks(&control, "json control")[..] else { panic!() };
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 8);
    let mut socket = BufReader::new(UnixStream::connect(&path).unwrap());
    for pair in lines.chunks(2) {
        writeln!(socket.get_mut(), "{}", pair[0]).unwrap();
        let mut answer = String::new();
        socket.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let written: Value = serde_json::from_str(pair[1]).unwrap();
        assert!(same_shape(&answer, &written), "{}: {answer}", pair[0]);
        assert_eq!((&answer["id"], &answer["error"]), (&written["id"], &written["error"]));
        // Of a picture all is known before.
        assert_eq!(answer.pointer("/ok/plane"), written.pointer("/ok/plane"));
    }
}

#[test]
fn the_verbs_of_control_md_are_those_of_the_program() {
    let mut documented = BTreeSet::new();
    for row in table(&document("docs/control.md"), "| verb |") {
        let [verb, form] = &row[..] else { panic!("{row:?}") };
        let verb = quoted(verb)[0];
        let said = say(&mut mdev_user(&["help", verb]));
        assert_eq!(said.status, 0, "{verb}");
        for option in form.split(|c: char| c != '-' && !c.is_ascii_lowercase()) {
            let known = !option.starts_with("--") || said.out.contains(option);
            assert!(known, "{verb} {option}");
        }
        documented.insert(verb.to_owned());
    }
    let help = say(&mut mdev_user(&["--help"])).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names = commands.filter(|line| !line.starts_with("   "));
    let names: BTreeSet<_> =
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!(names, documented);
}

#[test]
fn the_statuses_of_control_md_are_tested() {
    let rows = table(&document("docs/control.md"), "| status |");
    let statuses: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(statuses, ["0", "1", "2", "any"], "a new one needs a test in refusals.rs or run.rs");
}

#[test]
fn each_environment_variable_in_the_sources_is_documented() {
    let rows = table(&document("docs/control.md"), "| variable |");
    let documented = rows.iter().flat_map(|row| quoted(&row[0]));
    let documented: BTreeSet<_> = documented.map(str::to_owned).collect();
    let mut named = BTreeSet::from(["RUST_LOG".into(), "TMPDIR".into(), "XDG_RUNTIME_DIR".into()]);
    named.extend(["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"].map(Into::into));
    let mut directories =
        ["src", "crates", "tests", "xtask/src"].map(|it| root().join(it)).to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let words = text.split(|c: char| c != '_' && !c.is_ascii_uppercase());
            let ours = words.filter(|word| word.starts_with("MDEV_USER_"));
            named.extend(ours.filter(|word| !NOBODY_S.contains(word)).map(str::to_owned));
        }
    }
    assert_eq!(documented, named);
}

#[test]
fn the_types_of_the_readme_are_those_of_the_program() {
    let types: Value =
        serde_json::from_str(&say(&mut mdev_user(&["--print-capabilities"])).out).unwrap();
    let types: Vec<_> =
        types["types"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let readme = document("README.md");
    let rows = table(&readme, "| sample |");
    let here = rows.iter().filter(|row| row[3].contains("here"));
    let here: Vec<_> = here.flat_map(|row| quoted(&row[1])).collect();
    assert_eq!(here, types);
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let readme = document("README.md");
    let blocks = blocks(&readme, "sh");
    let commands = blocks.iter().flat_map(|block| block.lines());
    let ours: Vec<_> = commands.filter(|line| line.starts_with("mdev-user ")).collect();
    assert_eq!(ours.len(), 6, "{ours:?}");
    assert_eq!(ours[0], "mdev-user types");

    // A QEMU that only shows what it is given.
    let directory = tempfile::tempdir().unwrap();
    let qemu = directory.path().join("qemu-system-x86_64");
    // Written by a process of its own: while a file is open for writing, in whatever process, it cannot be run.
    let script = r#"printf '%s\n' '#!/bin/sh' 'printf "%s\n" "$@"' > "$1"; chmod +x "$1""#;
    assert_eq!(say(shell(script).arg(&qemu)).status, 0);
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let pasted =
        |line: &str| say(shell(&line.replacen("mdev-user", "exec $0", 1)).env("PATH", &path));
    let said = pasted(ours[1]);
    let words: Vec<_> = said.out.lines().collect();
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(words[..words.len() - 1], ["-m", "512", "-nographic", "disk.img", "-device"]);
    assert!(socket_of(words[5]).ends_with("mtty-2.sock"), "{said:?}");

    // What it tells to give QEMU is what `serve` would have told.
    assert_eq!(ours[2], "mdev-user serve mtty-2 --socket-path /tmp/mtty.sock");
    let block = blocks.iter().find(|block| block.starts_with("qemu-system-x86_64")).unwrap();
    let said = say(shell(block).env("PATH", &path));
    assert_eq!(socket_of(said.out.lines().last().unwrap()), "/tmp/mtty.sock");
    drop(Program::serve("mtty-2"));

    let said = pasted(ours[3]);
    let words: Vec<_> = said.out.lines().collect();
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(words[2..4], ["-vga", "none"]);
    assert!(socket_of(words[7]).ends_with("mbochs-medium.sock"), "{said:?}");
    // Those that look are told where nobody is; what they do else, tests/cli/view has.
    for line in &ours[4..6] {
        assert!(line.contains(" -c /tmp/control "), "{line}");
        let said = pasted(&line.replace("--timeout 2m", "--timeout 2s").replace("/tmp/", "/no/"));
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.err.contains("/no/control"), "{said:?}");
    }
}

#[test]
fn each_link_leads_somewhere() {
    for name in DOCUMENTS {
        let text = document(name);
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let link = link.split('#').next().unwrap();
            let target = root().join(name).parent().unwrap().join(link);
            assert!(target.exists(), "{name}: {link}");
        }
    }
}

#[test]
fn the_documents_are_short_and_plain() {
    let lines = |name: &str| document(name).lines().count();
    assert!(lines("README.md") <= 120);
    assert!(lines("CONTRIBUTING.md") <= 60);
    for name in DOCUMENTS {
        for line in document(name).lines() {
            let fits = line.len() <= 120 || line.starts_with('|') || line.starts_with('{');
            assert!(line.is_ascii() && fits, "{name}: {line}");
        }
        assert!(Path::new(&root()).join(name).is_file());
    }
}
