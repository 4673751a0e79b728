//! A Linux guest with a shell on a port, driven by a shell script on the host.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::served::Served;

/// Some host: it waits for the shell, and talks to it.
const SCRIPT: &str = r#"
    set -e
    expect() { "$0" expect -c "$1" 0 "$2" --timeout 30s; }
    send() { "$0" send -c "$1" 0 "$2" --timeout 60s; }
    expect "$1" 'on the port# ' > /dev/null
    for number in 1 2 3 4 5; do
        send "$1" "echo got \$(($number * 111)); sleep 0.$number\n"
        expect "$1" "^got $((number * 111))$"
        expect "$1" 'on the port# ' > /dev/null
    done
"#;

#[test]
fn a_shell_script_drives_a_guests_shell_by_send_and_expect() {
    let served = Served::start_controlled("mtty-1", &["--serial0", "null"]);
    let mut guest = served.guest().boot().unwrap();
    let shell = "export PS1='on the port# '
         setsid -c sh -i < /dev/ttyS1 > /dev/ttyS1 2>&1 &";
    guest.check(shell, Duration::from_secs(60)).unwrap();
    let mut host = Command::new("/bin/sh");
    host.args(["-c", SCRIPT, env!("CARGO_BIN_EXE_mdev-user")]).arg(served.control());
    let output = host.stdin(Stdio::null()).output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let words: Vec<_> = out.lines().filter(|line| line.starts_with("got ")).collect();
    assert_eq!(words, ["got 111", "got 222", "got 333", "got 444", "got 555"], "{out}");
    guest.power_off(Duration::from_secs(120)).unwrap();
    drop(guest);
    served.end();
}
