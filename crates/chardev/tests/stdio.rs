#![cfg(test)]
//! The terminal, and what else standard input and output can be. Each is a process of its own: this program once more.

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chardev::{Event, TerminalGuard};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use support::{PATIENCE, Port, Random};

/// What makes the child end, one way or the other.
const QUIT: u8 = 0xf0;
const PANIC: u8 = 0xf1;
const EXIT: u8 = 0xf2;

/// What the child does: sends back what comes.
#[test]
#[ignore = "a part of the others"]
fn child() {
    if std::env::var_os("CHARDEV_CHILD").is_none() {
        return;
    }
    let _guard = TerminalGuard::new();
    let mut port = Port::open("stdio");
    assert!(chardev::Chardev::open(&"stdio".parse().unwrap()).is_err());
    port.send(b"READY\n");
    let mut leave = false;
    loop {
        if leave {
            port.until("sent", |port| port.output.is_empty());
            drop(port);
            std::process::exit(0);
        }
        port.turn(Duration::from_secs(1));
        for byte in std::mem::take(&mut port.input) {
            match byte {
                QUIT => leave = true,
                PANIC => panic!("asked to"),
                EXIT => {
                    chardev::restore_terminal();
                    std::process::exit(3);
                }
                byte => port.output.push(byte),
            }
        }
        // Behind the bytes that were read with it.
        for event in std::mem::take(&mut port.events) {
            match event {
                Event::Break => port.output.extend(b"<break>"),
                Event::Leave => leave = true,
                _ => (),
            }
        }
        let taken = port.chardev.write(&port.output);
        port.output.drain(..taken);
    }
}

fn start(input: Stdio, output: Stdio) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env("CHARDEV_CHILD", "1");
    command.stdin(input).stdout(output).stderr(Stdio::null()).spawn().unwrap()
}

/// A terminal and a child that has it for standard input and output.
struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    seen: Vec<u8>,
}

impl Terminal {
    fn start() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        ioctl_fionbio(&master, true).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        let [input, output] = [0; 2].map(|_| Stdio::from(slave.try_clone().unwrap()));
        let child = start(input, output);
        let mut it = Self { master: master.into(), slave, child, seen: Vec::new() };
        it.until_seen("READY\r\n");
        it.seen.clear();
        it
    }

    fn until_seen(&mut self, what: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.seen.windows(what.len()).any(|some| some == what.as_bytes()) {
            assert!(Instant::now() < end, "{}", String::from_utf8_lossy(&self.seen));
            let mut bytes = [0; 999];
            match self.master.read(&mut bytes) {
                Ok(count) => self.seen.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn until_raw(&self, raw: bool) {
        let end = Instant::now() + PATIENCE;
        while self.is_raw() != raw {
            assert!(Instant::now() < end, "never");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn until_stopped(&self) {
        let end = Instant::now() + PATIENCE;
        let stat = format!("/proc/{}/stat", self.child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") T ") {
            assert!(Instant::now() < end, "never");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_typed_is_for_the_guest_but_for_the_escapes() {
    let mut it = Terminal::start();
    assert!(it.is_raw());
    // Arrow up, Ctrl-C, Ctrl-D, Ctrl-Z, a carriage return, and Ctrl-A itself.
    it.master.write_all(b"\x1b[A\x03\x04\x1a\r\x01\x01.").unwrap();
    it.until_seen("\x1b[A\x03\x04\x1a\r\x01.");
    it.master.write_all(b"1\x01b2").unwrap();
    it.until_seen("1<break>2");
    it.master.write_all(b"\x01h").unwrap();
    it.until_seen("Ctrl-A x  leave");
    it.master.write_all(b"\x01x").unwrap();
    assert_eq!(it.child.wait().unwrap().code(), Some(0));
    assert!(!it.is_raw());
}

#[test]
fn the_terminal_is_as_it_was_after_exit_and_panic() {
    for (word, code) in [(QUIT, 0), (EXIT, 3), (PANIC, 101)] {
        let mut it = Terminal::start();
        assert!(it.is_raw());
        it.master.write_all(&[word]).unwrap();
        assert_eq!(it.child.wait().unwrap().code(), Some(code));
        let modes = tcgetattr(&it.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    }
}

#[test]
fn who_is_stopped_gives_the_terminal_back_and_takes_it_again() {
    let mut it = Terminal::start();
    it.signal(Signal::TSTP);
    it.until_stopped();
    assert!(!it.is_raw());
    it.signal(Signal::CONT);
    it.until_raw(true);
    it.master.write_all(b"still here").unwrap();
    it.until_seen("still here");
}

#[test]
fn a_shell_finds_its_terminal_waiting_as_before() {
    let it = Terminal::start();
    let flags = rustix::fs::fcntl_getfl(&it.slave).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

fn after_ready(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(6).position(|some| some == b"READY\n")?;
    bytes.get(at + 6..)
}

#[test]
fn pipes_carry_all_bytes_and_no_escapes_also_while_nobody_reads() {
    let mut child = start(Stdio::piped(), Stdio::piped());
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut random = Random(11);
    let mut all = random.bytes(300_000);
    all.retain(|byte| ![QUIT, PANIC, EXIT].contains(byte));
    let sent = all.clone();
    let writer = std::thread::spawn(move || {
        input.write_all(&sent).unwrap();
        input.write_all(&[QUIT]).unwrap();
    });
    // Both pipes fill.
    std::thread::sleep(Duration::from_millis(50));
    let mut found = Vec::new();
    output.read_to_end(&mut found).unwrap();
    writer.join().unwrap();
    assert!(after_ready(&found).unwrap() == all);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_socket_is_input_and_output() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let [input, output] = [0; 2].map(|_| Stdio::from(OwnedFd::from(theirs.try_clone().unwrap())));
    drop(theirs);
    let mut child = start(input, output);
    ours.write_all(b"to and fro \xf0").unwrap();
    let mut found = Vec::new();
    ours.read_to_end(&mut found).unwrap();
    assert_eq!(after_ready(&found), Some(&b"to and fro "[..]));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn files_are_read_to_the_end_and_written_at_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::write(&from, b"from a file \xf0").unwrap();
    let mut output = File::create_new(&to).unwrap();
    output.write_all(b"shell's own\n").unwrap();
    output.flush().unwrap();
    assert_eq!(output.stream_position().unwrap(), 12);
    let mut child = start(File::open(&from).unwrap().into(), output.into());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let found = fs::read(&to).unwrap();
    assert!(found.starts_with(b"shell's own\n"));
    assert_eq!(after_ready(&found), Some(&b"from a file "[..]));
}

#[test]
fn the_end_of_the_input_is_not_the_end_of_the_stream_and_costs_nothing() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = start(Stdio::null(), OwnedFd::from(theirs).into());
    let mut found = Vec::new();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    while after_ready(&found).is_none() {
        let mut bytes = [0; 99];
        let count = (&ours).read(&mut bytes).unwrap();
        found.extend(&bytes[..count]);
    }
    let ticks = |child: &Child| -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks(&child);
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none());
    assert!(ticks(&child) - before < 20, "of 50 ticks of 10 ms");
    child.kill().unwrap();
    child.wait().unwrap();
}
