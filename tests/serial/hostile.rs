//! Peers that mean no good, and a system that has nothing left: the port lives on, the other one is not touched, and
//! nothing goes on when they have gone.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};
use rustix::process::{Resource, Rlimit, prlimit};

use crate::card::{Card, LSR, PATIENCE, THRE, give, take};

/// Processor time of the program so far, in ticks of 10 ms.
fn ticks(card: &mut Card) -> u64 {
    let pid = card.program().pid().as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().unwrap()).sum()
}

fn descriptors(card: &mut Card) -> usize {
    let pid = card.program().pid().as_raw_nonzero();
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// KiB of memory that the program has to itself.
fn memory(card: &mut Card) -> u64 {
    let pid = card.program().pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The program comes to rest: it uses no more than 3 % of a processor.
#[track_caller]
fn rests(card: &mut Card) {
    card.soon("it rests", |card| {
        let before = ticks(card);
        std::thread::sleep(Duration::from_millis(330));
        ticks(card) - before <= 1
    });
}

/// Port 1, which has a UNIX socket and nothing to do with all this, works.
#[track_caller]
fn other_port_works(card: &mut Card) {
    let mut peer = card.connect("other");
    card.send(1, b"from the guest");
    assert_eq!(take(&mut peer, 14), b"from the guest");
    give(&mut peer, b"from the host");
    assert_eq!(card.hear(1, 13), b"from the host");
}

fn limit(card: &mut Card, what: Resource, current: Option<u64>) {
    let maximum = rustix::process::getrlimit(what).maximum;
    let pid = card.program().pid();
    let current = current.or(maximum);
    prlimit(Some(pid), what, Rlimit { current, maximum }).unwrap();
}

/// Comes, does one thing of these, and leaves.
fn misbehave(mut peer: impl Read + Write + AsFd, number: usize) {
    let _ = match number % 6 {
        0 => Ok(()),
        1 => peer.write_all(b"x"),
        // Reset, with something unread or not.
        2 => set_socket_linger(&peer, Some(Duration::ZERO)).map_err(Into::into),
        3 => peer.write_all(&[b'y'; 10_000]),
        4 => rustix::net::shutdown(&peer, rustix::net::Shutdown::Write).map_err(Into::into),
        _ => rustix::net::shutdown(&peer, rustix::net::Shutdown::Both).map_err(Into::into),
    };
}

#[test]
fn clients_that_come_and_go_by_the_hundred_leave_nothing_behind() {
    // More TCP clients at once than can wait (16) are delayed by the system, a second at a time.
    for (spec, count) in [("tcp::0", 90), ("unix:DIR/port", 600)] {
        let mut card = Card::start(&["--serial0", spec, "--serial1", "unix:DIR/other"]);
        let address = card.info(0)["address"].as_str().unwrap().to_owned();
        let tcp = !address.starts_with('/');
        card.send(0, b"kept for whoever stays");
        let (before, memory_before) = (descriptors(&mut card), memory(&mut card));
        for number in 0..count {
            if tcp {
                let peer = TcpStream::connect(&address).unwrap();
                peer.set_nonblocking(true).unwrap();
                misbehave(peer, number);
            } else {
                let peer = UnixStream::connect(&address).unwrap();
                peer.set_nonblocking(true).unwrap();
                misbehave(peer, number);
            }
        }
        card.soon("the last has gone", |card| card.info(0)["connected"] == false);
        rests(&mut card);
        // Of 16 that have gone the input is kept.
        let after = descriptors(&mut card);
        assert!(after <= before + 16, "{before} descriptors, then {after}");
        let grown = memory(&mut card).saturating_sub(memory_before);
        assert!(grown < 8 << 10, "{grown} KiB more");
        other_port_works(&mut card);
        // What they typed is read in its order, and nobody waits behind it.
        card.soon("all is read", |card| {
            card.receive(0);
            descriptors(card) <= before
        });
        rests(&mut card);
    }
}

#[test]
fn a_client_that_floods_and_never_reads_is_waited_for_and_nobody_else() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port", "--serial1", "unix:DIR/other"]);
    let before = memory(&mut card);
    let mut flood = card.connect("port");
    flood.set_nonblocking(true).unwrap();
    set_socket_send_buffer_size(&flood, 16 << 10).unwrap();
    while flood.write(&[b'f'; 1024]).is_ok() {}
    let mut second = card.connect("port");
    second.write_all(b"me too").unwrap();
    card.inputs_become(0, 0xb0);
    card.soon("the transmitter stops", |card| {
        card.transmit(0, &[b'o'; 4096]);
        card.read(0, LSR) & THRE == 0
    });
    rests(&mut card);
    other_port_works(&mut card);
    let grown = memory(&mut card).saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more");
    // The second one's turn comes, and the first one's flood is in front of what it says.
    drop(flood);
    card.soon("it is all heard", |card| {
        let heard = card.receive(0);
        heard.iter().any(|(_, byte)| *byte == b'm')
    });
}

#[test]
fn a_terminal_that_is_opened_and_closed_all_the_time_costs_nothing_afterwards() {
    let mut card = Card::start(&["--serial0", "pty,path=DIR/tty", "--serial1", "unix:DIR/other"]);
    let before = descriptors(&mut card);
    let path = card.path("tty");
    let noctty = OFlags::NOCTTY.bits().cast_signed();
    for number in 0..500 {
        let mut options = OpenOptions::new();
        let mut tty = options.read(true).write(true).custom_flags(noctty).open(&path).unwrap();
        if number % 3 == 0 {
            tty.write_all(b"z").unwrap();
        }
    }
    let mut heard = 0;
    card.soon("what they typed is heard", |card| {
        heard += card.receive(0).len();
        heard == 167
    });
    card.soon("nobody is there", |card| card.info(0)["connected"] == false);
    rests(&mut card);
    assert_eq!(descriptors(&mut card), before);
    other_port_works(&mut card);
}

#[test]
fn without_descriptors_a_client_waits_and_the_program_does_not_spin() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port", "--serial1", "unix:DIR/other"]);
    let mut other = card.connect("other");
    card.inputs_become(1, 0xb0);
    limit(&mut card, Resource::Nofile, Some(3));
    let mut peer = card.connect("port");
    peer.write_all(b"here").unwrap();
    rests(&mut card);
    card.send(1, b"still");
    assert_eq!(take(&mut other, 5), b"still");
    limit(&mut card, Resource::Nofile, None);
    assert_eq!(card.hear(0, 4), b"here");
}

#[test]
fn a_file_without_room_ends_nothing_and_is_gone_on_with() {
    let options = ["--serial0", "file:DIR/out", "--serial1", "unix:DIR/other,logfile=DIR/log"];
    let mut card = Card::start(&options);
    limit(&mut card, Resource::Fsize, Some(4096));
    let text = [b'a'; 5000];
    card.send(0, &text);
    card.send(1, &text);
    card.soon("the file is full", |card| card.info(0)["connected"] == false);
    card.soon("the log too", |card| card.info(1)["log_lost"] == 904);
    assert_eq!(card.info(0)["bytes_pending"], 904);
    rests(&mut card);
    limit(&mut card, Resource::Fsize, None);
    card.soon("the file has it all", |card| fs::read(card.path("out")).unwrap() == text);
    card.soon("and says so", |card| card.info(0)["connected"] == true);
    let mut peer = card.connect("other");
    assert_eq!(take(&mut peer, 5000), text);
    card.send(1, b"more");
    card.soon("the log goes on", |card| fs::read(card.path("log")).unwrap().ends_with(b"amore"));
}

#[test]
fn a_fifo_whose_reader_comes_and_goes_is_no_trouble() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    for end in ["in", "out"] {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, path.with_extension(end), FileType::Fifo, mode, 0).unwrap();
    }
    let spec = format!("pipe:{}", path.display());
    let mut card = Card::start(&["--serial0", &spec, "--serial1", "unix:DIR/other"]);
    let before = descriptors(&mut card);
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    for _ in 0..5 {
        let mut options = OpenOptions::new();
        let reader = options.read(true).custom_flags(nonblock).open(path.with_extension("out"));
        card.soon("it is seen", |card| card.info(0)["connected"] == true);
        card.send(0, b"into the pipe");
        drop(reader);
        card.send(0, b"and on");
        card.soon("it is missed", |card| card.info(0)["connected"] == false);
    }
    rests(&mut card);
    assert!(descriptors(&mut card) <= before + 1);
    other_port_works(&mut card);
}

#[test]
fn a_peer_that_is_not_there_is_called_now_and_then() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spec = format!("tcp:{free},server=off,reconnect-ms=100");
    let mut card = Card::start(&["--serial0", &spec, "--serial1", "unix:DIR/other"]);
    rests(&mut card);
    // One that hangs up on whoever calls.
    let listener = std::net::TcpListener::bind(free).unwrap();
    let before = descriptors(&mut card);
    for _ in 0..5 {
        let (peer, _) = listener.accept().unwrap();
        set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    }
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    card.send(0, b"there you are");
    assert_eq!(take(&mut peer, 13), b"there you are");
    peer.shutdown(Shutdown::Both).unwrap();
    assert!(descriptors(&mut card) <= before + 1);
    other_port_works(&mut card);
}

#[test]
fn a_socket_that_somebody_takes_away_costs_the_client_nothing_and_theirs_stays() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port", "--serial1", "unix:DIR/other"]);
    let mut peer = card.connect("port");
    card.inputs_become(0, 0xb0);
    let path = card.path("port");
    fs::remove_file(&path).unwrap();
    let theirs = UnixListener::bind(&path).unwrap();
    card.send(0, b"as before");
    assert_eq!(take(&mut peer, 9), b"as before");
    rests(&mut card);
    card.program().signal(rustix::process::Signal::TERM);
    assert_eq!(card.program().wait().code(), Some(0));
    assert!(path.exists() && !card.path("other").exists());
    drop(theirs);
}
