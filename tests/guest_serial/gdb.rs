//! A debugger on the host, for a program in the guest: the recipe "gdbserver" of docs/devices/mtty.md.

use std::fs;
use std::process::Stdio;

use guest_kit::{Tools, program_to_debug};

use crate::ports::Ports;
use crate::served::Served;

/// What is debugged: its status is 41, unless somebody meddles.
const PROGRAM: &str = "
    fn main() {
        let mut status = 41;
        checkpoint(&mut status);
        std::process::exit(status);
    }

    fn checkpoint(status: &mut i32) {
        std::hint::black_box(status);
    }
";

/// What gdb is told when it is connected.
const SESSION: [&str; 6] = [
    "break program::checkpoint",
    "continue",
    "print *status",
    "set variable *status = 35",
    "print *status",
    "continue",
];

/// What is typed in the guest. Left its terminal as stderr, gdbserver would make its child that terminal's foreground
/// group, and the shell there could read no key any more.
const RAW: &str = "stty -F /dev/ttyS1 raw -echo";
const START: &str = "gdbserver /dev/ttyS1 /hello < /dev/null > /tmp/said 2>&1 &";
const END: &str = "kill $!";

/// Left to itself gdb would fetch the program and its libraries through the port, at 20 KiB a second.
const FETCH_NOTHING: [&str; 2] = ["set exec-file-mismatch off", "set sysroot /"];

/// The foreground process group of the shell's terminal: `tpgid` of proc(5).
const FOREGROUND: &str = "cut -d ' ' -f 8 /proc/$$/stat";

#[test]
fn the_recipe_has_what_is_tried_here() {
    let page = include_str!("../../docs/devices/mtty.md");
    let recipe = page.split("**gdbserver.**").nth(1).unwrap().split("\n**").next().unwrap();
    for text in FETCH_NOTHING.iter().chain(&["target remote "]) {
        assert!(recipe.contains(text), "{text}");
    }
    let typed = format!("```sh\n{RAW}\n{START}\n```\n");
    assert!(recipe.contains(&typed), "{typed}");
    assert!(recipe.contains(&format!("`{END}`")), "{END}");
}

#[test]
fn gdb_on_the_host_stops_a_program_in_the_guest_and_changes_it_over_tcp_and_a_pty() {
    let served = Served::start_controlled("mtty-2", &["--serial0", "tcp::0", "--serial1", "pty"]);
    let tools = Tools::prepare().unwrap();
    let program = program_to_debug(PROGRAM).unwrap();
    let mut guest = served.guest_with(&tools).file("/hello", &program);
    for (path, contents) in tools.gdbserver().unwrap() {
        guest = guest.file(&path, &contents);
    }
    let mut guest = Ports::boot(guest);
    let symbols = served.path("program");
    fs::write(&symbols, &program).unwrap();
    for port in 0..2 {
        let tty = format!("/dev/ttyS{}", port + 1);
        let [raw, start] = [RAW, START].map(|line| line.replace("/dev/ttyS1", &tty));
        // When it says so it has opened the port, and made it what it wants. Who may read the shell's terminal is
        // asked in the same script: a shell that may not would never read the next.
        let foreground = guest.sh(&format!(
            "rm -f /tmp/said
             {FOREGROUND}
             {raw}
             {start}
             until grep -qs ^Remote /tmp/said; do sleep 0.1; done
             {FOREGROUND}"
        ));
        let foreground: Vec<_> = foreground.lines().collect();
        let [before, after] = foreground[..] else { panic!("{foreground:?}") };
        assert_eq!(before, after, "gdbserver took the shell's terminal");

        let address = served.info()["ports"][port]["address"].as_str().unwrap().to_owned();
        let mut gdb = tools.gdb().unwrap();
        gdb.args(["-batch", "-nx", "-ex", "set remotetimeout 60"]);
        gdb.args(FETCH_NOTHING.iter().flat_map(|command| ["-ex", command])).arg("-ex");
        gdb.arg(format!("target remote {address}"));
        gdb.args(SESSION.iter().flat_map(|command| ["-ex", command])).arg(&symbols);
        let output = gdb.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success());
        for expected in ["$1 = 41", "$2 = 35", "exited with code 043]"] {
            assert!(said.contains(expected), "{tty}: no {expected:?}");
        }
        let said = guest.sh("cat /tmp/said");
        assert!(said.contains("Child exited with status 35"), "{said}");
        // No serial line tells it that gdb has left.
        guest.sh(&format!("{END}; wait"));
        let counts = guest.driver_counts(port + 1);
        assert!(counts.keys().eq(["rx", "tx"]), "errors: {counts:?}");
    }
    guest.power_off();
    served.end();
}
