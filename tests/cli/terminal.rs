//! In a terminal, whose Ctrl-C goes to `run` and its command alike. `script` makes the terminal.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::{PATIENCE, PROGRAM, plain, soon};

const COUNTS_INTERRUPTS: &str = "\
    trap 'n=x$n' INT; echo up; i=0; \
    while [ -z $n ] && [ $i -lt 1000 ]; do sleep 0.01; i=$((i+1)); done; \
    sleep 0.2; echo got $n; exit 9";

/// What appears on a terminal in which `command` runs and Ctrl-C is typed once `up` has appeared,
/// the command's status last. The shell between gets the Ctrl-C too: without its trap some shells
/// (dash) end of it before they can say the status.
fn interrupted(command: &str) -> String {
    let mut script = Command::new("script");
    script.args(["-qefc", &format!("trap : INT; {command}; echo status $?"), "/dev/null"]);
    plain(&mut script);
    script.env("SHELL", "/bin/sh");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut typed = false;
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = screen.read(&mut buffer) {
        shown.extend(&buffer[..count]);
        if !typed && String::from_utf8_lossy(&shown).contains("up") {
            keyboard.write_all(b"\x03").unwrap();
            typed = true;
        }
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn ctrl_c_ends_serve() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("up.sock");
    let shown = interrupted(&format!("{PROGRAM} serve mtty-1 --socket-path {}", path.display()));
    assert!(shown.contains("SIGINT: ending") && shown.contains("status 0"), "{shown}");
    assert!(!path.exists());
}

#[test]
fn ctrl_c_reaches_the_command_of_run_once_and_the_command_decides() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("command");
    fs::write(&script, COUNTS_INTERRUPTS).unwrap();
    let shown = interrupted(&format!(
        "XDG_RUNTIME_DIR={} {PROGRAM} --log-level debug run mtty-1 -- /bin/sh {}",
        directory.path().display(),
        script.display()
    ));
    assert!(shown.contains("got x\r\n") && shown.contains("status 9"), "{shown}");
    // Twice in a row looks like once to a shell: the program's own word has to do.
    assert!(shown.contains("SIGINT: the terminal has sent it to the command as well"), "{shown}");
    assert!(!shown.contains("passed on"), "{shown}");
    soon("only the script is left", || fs::read_dir(directory.path()).unwrap().count() == 1);
}
