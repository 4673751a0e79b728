#![cfg(test)]
//! Ends that are files, and the copy that any end can have.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use chardev::Event::{Connected, Disconnected};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use support::{Port, Random, open};

#[test]
fn a_file_takes_the_output_and_one_with_something_in_it_is_asked_about() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out,put");
    let text = format!("file:{}", path.to_str().unwrap().replace(',', ",,"));
    let mut port = Port::open(&text);
    assert_eq!(port.events, []);
    port.send(b"one ");
    assert_eq!(port.events, [Connected]);
    assert_eq!(fs::read(&path).unwrap(), b"one ");
    drop(port);
    let refusal = open(&text).unwrap_err().to_string();
    let expected =
        "exists and is not empty: say append=on to go on at its end, append=off to begin anew";
    assert!(refusal.ends_with(expected), "{refusal}");
    assert_eq!(fs::read(&path).unwrap(), b"one ");
    Port::open(&format!("{text},append=on")).send(b"two ");
    assert_eq!(fs::read(&path).unwrap(), b"one two ");
    Port::open(&format!("{text},append=off")).send(b"three");
    assert_eq!(fs::read(&path).unwrap(), b"three");
}

#[test]
fn a_file_without_room_is_tried_again_and_the_history_holds_what_it_can() {
    let mut port = Port::open("file:/dev/full,history=10");
    port.send(b"no room for this");
    assert_eq!((port.output.len(), port.chardev.pending(), port.chardev.dropped()), (0, 10, 6));
    assert_eq!(port.events, [Connected, Disconnected]);
    assert!(!port.chardev.is_connected());
    let due = port.chardev.next_timer().unwrap();
    port.chardev.timer(due);
    port.pump();
    assert_eq!(port.events, [Connected, Disconnected]);
    assert_eq!((port.chardev.pending(), port.chardev.dropped()), (10, 6));
}

#[test]
fn a_file_is_for_one_stream_unless_all_append() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    std::os::unix::fs::symlink(directory.path().join("file"), directory.path().join("link"))
        .unwrap();
    let mut first = Port::open(&format!("file:{here}/file"));
    first.send(b"precious");
    for text in [
        format!("file:{here}/file"),
        format!("file:{here}/link,append=off"),
        format!("file:{here}/file,append=on"),
        format!("null,logfile={here}/link,logappend=off"),
    ] {
        let refusal = open(&text).expect_err(&text).to_string();
        let expected = "is in use by another port or program; use another path";
        assert!(refusal.ends_with(expected), "{text}: {refusal}");
    }
    let itself = format!("file:{here}/new,logfile={here}/new");
    assert!(open(&itself).unwrap_err().to_string().contains("is in use by another port"));
    assert_eq!(fs::read(directory.path().join("file")).unwrap(), b"precious");
    drop(first);
    let mut one = Port::open(&format!("file:{here}/file,append=on"));
    let mut other = Port::open(&format!("null,logfile={here}/link,logappend=on"));
    one.send(b" and ");
    other.send(b"more");
    assert_eq!(fs::read(directory.path().join("file")).unwrap(), b"precious and more");
}

#[test]
fn fifos_are_for_one_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    fifos(&path);
    let text = format!("pipe:{}", path.display());
    let first = open(&text).unwrap();
    let refusal = open(&text).unwrap_err().to_string();
    assert!(refusal.contains("pipe.in is in use by another port or program"), "{refusal}");
    drop(first);
    open(&text).unwrap();
}

#[test]
fn null_takes_all() {
    let mut port = Port::open("null,history=1");
    port.send(&[0; 100_000]);
    assert!(port.output.is_empty() && port.chardev.is_connected());
    assert_eq!((port.chardev.pending(), port.chardev.dropped()), (0, 0));
}

fn fifos(path: &Path) {
    for end in ["in", "out"] {
        let path = path.with_extension(end);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
    }
}

#[test]
fn a_fifo_that_nobody_reads_is_an_end_without_a_peer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let text = format!("pipe:{}", path.display());
    assert!(open(&text).unwrap_err().to_string().ends_with("make it with mkfifo"));
    fifos(&path);
    let mut port = Port::open(&text);
    port.send(b"early ");
    assert_eq!((port.chardev.is_connected(), port.chardev.pending()), (false, 6));
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    for _ in 0..2 {
        let mut options = OpenOptions::new();
        let mut reader =
            options.read(true).custom_flags(nonblock).open(path.with_extension("out")).unwrap();
        let mut found = Vec::new();
        port.until("connected", |port| port.chardev.is_connected());
        port.send(b"late");
        port.until("all", |_| {
            let mut bytes = [0; 99];
            let count = reader.read(&mut bytes).unwrap_or(0);
            found.extend(&bytes[..count]);
            found.ends_with(b"late")
        });
        assert_eq!(found, b"early late");
        let mut writer = OpenOptions::new().write(true).open(path.with_extension("in")).unwrap();
        writer.write_all(b"typed").unwrap();
        drop((reader, writer));
        port.until("gone", |port| !port.chardev.is_connected());
        port.send(b"early ");
    }
    assert_eq!(port.input, b"typedtyped");
    assert_eq!(port.events, [Connected, Disconnected, Connected, Disconnected]);
}

#[test]
fn a_fifo_that_is_read_slowly_stops_the_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    fifos(&path);
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let mut reader =
        options.read(true).custom_flags(nonblock).open(path.with_extension("out")).unwrap();
    let mut port = Port::open(&format!("pipe:{}", path.display()));
    port.until("connected", |port| port.chardev.is_connected());
    let all = Random(9).bytes(400_000);
    port.send(&all);
    assert!(!port.output.is_empty());
    read_to(&all, Vec::new(), &mut reader, &mut port);
}

#[test]
fn the_log_has_all_that_was_sent_also_with_nobody_there() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, log) = (directory.path().join("port"), directory.path().join("log"));
    let text = format!("unix:{},history=3,logfile={}", socket.display(), log.display());
    let mut port = Port::open(&text);
    port.send(b"all of ");
    port.send(b"it");
    assert_eq!(port.chardev.dropped(), 6);
    assert_eq!(fs::read(&log).unwrap(), b"all of it");
    drop(port);
    let refusal = open(&text).unwrap_err().to_string();
    assert!(refusal.contains("say logappend=on to go on at its end"), "{refusal}");
    assert!(!socket.exists());
    Port::open(&format!("{text},logappend=on")).send(b"!");
    assert_eq!(fs::read(&log).unwrap(), b"all of it!");
    Port::open(&format!("{text},logappend=off")).send(b"?");
    assert_eq!(fs::read(&log).unwrap(), b"?");
}

#[test]
fn the_log_has_what_a_peer_does_not_read_for_a_while_and_has_it_once() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, log) = (directory.path().join("port"), directory.path().join("log"));
    let text = format!("unix:{},logfile={}", socket.display(), log.display());
    let mut port = Port::open(&text);
    let mut peer = UnixStream::connect(&socket).unwrap();
    peer.set_nonblocking(true).unwrap();
    port.until("connected", |port| port.chardev.is_connected());
    let all = Random(15).bytes(1 << 20);
    port.output = all.clone();
    // The rest is offered again and again.
    for _ in 0..20 {
        port.pump();
    }
    let taken = all.len() - port.output.len();
    assert!(taken != 0 && !port.output.is_empty());
    assert!(fs::read(&log).unwrap() == all[..taken]);
    let mut found: Vec<u8> = Vec::new();
    port.until("all", |_| {
        let mut bytes = [0; 9999];
        let count = peer.read(&mut bytes).unwrap_or(0);
        found.extend(&bytes[..count]);
        found.len() == all.len()
    });
    assert!(found == all && fs::read(&log).unwrap() == all);
}

#[test]
fn each_line_of_the_log_has_its_time_in_front() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut port = Port::open(&format!("null,logfile={},logtimestamp=on", log.display()));
    port.send(b"one\r\ntw");
    port.send(b"o\n");
    port.send(b"\nthree");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = text.split('\n').collect();
    let words: Vec<_> = lines.iter().map(|line| &line[28..]).collect();
    assert_eq!(words, ["one\r", "two", "", "three"]);
    // 2026-11-22T17:23:50.003266Z and a space.
    for line in lines {
        let shape: String =
            line[..28].chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z ");
    }
}

#[test]
fn a_log_without_room_counts_and_holds_nothing_up() {
    let mut port = Port::open("null,logfile=/dev/full");
    port.send(&[0; 1000]);
    port.send(&[0; 1000]);
    assert_eq!((port.output.len(), port.chardev.log_lost()), (0, 2000));
}

/// Reads on behind `found` until it is all that was sent.
fn read_to(all: &[u8], mut found: Vec<u8>, reader: &mut File, port: &mut Port) {
    port.until("all", |_| {
        let mut bytes = [0; 9999];
        let count = reader.read(&mut bytes).unwrap_or(0);
        found.extend(&bytes[..count]);
        found.len() == all.len()
    });
    assert!(found == all);
}

/// A port whose log is a FIFO, and the end at which that is read, without waiting.
fn logging_into_a_fifo(directory: &Path) -> (Port, File) {
    let path = directory.join("log");
    fifos(&path);
    let path = path.with_extension("out");
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let reader = OpenOptions::new().read(true).custom_flags(nonblock).open(&path).unwrap();
    (Port::open(&format!("null,logfile={}", path.display())), reader)
}

#[test]
fn a_log_that_is_read_too_slowly_counts_and_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let (mut port, mut reader) = logging_into_a_fifo(directory.path());
    let all = Random(10).bytes(300_000);
    port.send(&all);
    assert!(port.output.is_empty());
    // What a FIFO holds, and 64 KiB.
    assert_eq!(port.chardev.log_lost(), 300_000 - 2 * 65_536);
    let mut found = vec![0; 65_536];
    reader.read_exact(&mut found).unwrap();
    assert!(found == all[..65_536]);
}

#[test]
fn a_log_that_is_read_now_and_then_is_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (mut port, mut reader) = logging_into_a_fifo(directory.path());
    let mut random = Random(16);
    let all = random.bytes(400_000);
    let (mut sent, mut found) = (0, Vec::<u8>::new());
    while sent < all.len() {
        // More is on its way than the FIFO holds, and not more than it and 64 KiB.
        let end = (sent + 1 + random.below(9_999)).min(all.len()).min(found.len() + 120_000);
        port.send(&all[sent..end]);
        sent = end;
        if sent - found.len() > 100_000 {
            let mut bytes = vec![0; 1 + random.below(30_000)];
            let count = reader.read(&mut bytes).unwrap();
            found.extend(&bytes[..count]);
        }
        assert!(all.starts_with(&found), "among the first {} bytes", found.len());
    }
    assert_eq!(port.chardev.log_lost(), 0);
    // What was held when the guest said its last.
    read_to(&all, found, &mut reader, &mut port);
}

#[test]
fn each_refusal_names_the_thing_and_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    fs::write(directory.path().join("file"), "x").unwrap();
    fs::write(directory.path().join("regular.in"), "x").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, directory.path().join("fifo"), FileType::Fifo, mode, 0).unwrap();
    let long = "x".repeat(120);
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap();
    for (text, expected) in [
        (format!("unix:{here}/no/port"), format!("there is no directory {here}/no; make it")),
        (format!("unix:{here}/file"), format!("{here}/file exists and is not a socket")),
        (format!("unix:{here}"), format!("{here} exists and is not a socket")),
        (format!("unix:{here}/file/port"), format!("{here}/file is not a directory")),
        (format!("unix:{here}/{long}"), "is too long: at most 107 bytes".into()),
        (format!("unix:{here}/none,server=off"), "start who listens there first".into()),
        (format!("tcp:{busy}"), format!("{busy}: the port is in use")),
        ("tcp:192.0.2.1:4444".into(), "this machine has no such address".into()),
        ("tcp:no-such-host.invalid:1".into(), "cannot find no-such-host.invalid:1".into()),
        ("tcp::no-such-service".into(), "no such TCP service".into()),
        (format!("file:{here}"), "it is a directory; name a file in it".into()),
        (format!("file:{here}/no/file"), format!("there is no directory {here}/no")),
        (format!("file:{here}/{long}{long}{long}"), "its name is too long".into()),
        (format!("null,logfile={here}"), "it is a directory; name a file in it".into()),
        (format!("pty,path={here}/no/link"), format!("there is no directory {here}/no")),
        (format!("file:{here}/fifo"), "it is a FIFO that nobody reads".into()),
        (format!("pty,path={here}/file"), "file exists and is left alone".into()),
        (format!("pty,path={here}/dangling"), "dangling exists and is left alone".into()),
        (format!("unix:{here}/dangling"), "dangling exists and is not a socket".into()),
        (format!("unix:{here}/fifo"), "fifo exists and is not a socket".into()),
        (format!("unix:{here}/file,server=off"), "start who listens there first".into()),
        (format!("unix:{here}/{long},server=off"), "is too long: at most 107 bytes".into()),
        (format!("pipe:{here}/regular"), "regular.in is not a FIFO; make it with mkfifo".into()),
        (format!("pipe:{here}/none"), "make it with mkfifo".into()),
        ("loopback".into(), "loopback stays within the card".into()),
        ("crossover".into(), "crossover stays within the card".into()),
    ] {
        let refusal = open(&text).expect_err(&text).to_string();
        assert!(refusal.contains(&expected), "{text}: {refusal}");
        assert!(!refusal.contains('\n') && !refusal.contains("os error"), "{text}: {refusal}");
    }
    for file in ["file", "regular.in"] {
        assert_eq!(fs::read(directory.path().join(file)).unwrap(), b"x");
    }
    assert!(fs::symlink_metadata(directory.path().join("nowhere")).is_err());
}
