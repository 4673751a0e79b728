#![cfg(test)]
//! What breaks libvfio-user (its HEAD of June 2026), tried on the program: memory errors, waiting for ever, signals. L1 to
//! L19 are the ways found there; each test says its own. In all of them the next client is served and no descriptor is
//! left.
//!
//! Left out, since the device has no such thing yet: L12 (message DMA: the devices do none) and L14 (dirty tracking),
//! which is refused as a command (with L4 to L6).

#[path = "common/bodies.rs"]
mod bodies;
#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;
#[path = "common/watched.rs"]
mod watched;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bodies::*;
use client::command::*;
use client::errno::{EBUSY, EINVAL, ENOTSUP};
use client::{QEMU_CAPABILITIES, access, count, eventfd, header, message, version, words};
use rustix::event::EventfdFlags;
use rustix::fs::{OFlags, fcntl_setfl, ftruncate};
use watched::{Watched, within_5_s};

/// L1, L2, L7, L31: overflows of stack and heap there, and refusals of what a guest may well write.
#[test]
fn config_space_takes_writes_of_any_width_at_any_offset() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for offset in 0..256 {
        for width in [1, 2, 3, 4, 8, 24, 256 - offset] {
            let fits = offset + width <= 256;
            let body = access(CONFIG, offset, width as u32, &vec![0xff; width as usize]);
            let reply = client.call(REGION_WRITE, &body);
            if fits { drop(reply.ok()) } else { reply.refused(EINVAL) }
        }
    }
    // Identity and what follows the header stand; the command register has taken what it can hold.
    let config = client.read(CONFIG, 0, 256);
    assert_eq!(config[..4], [0x48, 0x43, 0x53, 0x32]);
    assert_eq!(config[0x10..0x14], [0xf9, 0xff, 0xff, 0xff], "BAR 0: 8 bytes of I/O");
    assert_eq!(&config[0x60..0x6f], b"PCI Serial/UART");
    client.write(CONFIG, 0x12, &[0x34]);
    assert_eq!(client.read(CONFIG, 0x10, 4), [0xf9, 0xff, 0x34, 0xff], "a byte of a BAR alone");
    drop(client);
    watched.serves_the_next();
}

/// L3, L8: memory beyond the message is read there, and memory of the heap sent back.
#[test]
fn an_unmap_that_is_too_short_or_wants_dirty_pages_is_refused_bare() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    client.call(DMA_MAP, &map(3, 0, 0x10000, 0x1000)).ok();
    let whole = unmap(1, 0x10000, 0x1000);
    for size in 0..=24 {
        client.call(DMA_UNMAP, &whole[..size]).refused(EINVAL);
    }
    for (page, size) in [(4096, 8), (0, 0), (1, u64::MAX), (u64::MAX, u64::MAX - 24 + 8)] {
        let mut body = [&whole[..], &bitmap(page, size)].concat();
        client.call(DMA_UNMAP, &body).refused(EINVAL);
        body[..4].fill(0xff); // argsz
        client.call(DMA_UNMAP, &body).refused(EINVAL);
    }
    client.call(DMA_UNMAP, &unmap(0, 0x10000, 0x1000)).ok();
    drop(client);
    watched.serves_the_next();
}

/// L4 to L6, L18, L25: memory beyond the message is read there, and sent back.
/// Conformance: B18.
#[test]
fn features_and_migration_data_are_refused_bare_whatever_follows() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for feature in 0..16 {
        for operation in 1..8 {
            for data in [0, 1, 4, 8, 16, 24] {
                let body = [words(&[8, operation << 16 | feature]), vec![0; data]].concat();
                client.call(DEVICE_FEATURE, &body).refused(ENOTSUP);
            }
        }
    }
    for command in [MIG_DATA_READ, MIG_DATA_WRITE] {
        client.call(command, &words(&[u32::MAX, u32::MAX])).refused(ENOTSUP);
    }
    client.still_in_step();
    drop(client);
    watched.serves_the_next();
}

/// L9, L33, L34: waited for in the read there, or taken for whole.
#[test]
fn what_comes_in_pieces_is_put_together_and_nobody_waits_for_the_rest() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    // 512 KiB to a region of 8 bytes: refused, after all of it has come.
    let long = message(1, REGION_WRITE, 0, &access(0, 0, 1 << 19, &vec![0; 1 << 19]));
    client.send_raw(&long);
    client.receive().unwrap().refused(EINVAL);
    client.still_in_step();
    let short = message(2, REGION_READ, 0, &access(CONFIG, 0, 4, &[]));
    for cut in 1..short.len() {
        client.send_raw(&short[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        client.send_raw(&short[cut..]);
        assert_eq!(client.receive().unwrap().ok().body[16..], [0x48, 0x43, 0x53, 0x32]);
    }
    client.send_raw(&header(3, REGION_WRITE, 1000, 0));
    let mut second = watched.connect();
    second.call(VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EBUSY);
    client.send_raw(&access(0, 7, 968, &[0; 968]));
    client.receive().unwrap().refused(EINVAL);
    client.still_in_step();
    drop((client, second));
    watched.serves_the_next();
}

/// L10: blocks in the handshake there.
/// Conformance: B5.
#[test]
fn a_client_that_says_nothing_is_let_go_after_5_s_and_holds_up_nobody() {
    let watched = Watched::serve();
    let start = Instant::now();
    let (mut silent, mut half) = (watched.connect(), watched.connect());
    half.send_raw(&message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES))[..30]);
    let mut user = watched.negotiated();
    silent.is_closed_within(Duration::from_secs(10));
    half.is_closed_within(Duration::from_secs(10));
    let after = start.elapsed().as_secs_f32();
    assert!((4.9..9.0).contains(&after), "after {after} s");
    // Its user may be silent for as long as it likes.
    user.still_in_step();
    drop(user);
    watched.serves_the_next();
}

/// L11: blocks in the send there.
#[test]
fn a_client_that_reads_nothing_holds_up_nobody() {
    let watched = Watched::serve();
    let before = watched.resident();
    let mut deaf = watched.negotiated();
    deaf.socket.set_nonblocking(true).unwrap();
    let one = message(1, REGION_READ, 0, &access(CONFIG, 0, 256, &[]));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        let _ = deaf.socket.write(&one);
    }
    let mut second = watched.connect();
    second.call(VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EBUSY);
    let ticks = watched.ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(watched.ticks() - ticks <= 2, "it does not spin while it cannot send");
    let growth = watched.resident().saturating_sub(before);
    assert!(growth < 4096, "{growth} KiB more than before");
    drop(deaf);
    watched.serves_the_next();
}

/// L13, and the sizes of L25: an endless loop there, or 4 GiB.
/// Conformance: B17.
#[test]
fn capabilities_out_of_all_proportion_do_no_harm() {
    let watched = Watched::serve();
    for (name, value, is_good) in [
        ("max_data_xfer_size", "0", true),
        ("max_data_xfer_size", "1", true),
        ("max_data_xfer_size", "18446744073709551615", true),
        ("max_data_xfer_size", "18446744073709551616", false),
        ("max_data_xfer_size", "-1", false),
        ("max_data_xfer_size", "1e400", false),
        ("max_msg_fds", "0", true),
        ("max_msg_fds", "1024", true),
        ("max_msg_fds", "1025", false),
        ("max_msg_fds", "-1", false),
        ("max_dma_maps", "-1", false),
        ("pgsizes", "0", false),
        ("migration", r#"{"pgsize":0}"#, false),
        ("migration", r#"{"pgsize":-4096}"#, false),
    ] {
        let json = format!(r#"{{"capabilities":{{"{name}":{value}}}}}"#);
        let (mut client, reply) = watched.proposed(&version(0, 0, &json));
        if is_good {
            reply.ok();
            client.still_in_step();
        } else {
            reply.refused(EINVAL);
            client.is_closed();
        }
    }
    watched.serves_the_next();
}

/// L15: blocks there.
#[test]
fn an_eventfd_that_blocks_and_is_full_holds_up_nobody() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let full = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    fill(&full);
    client.set_irqs([TRIGGER_EVENTFD, MSI, 0, 1], &[], &[full.as_fd()]).ok();
    for _ in 0..3 {
        client.set_irqs([TRIGGER_NONE, MSI, 0, 1], &[], &[]).ok();
    }
    assert!(count(&full) >= u64::MAX - 1, "full says already what there is to say");
    client.set_irqs([TRIGGER_NONE, MSI, 0, 1], &[], &[]).ok();
    assert_eq!(count(&full), 1);
    drop(client);
    watched.serves_the_next();
}

/// L15, by a client that means it: O_NONBLOCK belongs to the open file, so whoever shares it can take it off again.
#[test]
fn an_eventfd_that_is_made_to_block_afterwards_holds_up_nobody() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for index in [MSI, INTX] {
        let full = eventfd(0);
        client.set_irqs([TRIGGER_EVENTFD, index, 0, 1], &[], &[full.as_fd()]).ok();
        fill(&full);
        fcntl_setfl(&full, OFlags::empty()).unwrap();
        client.set_irqs([TRIGGER_NONE, index, 0, 1], &[], &[]).ok();
        client.set_irqs([TRIGGER_NONE, index, 0, 0], &[], &[]).ok();
        assert!(count(&full) >= u64::MAX - 1);
    }
    drop(client);
    watched.serves_the_next();
}

/// L16: SIGPIPE ends the server there. Anything but an eventfd is refused, as the kernel refuses it: a regular file
/// would grow with every interrupt, one on a FUSE mount would have us wait for its daemon.
/// Conformance: B12.
#[test]
fn an_interrupt_goes_to_an_eventfd_and_to_nothing_else() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let before = watched.descriptors();
    let (read_end, pipe) = std::io::pipe().unwrap();
    let (peer, socket) = UnixStream::pair().unwrap();
    drop((read_end, peer));
    let file = memory(0);
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    let random = std::fs::File::open("/dev/urandom").unwrap();
    for (name, fd) in [
        ("a pipe that nobody reads", pipe.as_fd()),
        ("a socket without a peer", socket.as_fd()),
        ("a memfd", file.as_fd()),
        ("/dev/null", null.as_fd()),
        ("/dev/urandom", random.as_fd()),
    ] {
        for flags in [TRIGGER_EVENTFD, UNMASK_EVENTFD] {
            let reply = client.set_irqs([flags, INTX, 0, 1], &[], &[fd]);
            assert_eq!((reply.flags, reply.error), (0x21, EINVAL), "{name}, flags {flags:#x}");
        }
        within_5_s(name, || watched.descriptors() == before);
    }
    let line = eventfd(0);
    client.set_irqs([TRIGGER_EVENTFD, INTX, 0, 1], &[], &[line.as_fd()]).ok();
    drop(client);
    watched.serves_the_next();
}

/// L17, L19: SIGBUS there, and an assertion.
/// Conformance: B13.
#[test]
fn memory_that_shrinks_after_it_was_mapped_does_no_harm() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let before = watched.descriptors();
    let memory = memory(0x4000);
    client.call_with_fds(DMA_MAP, &map(3, 0, 0x10000, 0x2000), &[memory.as_fd()]).ok();
    fcntl_setfl(&memory, OFlags::APPEND | OFlags::NONBLOCK).unwrap();
    client.call_with_fds(DMA_MAP, &map(3, 0x2000, 0x20000, 0x2000), &[memory.as_fd()]).ok();
    within_5_s("no map keeps its descriptor", || watched.descriptors() == before);
    ftruncate(&memory, 0).unwrap();
    client.call(DEVICE_RESET, &[]).ok();
    client.read(0, 0, 8);
    client.call(DMA_UNMAP, &unmap(0, 0x10000, 0x2000)).ok();
    client.call(DMA_UNMAP, &unmap(2, 0, 0)).ok();
    client.call_with_fds(DMA_MAP, &map(3, 0, 0x10000, 0x1000), &[memory.as_fd()]).refused(EINVAL);
    drop(client);
    watched.serves_the_next();
}
