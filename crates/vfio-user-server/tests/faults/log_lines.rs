//! What the log says of faults: each that acts, how often each has acted, and which can act on no client's account.

use std::sync::{Mutex, Once};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::client::{Client, access, command, eventfd};
use crate::irqs::{EVENTFD, MSIX, TRIGGER};
use crate::{faulty, read};

/// All tests of this program log into it. They are told apart by the words of their faults.
struct Lines(Mutex<Vec<(Level, String)>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        if text.contains("fault ") {
            self.0.lock().unwrap().push((record.level(), text));
        }
    }

    fn flush(&self) {}
}

/// Begins to write down what is logged.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// What was logged of a fault that no other test has; without the device's name.
fn said_of(fault: &str) -> Vec<(Level, String)> {
    let part = format!("fault {fault}");
    let lines = LINES.0.lock().unwrap();
    let lines = lines.iter().filter(|(_, text)| text.contains(&part));
    lines
        .map(|(level, text)| (*level, text.split_once(": ").unwrap().1.replace(&part, "X")))
        .collect()
}

fn info(text: &str) -> (Level, String) {
    (Level::Info, text.into())
}

fn warn(text: &str) -> (Level, String) {
    (Level::Warn, text.into())
}

#[test]
fn an_interrupt_that_is_befallen_is_a_line_with_its_vector() {
    listen();
    let fault = "lose-irq,index=msix,vector=0x7,at=2";
    let (server, path) = faulty(&[fault]);
    let mut client = Client::negotiated(&path);
    let irq = eventfd(0);
    client.set_irqs([EVENTFD | TRIGGER, MSIX, 7, 1], &[], &[std::os::fd::AsFd::as_fd(&irq)]).ok();
    for _ in 0..3 {
        client.write(0, 0xff0, &0x721_u32.to_le_bytes());
        client.write(0, 0xff0, &0x720_u32.to_le_bytes());
    }
    drop(server);
    assert_eq!(
        said_of(fault),
        [info("X: irq index 2 vector 7, match 2"), info("X acted once (matched 3)")]
    );
}

#[test]
fn ten_lines_a_second_are_at_info_and_the_end_has_the_total() {
    listen();
    let fault = "error,errno=EIO,command=region-read,offset=0x3e8,count=1000";
    let (server, path) = faulty(&[fault]);
    let mut client = Client::negotiated(&path);
    (0..1000).for_each(|_| read(&mut client, 0x3e8).refused(5));
    read(&mut client, 0x3e8).ok();
    drop((client, server));
    let mut lines = said_of(fault);
    assert_eq!(lines.pop(), Some(info("X acted 1000 times (matched 1001)")));
    assert_eq!(lines.len(), 1000);
    let first = lines.iter().take_while(|(level, _)| *level == Level::Info).count();
    assert_eq!(first, 10);
    assert_eq!(lines[10].0, Level::Debug);
    for (number, (_, text)) in lines.iter().enumerate() {
        let what = format!("X: REGION_READ (9), match {}", number + 1);
        assert!(text.starts_with("client 0 ") && text.contains(&what), "{text}");
    }
}

#[test]
fn a_fault_that_never_acted_is_warned_of_at_the_end() {
    listen();
    for (fault, matched) in [
        ("drop,command=region-read,offset=0x11", 0),
        ("drop,command=region-read,offset=0x12,at=3", 2),
        ("stick-irq,index=intx,at=77", 0),
    ] {
        let (server, path) = faulty(&[fault]);
        let mut client = Client::negotiated(&path);
        (0..2).for_each(|_| _ = client.call(command::REGION_READ, &access(0, 0x12, 1, &[])));
        assert_eq!(said_of(fault), []);
        drop((client, server));
        assert_eq!(said_of(fault), [warn(&format!("X never acted (matched {matched})"))]);
    }
}

#[test]
fn what_the_device_does_not_have_is_warned_of_at_once() {
    listen();
    for (fault, words) in [
        ("lose-irq,index=7", "the device has no irq index 7"),
        ("lose-irq,index=msi,at=5", "the device has no irq index 1"),
        ("lose-irq,index=intx,vector=5", "irq index 0 has no vector 5, but 1 from 0"),
        ("stall,region=42", "the device has no region 42"),
        ("stall,region=bar5", "the device has no region 5"),
        ("stall,region=bar0,offset=0x1000", "region 0 has no offset 0x1000, but 0x1000 bytes"),
        ("stall,command=999", "the specification has no command 999"),
    ] {
        let (server, path) = faulty(&[fault]);
        Client::negotiated(&path).still_in_step();
        let so = match fault.starts_with("lose-irq") {
            true => "it cannot act",
            false => "a client that looks first will not meet it",
        };
        let warned = format!("X: {words}; {so}");
        assert_eq!(said_of(fault), [warn(&warned)]);
        drop(server);
        assert_eq!(said_of(fault)[1..], [warn("X never acted (matched 0)")]);
    }
    for fault in ["stall,region=config,offset=0xff,at=9", "stall,region=bar0,offset=0xfff,at=9"] {
        let (_server, path) = faulty(&[fault]);
        Client::negotiated(&path).still_in_step();
        assert_eq!(said_of(fault), []);
    }
}
