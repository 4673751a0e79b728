#![cfg(test)]
//! What one register access costs in steady state: one recvmsg, one sendto, at most one epoll_wait, no allocation.
//!
//! System calls are counted on the built program, by ptrace. Allocations are counted in a server of this process, on its
//! thread alone; so this is a binary of its own, with an allocator of its own.

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "../crates/vfio-user-server/tests/common/counting.rs"]
mod counting;
#[path = "common/program.rs"]
mod program;
#[path = "common/system_calls.rs"]
mod system_calls;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use client::command::{REGION_READ, REGION_WRITE, REGION_WRITE_MULTI};
use client::{Client, NO_REPLY, access, message};
use mtty::Mtty;
use nix::libc::{SYS_brk, SYS_futex, SYS_read, SYS_recvmsg, SYS_sched_yield, SYS_sendto};
use program::Program;
use system_calls::{FUTEX_WAIT, system_calls, take_waits};
use vfio_device::{Parent, Vfio};
use vfio_user_server::{Endpoint, EventLoop, Listener};

const ACCESSES: u64 = 1000;
/// Registers of port 0: modem control, which line status, modem status and scratch follow; scratch.
const MCR: u64 = 4;
const SCR: u64 = 7;

/// Reads four bytes of registers, and writes one now and then, so many accesses in all.
fn use_registers(client: &mut Client, accesses: u64) {
    let mut scratch = client.read(0, SCR, 1)[0];
    for number in 1..accesses {
        if number % 4 == 0 {
            scratch = scratch.wrapping_add(1);
            client.write(0, SCR, &[scratch]);
        } else {
            assert_eq!(client.read(0, MCR, 4)[3], scratch);
        }
    }
}

/// Allocations of a server's thread while it serves, polling for up to `poll`.
fn allocations(poll: Duration) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device.sock");
    let listener = Listener::bind(&path).unwrap();
    let (sender, receiver) = channel();
    let server = std::thread::spawn(move || {
        let parent = Parent::register(&Vfio::new(), Mtty::default());
        let kind = parent.find("mtty-2").unwrap();
        let mut device = parent.create(kind, uuid::Uuid::new_v4()).unwrap();
        device.register().unwrap();
        let mut event_loop = EventLoop::new(poll).unwrap();
        let id = event_loop.add(Endpoint::new(device, listener)).unwrap();
        sender.send(event_loop.handle()).unwrap();
        counting::count(true);
        event_loop.run(|_, _| ()).unwrap();
        counting::count(false);
        event_loop.remove(id).unwrap().shut_down();
    });
    let handle = receiver.recv().unwrap();
    let mut client = Client::negotiated(&path);
    use_registers(&mut client, 100);

    let before = counting::allocations();
    assert_ne!(before, 0, "the count is of nothing");
    use_registers(&mut client, ACCESSES);
    for _ in 0..100 {
        client.send(REGION_WRITE, NO_REPLY, &access(0, SCR, 1, &[1]), &[]);
        client.send(REGION_WRITE_MULTI, NO_REPLY, &coalesced(3), &[]);
        assert_eq!(client.read(0, SCR, 1), [2]);
    }
    let after = counting::allocations();
    handle.stop();
    server.join().unwrap();
    after - before
}

/// The body of a REGION_WRITE_MULTI that stores counting numbers to the scratch register, the last being `count` - 1.
fn coalesced(count: u64) -> Vec<u8> {
    let entry = |value: u64| [access(0, SCR, 1, &[]), vec![value as u8, 0, 0, 0, 0, 0, 0, 0]];
    let mut body = count.to_le_bytes().to_vec();
    (0..count).flat_map(entry).for_each(|part| body.extend(part));
    body
}

/// One test for both, since the count is of all counted threads.
#[test]
fn an_access_allocates_nothing_with_and_without_polling() {
    assert_eq!(allocations(Duration::ZERO), 0, "without polling");
    assert_eq!(allocations(Duration::from_millis(1)), 0, "with polling");
}

#[test]
fn where_ptrace_is_refused_a_count_says_so() {
    // Nobody can trace the own process.
    let refused = system_calls(rustix::process::getpid(), || panic!("nothing is counted"));
    let error = refused.unwrap_err();
    assert!(error.starts_with("ptrace of the server: EPERM"), "{error}");
    assert!(error.contains("CAP_SYS_PTRACE"), "{error}");
}

#[test]
fn an_access_is_one_recvmsg_one_sendto_and_at_most_one_epoll_wait() {
    let program = Program::serve_with("mtty-2", &["--poll-us", "0"]);
    let mut client = Client::negotiated(&program.path());
    use_registers(&mut client, 100);
    let mut counts = system_calls(program.pid(), || use_registers(&mut client, ACCESSES)).unwrap();
    let waits = take_waits(&mut counts);
    assert_eq!(counts, BTreeMap::from([(SYS_recvmsg, ACCESSES), (SYS_sendto, ACCESSES)]));
    // One for each, and the one that was interrupted to begin.
    assert!(waits <= ACCESSES + 1, "{waits} waits");
}

#[test]
fn polling_adds_no_recvmsg_and_no_sendto() {
    let program = Program::serve_with("mtty-2", &["--poll-us", "50"]);
    let mut client = Client::negotiated(&program.path());
    use_registers(&mut client, 100);
    let mut counts = system_calls(program.pid(), || use_registers(&mut client, ACCESSES)).unwrap();
    take_waits(&mut counts);
    // Between two polls.
    counts.remove(&SYS_sched_yield);
    assert_eq!(counts, BTreeMap::from([(SYS_recvmsg, ACCESSES), (SYS_sendto, ACCESSES)]));
}

/// A served display of 1920 x 1080 and its control socket.
fn display(directory: &tempfile::TempDir) -> (Program, PathBuf) {
    let control = directory.path().join("control");
    let more = ["--control-path", control.to_str().unwrap()];
    let program = Program::serve_with("mdpy-hd", &more);
    // Then the loop runs: the first line is printed before it does.
    screenshots(&control, 1);
    (program, control)
}

fn screenshots(control: &Path, count: u64) {
    for _ in 0..count {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mdev-user"));
        let out = command.arg("screenshot").arg("-c").arg(control).arg("/dev/null").output();
        assert!(out.unwrap().status.success());
    }
}

#[test]
fn a_screenshot_costs_the_loop_a_wake_up_for_each_question_and_nothing_else() {
    const SCREENSHOTS: u64 = 20;
    let directory = tempfile::tempdir().unwrap();
    let (program, control) = display(&directory);
    let mut counts = system_calls(program.pid(), || screenshots(&control, SCREENSHOTS)).unwrap();
    take_waits(&mut counts);
    // The answer wakes who asked. One that waited for them would wait at each question.
    let locks = counts.remove(&FUTEX_WAIT).unwrap_or_default();
    assert!(locks < SCREENSHOTS, "it waited for a lock {locks} times");
    counts.remove(&SYS_futex);
    counts.remove(&SYS_brk); // the allocator, now and then
    // The wake-up's count is read: a question before the picture is copied, and one after it. The loop may find a
    // question before it is woken for it: the wake-up of the last one before the count is then within.
    let reads = counts.remove(&SYS_read).unwrap_or_default();
    assert!((1..=2 * SCREENSHOTS + 1).contains(&reads), "{reads} wake-ups");
    assert_eq!(counts, BTreeMap::new());
}

/// What system calls do not show.
#[test]
fn a_question_costs_the_loop_little_time() {
    const QUESTIONS: u32 = 2000;
    /// In a debug build it is some 0.01 ms. A copy of the picture, of 8 MB, takes more than 1 ms.
    const MOST: Duration = Duration::from_micros(300);
    let directory = tempfile::tempdir().unwrap();
    let (program, control) = display(&directory);
    let busy = || {
        let pid = program.pid().as_raw_nonzero();
        let path = format!("/proc/{pid}/task/{pid}/schedstat");
        let text = std::fs::read_to_string(path).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    };
    let mut socket = BufReader::new(UnixStream::connect(&control).unwrap());
    let before = busy();
    let mut line = String::new();
    for _ in 0..QUESTIONS {
        socket.get_mut().write_all(b"{\"verb\": \"plane\"}\n").unwrap();
        line.clear();
        socket.read_line(&mut line).unwrap();
        assert!(line.contains("\"width\":1920"), "{line}");
    }
    let each = (busy() - before) / QUESTIONS;
    assert!(each > Duration::ZERO && each < MOST, "{each:?}");
}

#[test]
fn posted_writes_that_come_together_are_received_together() {
    const WRITES: u64 = 1000;
    let program = Program::serve_with("mtty-2", &["--poll-us", "0"]);
    let mut client = Client::negotiated(&program.path());
    let write = message(1, REGION_WRITE, NO_REPLY, &access(0, SCR, 1, &[0x5a]));
    let burst =
        [write.repeat(WRITES as usize), message(2, REGION_READ, 0, &access(0, SCR, 1, &[]))];
    let mut counts = system_calls(program.pid(), || {
        client.send_raw(&burst.concat());
        assert_eq!(client.receive().unwrap().ok().body[16..], [0x5a]);
    })
    .unwrap();
    take_waits(&mut counts);
    let received = counts.remove(&SYS_recvmsg).unwrap();
    assert!(received <= WRITES / 100, "{received} recvmsg for {WRITES} messages");
    assert_eq!(counts, BTreeMap::from([(SYS_sendto, 1)]));
}
