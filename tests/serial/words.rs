//! The words of QEMU's chardevs, given to the real one and to ours.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::thread;

use chardev::{Chardev, Spec};
use guest_kit::Tools;

/// What is done with a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Taken.
    Taken,
    /// Refused.
    Refused,
}
use Verdict::{Refused, Taken};

/// An option of QEMU's, its value, what QEMU makes of it, and what we do. `DIR` is a directory with three files with
/// something in them, the FIFOs `fifo.in` and `fifo.out`, and nothing else; `N` the number of the row.
type Row = (&'static str, &'static str, Verdict, Verdict);

const SERIAL: &str = "-serial";
const FILES: [&str; 3] = ["file", "file2", "file3"];

/// Both do the same.
const SAME: &[Row] = &[
    (SERIAL, "null", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=on,wait=off", Taken, Taken),
    (SERIAL, "unix:DIR/N,server,nowait", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=yes,wait=no", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=true,wait=false", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=y,wait=n", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=off,server=on,wait=on,wait=off", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=on,wait=off,server=on", Taken, Taken),
    (SERIAL, "unix:DIR/N,,comma,server=on,wait=off", Taken, Taken),
    (SERIAL, "unix:DIR/N,reconnect-ms=1000", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=off,reconnect-ms=1000", Taken, Taken),
    (SERIAL, "unix:DIR/N,noserver,reconnect-ms=0x10", Taken, Taken),
    (SERIAL, "unix:DIR/N,reconnect-ms=010", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile=DIR/N.log", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile=DIR/N.log,logappend=on", Taken, Taken),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile=DIR/N.log,logtimestamp=yes", Taken, Taken),
    (SERIAL, "tcp:127.0.0.1:0,server=on,wait=off", Taken, Taken),
    (SERIAL, "tcp:localhost:0,server,nowait", Taken, Taken),
    (SERIAL, "tcp::0,server=on,wait=off,nodelay=on", Taken, Taken),
    (SERIAL, "tcp::0,server=on,wait=off,nodelay=off", Taken, Taken),
    (SERIAL, "tcp::0,server=on,wait=off,nodelay", Taken, Taken),
    (SERIAL, "tcp::0,server=on,wait=off,delay=off", Taken, Taken),
    (SERIAL, "tcp::0,server=on,wait=off,delay=on", Taken, Taken),
    (SERIAL, "tcp:127.0.0.1:1,reconnect-ms=1000", Taken, Taken),
    (SERIAL, "pty", Taken, Taken),
    (SERIAL, "pty:DIR/N", Taken, Taken),
    (SERIAL, "file:DIR/N", Taken, Taken),
    (SERIAL, "pipe:DIR/fifo", Taken, Taken),
    ("-chardev", "null,id=N,logfile=DIR/N", Taken, Taken),
    ("-chardev", "null,id=N,logfile=DIR/N,logappend=on,logtimestamp=off", Taken, Taken),
    ("-chardev", "pty,id=N,path=DIR/N", Taken, Taken),
    (SERIAL, "", Refused, Refused),
    (SERIAL, "bogus", Refused, Refused),
    (SERIAL, "Null", Refused, Refused),
    (SERIAL, "null:", Refused, Refused),
    (SERIAL, "unix", Refused, Refused),
    (SERIAL, "unix:", Refused, Refused),
    (SERIAL, "file:", Refused, Refused),
    (SERIAL, "file", Refused, Refused),
    (SERIAL, "file:DIR", Refused, Refused),
    (SERIAL, "pipe:DIR/none", Refused, Refused),
    (SERIAL, "pty:DIR/file", Refused, Refused),
    (SERIAL, "tcp:4444", Refused, Refused),
    (SERIAL, "tcp:127.0.0.1:", Refused, Refused),
    (SERIAL, "tcp:127.0.0.1:-1,server=on,wait=off", Refused, Refused),
    (SERIAL, "tcp:127.0.0.1:no-such-service,server=on,wait=off", Refused, Refused),
    (SERIAL, "tcp:::1:0,server=on,wait=off", Refused, Refused),
    (SERIAL, "tcp::0,server=on,wait=off,nodelay=on,delay=on", Refused, Refused),
    (SERIAL, "tcp::0,server=on,wait=off,nodelay=maybe", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=off", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=1,wait=off", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=ON,wait=off", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=,wait=off", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=on,nowait=on", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,,", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,bogus=1", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,reconnect-ms=0", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=off,wait=off,reconnect-ms=5", Refused, Refused),
    (SERIAL, "unix:DIR/N,wait=off,reconnect-ms=5", Refused, Refused),
    (SERIAL, "unix:DIR/N,reconnect=1", Refused, Refused),
    (SERIAL, "unix:DIR/N,reconnect-ms=", Refused, Refused),
    (SERIAL, "unix:DIR/N,reconnect-ms=1k", Refused, Refused),
    (SERIAL, "unix:DIR/N,reconnect-ms=99999999999999999999", Refused, Refused),
    (SERIAL, "unix:DIR/none/N,server=on,wait=off", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile=", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile=DIR", Refused, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile=DIR/N.log,logappend=1", Refused, Refused),
];

/// What is meant to be different: the rows of "Beside QEMU" in the README of chardev.
const DIFFERENT: &[Row] = &[
    // Listens, without being told to.
    (SERIAL, "unix:DIR/N", Refused, Taken),
    (SERIAL, "tcp:127.0.0.1:0", Refused, Taken),
    (SERIAL, "unix:DIR/N,wait=off", Refused, Taken),
    // Precious.
    (SERIAL, "file:DIR/file", Taken, Refused),
    (SERIAL, "unix:DIR/file2,server=on,wait=off", Taken, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile=DIR/file3", Taken, Refused),
    // Options where QEMU has them in -chardev alone.
    (SERIAL, "null,logfile=DIR/N.log", Refused, Taken),
    (SERIAL, "pty,path=DIR/N", Refused, Taken),
    (SERIAL, "unix:DIR/N,history=9", Refused, Taken),
    // What says nothing is said to.
    (SERIAL, "unix:DIR/N,server=on,wait=off,", Taken, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,nodelay=on", Taken, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logappend=on", Taken, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,logfile", Taken, Refused),
    (SERIAL, "tcp:127.0.0.1:65536,server=on,wait=off", Taken, Refused),
    (SERIAL, "unix:DIR/N,reconnect-ms=86400001", Taken, Refused),
    (SERIAL, "unix:DIR/N,path=DIR/N.other,server=on,wait=off", Taken, Refused),
    // An address in brackets.
    (SERIAL, "tcp:[127.0.0.1]:0,server=on,wait=off", Refused, Taken),
    // Not there.
    (SERIAL, "unix:DIR/N,server=on,wait=off,abstract=on,tight=off", Taken, Refused),
    (SERIAL, "tcp:127.0.0.1:0,server=on,wait=off,to=9", Taken, Refused),
    (SERIAL, "tcp:127.0.0.1:0,server=on,wait=off,ipv4=on", Taken, Refused),
    (SERIAL, "tcp:127.0.0.1:0,server=on,wait=off,telnet=on", Taken, Refused),
    (SERIAL, "telnet:127.0.0.1:0,server=on,wait=off", Taken, Refused),
    (SERIAL, "websocket:127.0.0.1:0,server=on,wait=off", Taken, Refused),
    (SERIAL, "unix:DIR/N,server=on,wait=off,mux=on", Taken, Refused),
    (SERIAL, "udp:127.0.0.1:1", Taken, Refused),
    (SERIAL, "none", Taken, Refused),
    (SERIAL, "vc", Taken, Refused),
    (SERIAL, "mon:null", Taken, Refused),
    ("-chardev", "ringbuf,id=N", Taken, Refused),
    // Ours.
    (SERIAL, "loopback", Refused, Taken),
    (SERIAL, "crossover", Refused, Taken),
];

/// A directory with what the rows need.
fn directory() -> tempfile::TempDir {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let directory = tempfile::tempdir().unwrap();
    for file in FILES {
        std::fs::write(directory.path().join(file), "precious").unwrap();
    }
    for end in ["fifo.in", "fifo.out"] {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, directory.path().join(end), FileType::Fifo, mode, 0).unwrap();
    }
    directory
}

fn rows() -> impl Iterator<Item = (usize, Row)> {
    SAME.iter().chain(DIFFERENT).copied().enumerate()
}

fn in_place(text: &str, number: usize, directory: &tempfile::TempDir) -> String {
    let text = text.replace("/N", &format!("/{number}")).replace("=N", &format!("=n{number}"));
    text.replace("DIR", directory.path().to_str().unwrap())
}

/// QEMU with these, and without anything else. It ends at once.
fn qemu(tools: &Tools, directory: &tempfile::TempDir, options: &[(&str, String)]) -> Output {
    let mut command: Command = tools.qemu().command();
    command.args(["-nodefaults", "-machine", "none", "-display", "none", "-monitor", "stdio"]);
    options.iter().for_each(|(option, value)| _ = command.arg(option).arg(value));
    // A bare `logfile` makes one of the name `on`, wherever that is.
    command.current_dir(directory.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whether it listens still is seen by the output.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"info chardev\nquit\n");
    child.wait_with_output().unwrap()
}

#[test]
fn the_real_qemu_takes_and_refuses_what_the_table_says() {
    let tools = Tools::prepare().unwrap();
    let taken = directory();
    let mut all = Vec::new();
    for (number, (option, value, verdict, _)) in rows() {
        // One has standard output, and the FIFOs are opened for one.
        if verdict == Taken {
            all.push((option, in_place(value, number, &taken)));
        }
    }
    // All that it takes, it takes at once.
    let output = qemu(&tools, &taken, &all);
    let (shown, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaint}");
    let found = shown.matches(": filename=").count();
    let backs = all.iter().filter(|(_, value)| value != "none").count();
    // Each mux is two; and the monitor has one.
    let twice = all.iter().filter(|(_, it)| it.contains("mux=on") || it.contains("mon:")).count();
    assert_eq!(found, backs + twice + 1, "{shown}");
    // What it refuses ends it: one each, two at a time.
    let refused: Vec<_> = rows().filter(|(_, row)| row.2 == Refused).collect();
    thread::scope(|scope| {
        for half in 0..2 {
            let (refused, tools) = (&refused, &tools);
            scope.spawn(move || {
                for (number, (option, value, ..)) in refused.iter().skip(half).step_by(2) {
                    let directory = directory();
                    let value = in_place(value, *number, &directory);
                    let output = qemu(tools, &directory, &[(option, value.clone())]);
                    assert_eq!(output.status.code(), Some(1), "{option} {value}");
                }
            });
        }
    });
}

#[test]
fn ours_takes_and_refuses_what_the_table_says() {
    for (number, (_, value, qemu, ours)) in rows() {
        let directory = directory();
        let value = in_place(value, number, &directory).replace(&format!(",id=n{number}"), "");
        let opened = value.parse::<Spec>().map_err(|error| error.to_string()).and_then(|spec| {
            use chardev::Backend::{Crossover, Loopback};
            if matches!(spec.backend, Loopback | Crossover) {
                return Ok(());
            }
            Chardev::open(&spec).map(drop).map_err(|error| error.to_string())
        });
        let found = if opened.is_ok() { Taken } else { Refused };
        assert_eq!(found, ours, "{value}: {opened:?}");
        assert_eq!(qemu == ours, number < SAME.len(), "{value} is in the wrong table");
        for file in FILES {
            let precious = std::fs::read_to_string(directory.path().join(file)).unwrap();
            assert_eq!(precious, "precious", "{value}");
        }
    }
}

#[test]
fn no_row_is_there_twice() {
    let mut seen = BTreeMap::new();
    for (number, row) in rows() {
        assert_eq!(seen.insert((row.0, row.1), number), None, "{row:?}");
    }
}
