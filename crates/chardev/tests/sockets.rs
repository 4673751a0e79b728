#![cfg(test)]
//! What clients of a UNIX or TCP socket see.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use chardev::Event::{Connected, Disconnected};

use support::{Port, Random, open};

/// A client of either kind.
trait Client: Read + Write {
    fn half_close(&self);
    fn do_not_block(&self);
}

impl Client for UnixStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
    fn do_not_block(&self) {
        self.set_nonblocking(true).unwrap();
    }
}

impl Client for TcpStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
    fn do_not_block(&self) {
        self.set_nonblocking(true).unwrap();
    }
}

fn connect(port: &Port) -> Box<dyn Client> {
    let address = port.chardev.address().unwrap();
    let client: Box<dyn Client> = if address.starts_with('/') {
        Box::new(UnixStream::connect(address).unwrap())
    } else {
        Box::new(TcpStream::connect(address).unwrap())
    };
    client.do_not_block();
    client
}

/// What can be read now; whether the end was reached.
fn fetch(client: &mut dyn Client, into: &mut Vec<u8>, most: usize) -> bool {
    let mut bytes = vec![0; most];
    match client.read(&mut bytes) {
        Ok(0) => true,
        Ok(count) => {
            into.extend(&bytes[..count]);
            false
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

fn read_to_end(port: &mut Port, client: &mut dyn Client) -> Vec<u8> {
    let mut found = Vec::new();
    port.until("the end", |_| fetch(client, &mut found, 500_000));
    found
}

fn both(options: &str) -> (tempfile::TempDir, [Port; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("port");
    let unix = Port::open(&format!("unix:{}{options}", path.display()));
    let tcp = Port::open(&format!("tcp::0{options}"));
    (directory, [unix, tcp])
}

#[test]
fn what_is_sent_before_anybody_comes_is_there_for_the_first() {
    let (_directory, ports) = both("");
    for mut port in ports {
        port.send(b"booting\n");
        assert!(port.output.is_empty() && !port.chardev.is_connected());
        assert_eq!(port.chardev.pending(), 8);
        let mut client = connect(&port);
        let mut found = Vec::new();
        port.until("connected", |port| port.chardev.is_connected());
        port.send(b"login: ");
        port.until("all", |_| {
            fetch(&mut *client, &mut found, 99);
            found.len() == 15
        });
        assert_eq!(found, b"booting\nlogin: ");
        assert_eq!((port.chardev.pending(), port.chardev.dropped()), (0, 0));
        assert_eq!(port.events, [Connected]);
        drop(client);
        port.until("gone", |port| !port.chardev.is_connected());
        assert_eq!(port.events, [Connected, Disconnected]);
    }
}

#[test]
fn random_bytes_pass_both_ways_at_once_and_whole_however_either_side_stalls() {
    let (_directory, ports) = both("");
    for (mut port, seed) in ports.into_iter().zip([1, 2]) {
        let mut random = Random(seed);
        let (down, up) = (random.bytes(300_000), random.bytes(300_000));
        let mut client = connect(&port);
        let (mut to_send, mut sent, mut found) = (0, 0, Vec::new());
        port.until("both ways", |port| {
            if to_send < down.len() && port.output.is_empty() {
                let end = (to_send + 1 + random.below(20_000)).min(down.len());
                port.output.extend(&down[to_send..end]);
                to_send = end;
                port.pump();
            }
            if random.below(4) != 0 {
                let end = (sent + 1 + random.below(30_000)).min(up.len());
                sent += client.write(&up[sent..end]).unwrap_or(0);
            }
            if random.below(4) == 0 {
                fetch(&mut *client, &mut found, 1 + random.below(60_000));
            }
            let room = if random.below(3) == 0 { 0 } else { 1 + random.below(4096) };
            port.accept_input(room);
            found.len() == down.len() && port.input.len() == up.len()
        });
        assert!(found == down && port.input == up);
        assert_eq!(port.chardev.dropped(), 0);
    }
}

#[test]
fn a_peer_that_reads_slowly_stops_the_stream_and_loses_nothing() {
    let (_directory, ports) = both(",history=16");
    for mut port in ports {
        let mut client = connect(&port);
        port.until("connected", |port| port.chardev.is_connected());
        let all = Random(3).bytes(20 << 20);
        port.output = all.clone();
        port.during(Duration::from_millis(100));
        // And nobody is woken for it.
        port.until("stuck", |port| !port.has_work());
        let stuck = port.output.len();
        assert!(stuck > 1 << 20, "a peer that does not read takes {}", all.len() - stuck);
        let mut found = Vec::new();
        port.until("all", |_| {
            fetch(&mut *client, &mut found, 1 << 20);
            found.len() == all.len()
        });
        assert!(found == all);
        assert_eq!(port.chardev.dropped(), 0);
    }
}

#[test]
fn ten_clients_that_half_close_and_read_to_the_end_have_the_stream_whole() {
    let (_directory, ports) = both("");
    for mut port in ports {
        let mut random = Random(4);
        let (mut all, mut found) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let count = 1 + random.below(60_000);
            let some = random.bytes(count);
            let early = random.below(some.len());
            all.extend(&some);
            port.send(&some[..early]);
            let mut client = connect(&port);
            client.write_all(b"hello").unwrap();
            client.half_close();
            port.send(&some[early..]);
            found.extend(read_to_end(&mut port, &mut *client));
            port.until("gone", |port| !port.chardev.is_connected());
        }
        assert_eq!(found.len() + port.chardev.pending(), all.len());
        assert!(all.starts_with(&found) && all.len() - found.len() < 60_000);
        assert_eq!(port.input, b"hello".repeat(10));
        assert_eq!(port.chardev.dropped(), 0);
        assert_eq!(port.events.len(), 20);
    }
}

#[test]
fn a_client_that_half_closes_gets_all_there_is_however_slowly_it_reads() {
    let (_directory, ports) = both(",history=16000000");
    for mut port in ports {
        let mut all = Random(13).bytes(12_000_000);
        port.send(&all);
        let mut client = connect(&port);
        client.half_close();
        port.until("stuck", |port| port.chardev.is_connected() && !port.has_work());
        // It takes its time, and costs none.
        let turns = port.turns;
        port.during(Duration::from_millis(50));
        assert!(port.turns - turns < 50 && port.chardev.is_connected());
        assert!(port.chardev.pending() > 1 << 20);
        // What comes now, before it has all of what was there, is for it as well, and behind that.
        port.send(b"and this");
        all.extend(b"and this");
        assert!(read_to_end(&mut port, &mut *client) == all);
        assert_eq!(port.events, [Connected, Disconnected]);
    }
}

#[test]
fn what_one_client_did_not_take_the_next_one_gets() {
    // Of a TCP socket nobody knows what was taken last.
    let (_directory, [mut port, _]) = both("");
    let all = Random(5).bytes(600_000);
    let mut first = connect(&port);
    port.until("connected", |port| port.chardev.is_connected());
    port.output = all.clone();
    port.during(Duration::from_millis(50));
    let refused = port.output.len();
    assert!(refused > 100_000);
    let mut taken = Vec::new();
    while taken.len() + refused < all.len() {
        fetch(&mut *first, &mut taken, 10_000);
    }
    drop(first);
    let mut found = Vec::new();
    // The history takes 64 KiB of the rest: the newest.
    port.until("gone", |port| !port.chardev.is_connected() && port.output.is_empty());
    let lost = usize::try_from(port.chardev.dropped()).unwrap();
    assert_eq!((port.chardev.pending(), lost), (65_536, refused - 65_536));
    let mut second = connect(&port);
    port.until("the rest", |_| {
        fetch(&mut *second, &mut found, 100_000);
        found.len() == 65_536
    });
    assert!(taken == all[..taken.len()] && found == all[all.len() - 65_536..]);
}

#[test]
fn what_falls_out_of_the_history_is_counted() {
    let (_directory, ports) = both(",history=100");
    for mut port in ports {
        port.send(&[b'a'; 60]);
        port.send(&[b'b'; 60]);
        assert_eq!((port.chardev.pending(), port.chardev.dropped()), (100, 20));
        port.send(&[b'c'; 1000]);
        assert_eq!((port.chardev.pending(), port.chardev.dropped()), (100, 1020));
        let mut client = connect(&port);
        client.half_close();
        assert_eq!(read_to_end(&mut port, &mut *client), [b'c'; 100]);
    }
}

#[test]
fn without_a_history_what_nobody_is_there_for_is_counted_and_gone() {
    let (_directory, ports) = both(",history=0");
    for mut port in ports {
        port.send(b"nobody");
        assert_eq!((port.chardev.pending(), port.chardev.dropped()), (0, 6));
        let mut client = connect(&port);
        client.half_close();
        assert_eq!(read_to_end(&mut port, &mut *client), b"");
    }
}

#[test]
fn a_second_client_waits_for_the_first_to_go() {
    let (_directory, ports) = both("");
    for mut port in ports {
        let mut first = connect(&port);
        port.until("connected", |port| port.chardev.is_connected());
        let mut second = connect(&port);
        second.write_all(b"second").unwrap();
        port.send(b"for the first");
        let mut found = Vec::new();
        port.until("first", |_| {
            fetch(&mut *first, &mut found, 99);
            found.len() == 13
        });
        port.during(Duration::from_millis(20));
        assert!(port.input.is_empty() && port.turns < 100, "{} turns", port.turns);
        drop(first);
        port.until("second", |port| port.input == b"second");
        assert_eq!(port.events, [Connected, Disconnected, Connected]);
    }
}

#[test]
fn input_that_has_no_room_stays_in_the_socket_and_wakes_nobody() {
    let (_directory, ports) = both("");
    for mut port in ports {
        port.accept_input(0);
        let mut client = connect(&port);
        client.write_all(b"typed before the guest was up").unwrap();
        port.until("connected", |port| port.chardev.is_connected());
        assert!(!port.has_work());
        // It leaves, which is noticed; what it typed is not lost, and the next one comes in.
        drop(client);
        port.until("gone", |port| !port.chardev.is_connected());
        let mut next = connect(&port);
        next.write_all(b", and after").unwrap();
        port.until("the next", |port| port.chardev.is_connected());
        assert!(!port.has_work());
        port.accept_input(3);
        port.until("input", |port| port.input.len() == 40);
        assert_eq!(port.input, b"typed before the guest was up, and after");
    }
}

#[test]
fn of_clients_that_leave_input_behind_the_last_sixteen_are_remembered() {
    let (_directory, ports) = both("");
    for mut port in ports {
        port.accept_input(0);
        for number in 0..20_u8 {
            let mut client = connect(&port);
            client.write_all(&[number; 10]).unwrap();
            port.until("here", |port| port.chardev.is_connected());
            drop(client);
            port.until("gone", |port| !port.chardev.is_connected());
        }
        assert!(!port.has_work());
        port.accept_input(7);
        port.until("all", |port| port.input.len() == 160);
        let expected: Vec<_> = (4..20).flat_map(|number| [number; 10]).collect();
        assert_eq!(port.input, expected);
    }
}

#[test]
fn with_wait_output_waits_for_the_first_client_only() {
    let (_directory, ports) = both(",server=on,wait=on,history=4");
    for mut port in ports {
        port.send(b"held by the guest");
        port.during(Duration::from_millis(20));
        assert_eq!((port.output.len(), port.chardev.pending()), (17, 0));
        assert!(port.turns < 10);
        let mut client = connect(&port);
        let mut found = Vec::new();
        port.until("all", |_| {
            fetch(&mut *client, &mut found, 99);
            found.len() == 17
        });
        drop(client);
        port.until("gone", |port| !port.chardev.is_connected());
        port.send(b"not held");
        assert_eq!((port.output.len(), port.chardev.dropped()), (0, 4));
    }
}

#[test]
fn clients_that_come_and_go_as_fast_as_they_can_cost_a_bounded_turn_each() {
    let (_directory, ports) = both("");
    for mut port in ports {
        for _ in 0..300 {
            drop(connect(&port));
            // One turn: the loop has others to look after.
            port.turn(Duration::from_millis(1));
        }
        let mut last = connect(&port);
        last.write_all(b"still here").unwrap();
        port.send(b"and so are we");
        port.until("last", |port| port.input == b"still here");
    }
}

#[test]
fn whatever_clients_do_that_read_what_they_are_sent_nothing_is_lost_or_doubled() {
    for seed in 1..=6 {
        let (_directory, [unix, tcp]) = both(",history=8000000");
        let mut port = if seed % 2 == 0 { unix } else { tcp };
        let mut random = Random(seed);
        let (mut all, mut found, mut typed) = (Vec::new(), Vec::new(), Vec::new());
        let mut clients: Vec<Box<dyn Client>> = Vec::new();
        for _ in 0..400 {
            match random.below(12) {
                0..4 => {
                    let count = 1 + random.below(30_000);
                    let some = random.bytes(count);
                    all.extend(&some);
                    port.send(&some);
                }
                4 if clients.len() < 4 => clients.push(connect(&port)),
                // Only the first has been let in for sure: the others' order with it is nobody's promise.
                5 if !clients.is_empty() => {
                    let some = random.bytes(1000);
                    let sent = clients[0].write(&some).unwrap_or(0);
                    typed.extend(&some[..sent]);
                }
                6 if !clients.is_empty() => {
                    let mut client = clients.remove(0);
                    client.half_close();
                    found.extend(read_to_end(&mut port, &mut *client));
                }
                7 => {
                    let room = [0, 1, 100, 5000][random.below(4)];
                    port.accept_input(room);
                }
                8..10 if !clients.is_empty() => {
                    fetch(&mut *clients[0], &mut found, 1 + random.below(50_000));
                }
                _ => port.turn(Duration::ZERO),
            }
        }
        clients.truncate(1);
        let mut last = clients.pop().unwrap_or_else(|| connect(&port));
        port.accept_input(4096);
        port.until("all", |port| {
            fetch(&mut *last, &mut found, 50_000);
            found.len() == all.len() && port.input.len() == typed.len()
        });
        assert!(found == all && port.input == typed, "seed {seed}");
        assert_eq!((port.chardev.dropped(), port.chardev.pending()), (0, 0));
    }
}

#[test]
fn a_socket_is_private_and_goes_with_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("port");
    let text = format!("unix:{}", path.display());
    let port = Port::open(&text);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(port.chardev.address().unwrap(), path.to_str().unwrap());
    let refusal = open(&text).unwrap_err().to_string();
    assert!(refusal.contains("is in use by another server"), "{refusal}");
    drop(port);
    assert!(!path.exists());
    // One that nobody listens on any more is taken over.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    Port::open(&text);
}

#[test]
fn a_panic_takes_away_what_was_made() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_owned();
    let died = std::thread::spawn(move || {
        let here = here.display();
        let texts = [format!("unix:{here}/port"), format!("pty,path={here}/tty")];
        let _ports = texts.each_ref().map(|text| Port::open(text));
        assert!(std::path::Path::new(&format!("{here}/port")).exists());
        panic!("a device's own fault");
    });
    let fault = died.join().unwrap_err();
    assert_eq!(fault.downcast_ref(), Some(&"a device's own fault"));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_port_tells_who_is_there() {
    let (_directory, [mut unix, mut tcp]) = both("");
    assert_eq!((unix.chardev.peer(), tcp.chardev.peer()), (None, None));
    let first = connect(&unix);
    unix.until("connected", |port| port.chardev.is_connected());
    assert_eq!(unix.chardev.peer(), Some(format!("pid {}", std::process::id())));
    let second = TcpStream::connect(tcp.chardev.address().unwrap()).unwrap();
    tcp.until("connected", |port| port.chardev.is_connected());
    assert_eq!(tcp.chardev.peer(), Some(second.local_addr().unwrap().to_string()));
    drop((first, second));
    unix.until("gone", |port| !port.chardev.is_connected());
    assert_eq!(unix.chardev.peer(), None);
}

#[test]
fn a_peer_that_resets_is_missed_at_once() {
    let (_directory, [_, mut port]) = both("");
    for _ in 0..20 {
        let address = port.chardev.address().unwrap();
        let client = TcpStream::connect(address).unwrap();
        port.until("connected", |port| port.chardev.is_connected());
        let at_once = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&client, at_once).unwrap();
        drop(client);
        port.until("gone", |port| !port.chardev.is_connected());
        // What the last one had been sent is lost with it, as with any socket; this is for the next.
        port.send(b"x");
        assert_eq!((port.chardev.pending(), port.chardev.dropped()), (1, 0));
    }
}
