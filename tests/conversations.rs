#![cfg(test)]
//! What real clients say to the program, as `conversations/*.txt` has it: the recordings are of today's clients, and the
//! program answers them as it did. `mutations.rs` makes nonsense of them.
//!
//! With MDEV_USER_RECORD set the recordings are written anew, QEMU's by booting a guest:
//! `MDEV_USER_RECORD=1 cargo test --test conversations`.

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/conversation.rs"]
mod conversation;
#[path = "common/program.rs"]
mod program;
#[path = "common/recorder.rs"]
mod recorder;

use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use client::{Client, eventfd};
use conversation::{Samples, parse};
use guest_kit::{Guest, Tools, vfio_user_device};
use program::Program;
use recorder::record;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// Lines of a recording at most. QEMU's has 384 from the first to the last.
const LINES: usize = 700;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conversations").join(name)
}

fn records() -> bool {
    std::env::var_os("MDEV_USER_RECORD").is_some()
}

/// All that was said, once the client has left.
fn lines(from: Receiver<String>) -> String {
    from.into_iter().take(LINES).map(|line| line + "\n").collect()
}

#[test]
fn the_vfio_user_crates_client_says_what_was_recorded() {
    let program = Program::serve("mtty-1");
    let path = program.directory().join("recorder.sock");
    let recording = record(&path, &program.path());
    let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, 0x4000).unwrap();
    let line = eventfd(0);
    let mut client = vfio_user::Client::new(&path).unwrap();
    for index in 0..4 {
        client.get_irq_info(index).unwrap();
    }
    client.dma_map(0, 0, 0x2000, memory.as_raw_fd()).unwrap();
    client.dma_map(0x2000, 0x10_0000, 0x2000, memory.as_raw_fd()).unwrap();
    client.set_irqs(0, 0x24, 0, 1, &[line.as_raw_fd()]).unwrap();
    let mut data = [0; 4];
    client.region_read(7, 0, &mut data).unwrap();
    client.region_write(7, 0x10, &[0xff; 4]).unwrap();
    client.region_write(7, 4, &[1, 0]).unwrap();
    for (offset, byte) in [(4, 0x0b), (1, 0x02), (2, 0x07), (0, b'm')] {
        client.region_write(0, offset, &[byte]).unwrap();
    }
    client.region_read(0, 5, &mut data[..1]).unwrap();
    client.set_irqs(0, 0x11, 0, 1, &[]).unwrap();
    client.set_irqs(0, 0x21, 0, 0, &[]).unwrap();
    client.set_irqs(1, 0x24, 0, 1, &[line.as_raw_fd()]).unwrap();
    client.reset().unwrap();
    client.dma_unmap(0, 0x2000).unwrap();
    client.dma_unmap(0x10_0000, 0x2000).unwrap();
    client.shutdown().unwrap();
    drop(client);
    let found = lines(recording);
    if records() {
        std::fs::write(file("vfio_user.txt"), &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(file("vfio_user.txt")).unwrap());
}

#[test]
fn qemu_can_be_recorded_anew() {
    if records() {
        let program = Program::serve("mtty-1");
        let path = program.directory().join("recorder.sock");
        let recording = record(&path, &program.path());
        let tools = Tools::prepare().unwrap();
        let builder = Guest::builder(&tools).device(&vfio_user_device(&path));
        let mut guest = builder.boot().unwrap();
        guest.power_off(Duration::from_secs(30)).unwrap();
        std::fs::write(file("qemu.txt"), lines(recording)).unwrap();
    }
    // What makes it worth having: all that QEMU says while a guest boots and its driver takes the card.
    let said = parse(&std::fs::read_to_string(file("qemu.txt")).unwrap());
    let of = |command| said.iter().filter(|it| it.command() == command).count();
    let counts: Vec<_> = [1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 15].map(|it| (it, of(it))).into();
    println!("{} messages: {counts:?}", said.len());
    assert_eq!(of(1), 1);
    for (command, least) in
        [(2, 2), (3, 1), (4, 1), (5, 7), (7, 1), (8, 2), (9, 20), (10, 20), (13, 1)]
    {
        assert!(of(command) >= least, "{counts:?}");
    }
}

#[test]
fn every_conversation_is_answered_as_it_was() {
    let samples = Samples::new();
    let mut files: Vec<_> =
        std::fs::read_dir(file("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    let program = Program::serve("mtty-1");
    for path in files {
        let mut client = Client::connect(&program.path());
        for said in parse(&std::fs::read_to_string(&path).unwrap()) {
            client.send_raw_with_fds(&said.bytes, &samples.of(&said.fds));
            if let Some(errno) = said.answer {
                let reply =
                    client.receive().unwrap_or_else(|| panic!("{}: {said:x?}", path.display()));
                assert_eq!(
                    (reply.id, reply.error),
                    (said.id(), errno),
                    "{}: {said:x?}",
                    path.display()
                );
            }
        }
        client.still_in_step();
        // Closing is not enough: another test may have just forked a child, which holds a copy of the descriptor until it
        // executes its program, and the next client would find the device busy.
        client.socket.shutdown(Shutdown::Both).unwrap();
    }
}
