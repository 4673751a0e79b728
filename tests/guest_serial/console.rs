//! The guest's console is on a port: `console=ttyS1`, and a shell. `console.sh` drives it from the host.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use guest_kit::Guest;

use crate::peer::Peer;
use crate::served::Served;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mdev-user");
const SOON: Duration = Duration::from_secs(180);
const PROMPT: &str = "guest# ";

fn boot(served: &Served) -> Guest {
    served
        .guest()
        .console("ttyS1".parse().unwrap())
        .boot()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A shell on the host.
fn shell(arguments: &[&str]) -> Output {
    Command::new("/bin/sh").args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A verb that must succeed; what it prints.
#[track_caller]
fn tell(served: &Served, verb: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let output =
        command.arg(verb).arg("-c").arg(served.control()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{verb} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn expect(served: &Served, regex: &str) -> String {
    tell(served, "expect", &["0", regex, "--timeout", "60s"])
}

#[track_caller]
fn send(served: &Served, what: &str) {
    tell(served, "send", &["0", what, "--timeout", "60s"]);
}

/// Runs `console.sh`. All that it prints was seen by the peer too, in that order.
#[track_caller]
fn is_driven_by_a_script(served: &Served, peer: &Peer, mut place: usize) -> usize {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest_serial/console.sh");
    let output = shell(&[script, PROGRAM, served.control().to_str().unwrap()]);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    for line in printed.lines().filter(|line| !line.is_empty()) {
        place = peer.wait_for(line, place);
    }
    println!("{printed}");
    assert!(!peer.has_ended());
    place
}

/// All messages that the kernel had for its console before the first process, in their order and behind `place`.
#[track_caller]
fn has_the_boots_messages(guest: &mut Guest, peer: &Peer, mut place: usize) {
    // `<6>[    0.000000] Linux version ...`; those of level 7 are not for a console.
    let messages = guest.check("dmesg -r", SOON).unwrap();
    let messages = messages.lines().filter_map(|line| line.strip_prefix('<')?.split_once('>'));
    let priority = |number: &str| number.parse::<u32>().unwrap() & 7;
    let (mut count, record) = (0, peer.record());
    for (_, message) in messages.filter(|(number, _)| priority(number) < 7) {
        let Some(at) = record[place..].find(message) else {
            panic!("{message:?} is missing behind {count} others:\n{}", &record[place..]);
        };
        place += at + message.len();
        count += 1;
        if message.contains("Run /init as init process") {
            println!("{count} messages of the boot");
            assert!(count > 100);
            return;
        }
    }
    panic!("it ran no /init");
}

fn end(mut guest: Guest, served: Served) {
    guest.power_off(SOON).unwrap();
    assert_eq!(guest.qemu_messages(), "");
    drop(guest);
    served.end();
}

#[test]
fn over_a_unix_socket_a_script_drives_it_and_a_late_client_has_seen_the_boot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("port");
    let served =
        Served::start_controlled("mtty-1", &["--serial0", &format!("unix:{}", path.display())]);
    let mut guest = boot(&served);

    // What is not to be had is told with what came instead, and that is not lost to the next.
    let control = served.control();
    let line = format!(
        "{PROGRAM} expect -c {} 0 'login: ' --timeout 100ms; echo status $?",
        control.display()
    );
    let output = shell(&["-c", &line]);
    let said = text(&output.stderr);
    println!("{said}");
    assert_eq!(text(&output.stdout), "status 1\n");
    assert!(
        said.starts_with(
            "mdev-user: nothing that matches 'login: ' came from port 0 within 100ms: "
        ),
        "{said}"
    );
    assert!(said.contains(" bytes came, at last \"") && said.contains(" Run /init as"), "{said}");

    let port = served.info()["ports"][0].clone();
    assert_eq!((&port["connected"], &port["history_dropped"]), (&false.into(), &0.into()));
    assert!(port["bytes_pending"].as_u64().unwrap() > 10_000, "{port}");
    let peer = Peer::unix(&path);
    peer.wait_for(PROMPT, 0);
    has_the_boots_messages(&mut guest, &peer, 0);
    is_driven_by_a_script(&served, &peer, 0);
    end(guest, served);
}

#[test]
fn over_tcp_a_script_drives_it_and_a_reboot_comes_over_the_same_connection() {
    let served = Served::start_controlled("mtty-1", &["--serial0", "tcp:127.0.0.1:0"]);
    let address = served.info()["ports"][0]["address"].as_str().unwrap().to_owned();
    let peer = Peer::tcp(&address);
    let mut guest = served.guest().console("ttyS1".parse().unwrap()).reboots().boot().unwrap();
    has_the_boots_messages(&mut guest, &peer, 0);
    let place = is_driven_by_a_script(&served, &peer, 0);

    println!("the guest reboots");
    guest.reboot(SOON).unwrap();
    has_the_boots_messages(&mut guest, &peer, place);
    is_driven_by_a_script(&served, &peer, place);
    let record = peer.record();
    assert_eq!(record.matches("Run /init as init process").count(), 2, "{record}");

    let port = served.info()["ports"][0].clone();
    assert_eq!((&port["connected"], &port["history_dropped"]), (&true.into(), &0.into()));
    assert_eq!(port["bytes_sent"].as_u64().unwrap(), peer.length());
    assert_eq!(served.log().matches(": disconnected").count(), 0);
    end(guest, served);
}

#[test]
fn over_a_pty_a_script_drives_it_or_the_terminal_itself_and_sysrq_is_a_break() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("port");
    let served =
        Served::start_controlled("mtty-1", &["--serial0", &format!("pty,path={}", path.display())]);
    let peer = Peer::pty(&path);
    let mut guest = boot(&served);
    has_the_boots_messages(&mut guest, &peer, 0);
    let place = is_driven_by_a_script(&served, &peer, 0);
    takes_sysrq(&served, &mut guest, &peer, place);
    drop(peer);

    // Without any verb: a shell, and the terminal.
    let script = format!(
        r#"exec 3<> {}
           printf 'echo $((6 * 7)) straight\r' >&3
           while read -r line <&3; do
               case $line in 42*) break ;; esac
           done
           printf 'exit\r' >&3
           echo "$line""#,
        path.display()
    );
    let output = shell(&["-c", &script]);
    assert_eq!(text(&output.stdout), "42 straight\r\n", "{}", text(&output.stderr));
    end(guest, served);
}

/// A break and a letter. A letter and a break are a letter, and the beginning of the next SysRq.
fn takes_sysrq(served: &Served, guest: &mut Guest, peer: &Peer, place: usize) {
    const HELP: &str = "sysrq: HELP : ";
    guest.check("echo 1 > /proc/sys/kernel/sysrq", SOON).unwrap();
    tell(served, "serial", &["break", "0"]);
    send(served, "h");
    let help = expect(served, r"sysrq: HELP : .*\r\n");
    println!("{help}");
    assert!(help.contains("show-task-states(t)"), "{help}");
    let place = peer.wait_for(help.trim_end(), place);

    send(served, "echo t=h");
    tell(served, "serial", &["break", "0"]);
    send(served, "h");
    expect(served, r"sysrq: HELP : .*\r\n");
    let place = peer.wait_for(HELP, place);
    // The shell has the letter before the break, not the one behind it.
    send(served, r"h\n");
    expect(served, "^t=hh$");
    peer.wait_for("t=hh", place);
    let record = peer.record();
    let found = guest.check("dmesg", SOON).unwrap();
    assert_eq!((record.matches(HELP).count(), found.matches(HELP).count()), (2, 2), "{record}");
    assert_eq!(served.info()["ports"][0]["breaks_received"], 2);
}
