//! Bytes both ways, by each kind of end.

use std::fs::{self, OpenOptions};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::card::{Card, LSR, PATIENCE, THRE, give, take};

/// All values, in an order of no meaning.
fn all_values() -> Vec<u8> {
    (0..=255).map(|number: u8| number.wrapping_mul(83).wrapping_add(7)).collect()
}

#[test]
fn a_unix_socket_carries_all_byte_values_both_ways_on_both_ports() {
    let mut card = Card::start(&["--serial0", "unix:DIR/zero", "--serial1", "unix:DIR/one"]);
    for (port, name) in [(0, "zero"), (1, "one")] {
        let mut peer = card.connect(name);
        card.send(port, &all_values());
        assert_eq!(take(&mut peer, 256), all_values());
        give(&mut peer, &all_values());
        assert_eq!(card.hear(port, 256), all_values());
    }
}

#[test]
fn a_tcp_socket_listens_on_this_machine_alone_and_info_has_its_port() {
    let mut card = Card::start(&["--serial0", "tcp::0"]);
    let address = card.info(0)["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let mut peer = TcpStream::connect(&address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    card.send(0, &all_values());
    assert_eq!(take(&mut peer, 256), all_values());
    give(&mut peer, &all_values());
    assert_eq!(card.hear(0, 256), all_values());
}

#[test]
fn a_pty_is_found_by_its_link_which_goes_with_the_program() {
    let mut card = Card::start(&["--serial0", "pty,path=DIR/tty"]);
    let link = card.path("tty");
    let noctty = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
    let mut peer =
        OpenOptions::new().read(true).write(true).custom_flags(noctty).open(&link).unwrap();
    let mut raw = tcgetattr(&peer).unwrap();
    raw.make_raw();
    tcsetattr(&peer, OptionalActions::Now, &raw).unwrap();
    card.send(0, &all_values());
    assert_eq!(take(&mut peer, 256), all_values());
    give(&mut peer, &all_values());
    assert_eq!(card.hear(0, 256), all_values());
    let target = fs::read_link(&link).unwrap();
    assert_eq!(card.info(0)["address"], target.to_str().unwrap());
    card.program().signal(rustix::process::Signal::TERM);
    assert_eq!(card.program().wait().code(), Some(0));
    assert!(fs::symlink_metadata(&link).is_err(), "the link is left behind");
}

#[test]
fn a_file_has_what_the_guest_sends() {
    let mut card = Card::start(&["--serial0", "file:DIR/out", "--serial1", "null"]);
    card.send(0, &all_values());
    card.send(1, &all_values());
    card.soon("the file has it all", |card| {
        fs::read(card.path("out")).is_ok_and(|bytes| bytes == all_values())
    });
}

#[test]
fn a_crossover_joins_both_ports_and_its_log_has_what_one_sends() {
    let mut card = Card::start(&["--serial0", "crossover,logfile=DIR/log"]);
    assert_eq!(card.info(1)["spec"], "crossover");
    card.send(0, b"from port 0");
    assert_eq!(card.hear(1, 11), b"from port 0");
    card.send(1, b"from port 1");
    assert_eq!(card.hear(0, 11), b"from port 1");
    card.soon("the log has it", |card| {
        fs::read(card.path("log")).is_ok_and(|bytes| bytes == b"from port 0")
    });
}

#[test]
fn a_port_loops_back_unless_asked_for_something_else_and_info_says_so() {
    let mut card = Card::start(&[]);
    card.send(0, b"echo");
    assert_eq!(card.hear(0, 4), b"echo");
    let info = card.info(0);
    assert_eq!(info["spec"], "loopback");
    assert!(info["connected"].is_null() && info["address"].is_null(), "{info}");
    assert_eq!((&info["bytes_sent"], &info["bytes_received"]), (&4.into(), &0.into()));
}

#[test]
fn what_nobody_was_there_for_goes_to_the_next_client_as_far_as_the_history_goes() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port,history=100"]);
    card.send(0, &all_values());
    card.soon("the history is full", |card| card.info(0)["history_dropped"] == 156);
    assert_eq!(card.info(0)["bytes_pending"], 100);
    let mut peer = card.connect("port");
    assert_eq!(take(&mut peer, 100), all_values()[156..]);
    card.send(0, b"and on");
    assert_eq!(take(&mut peer, 6), b"and on");
}

#[test]
fn clients_that_half_close_and_read_to_the_end_have_the_stream_whole() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port"]);
    let (mut all, mut sent) = (Vec::new(), Vec::new());
    for round in 0..10u8 {
        let text = format!("round {round}; ");
        card.send(0, text.as_bytes());
        sent.extend(text.as_bytes());
        let mut peer = card.connect("port");
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        std::io::Read::read_to_end(&mut peer, &mut all).unwrap();
    }
    card.soon("nobody is connected", |card| card.info(0)["connected"] == false);
    card.soon("all is out", |card| card.info(0)["bytes_sent"] == sent.len());
    let pending = card.info(0)["bytes_pending"].as_u64().unwrap();
    let mut rest = vec![];
    if pending != 0 {
        rest = take(&mut card.connect("port"), usize::try_from(pending).unwrap());
    }
    all.extend(rest);
    assert_eq!(String::from_utf8(all).unwrap(), String::from_utf8(sent).unwrap());
}

#[test]
fn a_client_that_does_not_read_stops_the_transmitter_and_loses_nothing() {
    let mut card = Card::start(&["--serial0", "unix:DIR/port"]);
    let mut peer = card.connect("port");
    card.inputs_become(0, 0xb0);
    let bytes: Vec<u8> =
        (0..1u32 << 20).map(|number| ((number * 83) >> 3).to_le_bytes()[0]).collect();
    let mut sent = 0;
    // Until it has not moved for some time, and says so.
    card.soon("the transmitter stops", |card| {
        let end = (sent + 4096).min(bytes.len());
        sent += card.transmit(0, &bytes[sent..end]);
        assert!(sent < bytes.len(), "nobody stops it");
        card.read(0, LSR) & THRE == 0 && card.read(0, crate::card::MSR) & crate::card::CTS == 0
    });
    let pending = card.info(0)["bytes_pending"].as_u64().unwrap();
    assert!((1..=4096).contains(&pending), "{pending} pending");
    let before = take(&mut peer, 100_000.min(sent - 100));
    assert_eq!(before, bytes[..before.len()]);
    card.soon("it goes on", |card| card.read(0, LSR) & THRE != 0);
    card.inputs_become(0, 0xb0);
    assert_eq!(take(&mut peer, sent - before.len()), bytes[before.len()..sent]);
}
