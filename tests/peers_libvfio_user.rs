#![cfg(test)]
//! What breaks libvfio-user (its HEAD of June 2026), tried on the program. L1 to L38 are the ways found there; each test
//! says its own. In all of them the next client is served and no descriptor is left.
//!
//! Left out, since the device has no such thing yet: L12 (message DMA: the devices do none), L14, L20 to L24 (dirty
//! tracking) and L30 (migration), which are refused as commands (L4 to L6); L36's states of migration and L37 (a device
//! that must be quiesced first). L18 and L25's data are refused with these commands, too.

#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod client;
#[path = "common/program.rs"]
mod program;
#[path = "common/watched.rs"]
mod watched;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use client::command::*;
use client::errno::{EACCES, EBUSY, EEXIST, EINVAL, ENOENT, ENOTSUP};
use client::{Client, QEMU_CAPABILITIES, access, count, eventfd, header, message, version, words};
use rustix::event::EventfdFlags;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, ftruncate, memfd_create};
use watched::Watched;

const CONFIG: u32 = 7;
const INTX: u32 = 0;
const MSI: u32 = 1;
const ERR: u32 = 3;
const TRIGGER_EVENTFD: u32 = 0x24;
const TRIGGER_NONE: u32 = 0x21;

fn dma(flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    let mut body = words(&[32, flags]);
    [offset, address, size].into_iter().for_each(|field| body.extend(field.to_ne_bytes()));
    body
}

fn unmap(flags: u32, address: u64, size: u64) -> Vec<u8> {
    [words(&[24, flags]), address.to_ne_bytes().into(), size.to_ne_bytes().into()].concat()
}

/// A memfd of so many bytes.
fn memory(size: u64) -> OwnedFd {
    let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, size).unwrap();
    memory
}

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
    client.call(DMA_MAP, &dma(3, 0, 0x10000, 0x1000)).ok();
    let whole = unmap(1, 0x10000, 0x1000);
    for size in 0..=24 {
        client.call(DMA_UNMAP, &whole[..size]).refused(EINVAL);
    }
    for bitmap in [(4096u64, 8u64), (0, 0), (1, u64::MAX), (u64::MAX, u64::MAX - 24 + 8)] {
        let (page, size) = (bitmap.0.to_ne_bytes(), bitmap.1.to_ne_bytes());
        let mut body = [&whole[..], &page, &size].concat();
        client.call(DMA_UNMAP, &body).refused(EINVAL);
        body[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        client.call(DMA_UNMAP, &body).refused(EINVAL);
    }
    client.call(DMA_UNMAP, &unmap(0, 0x10000, 0x1000)).ok();
    drop(client);
    watched.serves_the_next();
}

/// L4 to L6, L18, L25: memory beyond the message is read there, and sent back.
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
#[test]
fn a_client_that_says_nothing_is_let_go_after_5_s_and_holds_up_nobody() {
    let watched = Watched::serve();
    let start = Instant::now();
    let (mut silent, mut half) = (watched.connect(), watched.connect());
    half.send_raw(&message(1, VERSION, 0, &version(0, 0, QEMU_CAPABILITIES))[..30]);
    let mut user = watched.negotiated();
    silent.is_closed();
    half.is_closed();
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
    watched.serves_the_next_soon();
}

/// L13, and the sizes of L25: an endless loop there, or 4 GiB.
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
        let mut client = watched.connect();
        let json = format!(r#"{{"capabilities":{{"{name}":{value}}}}}"#);
        let reply = client.call(VERSION, &version(0, 0, &json));
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
    rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    client.set_irqs([TRIGGER_EVENTFD, MSI, 0, 1], &[], &[full.as_fd()]).ok();
    for _ in 0..3 {
        client.set_irqs([TRIGGER_NONE, MSI, 0, 1], &[], &[]).ok();
    }
    assert_eq!(count(&full), u64::MAX - 1, "full says already what there is to say");
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
        rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        fcntl_setfl(&full, OFlags::empty()).unwrap();
        client.set_irqs([TRIGGER_NONE, index, 0, 1], &[], &[]).ok();
        client.set_irqs([TRIGGER_NONE, index, 0, 0], &[], &[]).ok();
        assert_eq!(count(&full), u64::MAX - 1);
    }
    drop(client);
    watched.serves_the_next();
}

/// L16: SIGPIPE ends the server there. Anything but an eventfd is refused, as the kernel refuses it: a regular file
/// would grow with every interrupt, one on a FUSE mount would have us wait for its daemon.
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
        for flags in [TRIGGER_EVENTFD, 0x14] {
            let reply = client.set_irqs([flags, INTX, 0, 1], &[], &[fd]);
            assert_eq!((reply.flags, reply.error), (0x21, EINVAL), "{name}, flags {flags:#x}");
        }
        assert_eq!(watched.descriptors(), before, "{name}");
    }
    let line = eventfd(0);
    client.set_irqs([TRIGGER_EVENTFD, INTX, 0, 1], &[], &[line.as_fd()]).ok();
    drop(client);
    watched.serves_the_next();
}

/// L17, L19: SIGBUS there, and an assertion.
#[test]
fn memory_that_shrinks_after_it_was_mapped_does_no_harm() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let before = watched.descriptors();
    let memory = memory(0x4000);
    client.call_with_fds(DMA_MAP, &dma(3, 0, 0x10000, 0x2000), &[memory.as_fd()]).ok();
    fcntl_setfl(&memory, OFlags::APPEND | OFlags::NONBLOCK).unwrap();
    client.call_with_fds(DMA_MAP, &dma(3, 0x2000, 0x20000, 0x2000), &[memory.as_fd()]).ok();
    assert_eq!(watched.descriptors(), before, "no map keeps its descriptor");
    ftruncate(&memory, 0).unwrap();
    client.call(DEVICE_RESET, &[]).ok();
    client.read(0, 0, 8);
    client.call(DMA_UNMAP, &unmap(0, 0x10000, 0x2000)).ok();
    client.call(DMA_UNMAP, &unmap(2, 0, 0)).ok();
    client.call_with_fds(DMA_MAP, &dma(3, 0, 0x10000, 0x1000), &[memory.as_fd()]).refused(EINVAL);
    drop(client);
    watched.serves_the_next();
}

/// L26: accepted there, or refused with another errno than the spec's.
#[test]
fn a_dma_map_that_cannot_be_is_refused() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    client.call(DMA_MAP, &dma(3, 0, 0x10000, 0x2000)).ok();
    for (body, errno) in [
        (dma(3, 0, 0x10000, 0x2000), EEXIST),
        (dma(1, 0, 0x10000, 0x2000), EEXIST),
        (dma(3, 0, 0x11000, 0x1000), EEXIST),
        (dma(3, 0, 0xf000, 0x2000), EEXIST),
        (dma(3, 0, 0, 1 << 40), EEXIST),
        (dma(3, 0, 0x20000, 0), EINVAL),
        (dma(3, 0, 0x20001, 0x1000), EINVAL),
        (dma(3, 0, 0x20000, 0xfff), EINVAL),
        (dma(3, 0, u64::MAX - 0xfff, 0x2000), EINVAL),
        (dma(3, 0, 0x20000, u64::MAX - 0xfff), EINVAL),
        (dma(0, 0, 0x20000, 0x1000), EINVAL),
        (dma(7, 0, 0x20000, 0x1000), EINVAL),
        (dma(3, 0x1000, 0x20000, 0x1000), EINVAL),
    ] {
        client.call(DMA_MAP, &body).refused(errno);
    }
    let sealed = memory(0x1000);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sealed));
    let read_only = std::fs::File::open(path).unwrap();
    client
        .call_with_fds(DMA_MAP, &dma(3, 0, 0x20000, 0x1000), &[read_only.as_fd()])
        .refused(EACCES);
    // Nothing of all this was recorded.
    client.call(DMA_UNMAP, &unmap(0, 0x20000, 0x1000)).refused(ENOENT);
    client.call(DMA_MAP, &dma(3, 0, u64::MAX - 0xfff, 0x1000)).ok();
    drop(client);
    watched.serves_the_next();
}

/// L27: not enforced there.
#[test]
fn a_region_takes_what_its_flags_say_and_no_more() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for region in 0..9 {
        let info =
            client.call(DEVICE_GET_REGION_INFO, &words(&[32, 0, region, 0, 0, 0, 0, 0])).ok();
        let (flags, size) = (info.u32(4), info.u64(16));
        assert_eq!((flags & 3 == 3, flags & 3 == 0), (size != 0, size == 0), "region {region}");
        let read = client.call(REGION_READ, &access(region, 0, 1, &[]));
        if flags & 1 == 0 {
            read.refused(EINVAL)
        } else {
            drop(read.ok())
        }
        let write = client.call(REGION_WRITE, &access(region, 0, 1, &[0]));
        if flags & 2 == 0 { write.refused(EINVAL) } else { drop(write.ok()) }
    }
    drop(client);
    watched.serves_the_next();
}

/// L28, L29: one array of eventfds for all indexes there, and a range that ends too soon.
#[test]
fn taking_one_irq_index_down_leaves_the_others() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    let fired = |client: &mut Client, index, line: &OwnedFd| {
        client.set_irqs([TRIGGER_NONE, index, 0, 1], &[], &[]).ok();
        client.set_irqs([0x11, INTX, 0, 1], &[], &[]).ok(); // INTx masks itself
        count(line)
    };
    let lines = [(INTX, eventfd(0)), (ERR, eventfd(0))];
    for (index, line) in &lines {
        client.set_irqs([TRIGGER_EVENTFD, *index, 0, 1], &[], &[line.as_fd()]).ok();
    }
    // While INTx is set up MSI is not to be had, and nothing changes.
    client.set_irqs([TRIGGER_EVENTFD, MSI, 0, 1], &[], &[lines[0].1.as_fd()]).refused(EINVAL);
    client.set_irqs([TRIGGER_NONE, MSI, 0, 0], &[], &[]).ok();
    client.set_irqs([TRIGGER_NONE, INTX, 1, 0], &[], &[]).refused(EINVAL);
    for (index, line) in &lines {
        assert_eq!(fired(&mut client, *index, line), 1, "index {index}");
    }
    client.set_irqs([TRIGGER_NONE, ERR, 0, 0], &[], &[]).ok();
    client.set_irqs([TRIGGER_NONE, ERR, 0, 1], &[], &[]).refused(EINVAL);
    assert_eq!(fired(&mut client, INTX, &lines[0].1), 1);
    client.set_irqs([TRIGGER_EVENTFD, ERR, 0, 1], &[], &[lines[1].1.as_fd()]).ok();
    client.set_irqs([TRIGGER_NONE, INTX, 0, 0], &[], &[]).ok();
    client.set_irqs([TRIGGER_NONE, INTX, 0, 1], &[], &[]).refused(EINVAL);
    assert_eq!(fired(&mut client, ERR, &lines[1].1), 1);
    drop(client);
    watched.serves_the_next();
}

/// L32: the body is taken for the next header there.
#[test]
fn an_overlong_message_ends_the_connection_and_a_reply_is_skipped() {
    let watched = Watched::serve();
    for size in [(1 << 20) + 33, 1 << 21, u32::MAX] {
        let mut client = watched.negotiated();
        client.send_raw(&[header(1, REGION_WRITE, size, 0), vec![0; 100]].concat());
        client.receive().unwrap().refused(EINVAL);
        client.is_closed();
    }
    let mut client = watched.negotiated();
    client.send_raw(&message(1, REGION_WRITE, 1, &[0xff; 5000]));
    client.receive().unwrap().refused(EINVAL);
    client.still_in_step();
    drop(client);
    watched.serves_the_next();
}

/// L35: never closed there.
#[test]
fn descriptors_on_pieces_of_messages_are_closed() {
    let watched = Watched::serve();
    let file = eventfd(0);
    let eight = [file.as_fd(); 8];
    for _ in 0..20 {
        let mut client = watched.connect();
        client.send_raw_with_fds(&header(1, VERSION, 20, 0)[..8], &eight);
        drop(client);
        let mut client = watched.negotiated();
        let info = message(1, DEVICE_GET_INFO, 0, &words(&[16, 0, 0, 0]));
        client.send_raw_with_fds(&info[..8], &eight);
        client.send_raw_with_fds(&info[8..20], &eight);
        client.send_raw_with_fds(&info[20..], &eight);
        client.receive().unwrap().refused(EINVAL);
        client.still_in_step();
        client.send_raw_with_fds(&info[..8], &eight);
    }
    watched.serves_the_next();
}

/// L36: for ever refused there, RESET included, when the one before left in the middle of something.
#[test]
fn whatever_the_last_client_left_behind_a_reset_is_a_new_beginning() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    client.write(0, 4, &[0x1f]);
    client.write(0, 3, &[0x80]);
    client.write(CONFIG, 4, &[7, 4]);
    client.send_raw(&header(1, REGION_WRITE, 1000, 0));
    drop(client);
    let mut client = watched.negotiated();
    assert_eq!(client.read(CONFIG, 4, 2), [5, 4], "the device keeps its state");
    client.call(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read(CONFIG, 4, 2), [0, 0], "as PCI asks");
    assert_eq!(client.read(0, 3, 2), [0, 0], "LCR, MCR");
    drop(client);
    watched.serves_the_next();
}

/// L38: hangs in connect there, or is refused.
#[test]
fn a_second_client_is_told_at_once_that_there_is_one() {
    let watched = Watched::serve();
    let mut client = watched.negotiated();
    for _ in 0..100 {
        let start = Instant::now();
        let mut second = watched.connect();
        second.call(VERSION, &version(0, 0, QEMU_CAPABILITIES)).refused(EBUSY);
        second.is_closed();
        assert!(start.elapsed() < Duration::from_secs(1), "after {:?}", start.elapsed());
    }
    client.still_in_step();
    drop(client);
    watched.serves_the_next();
}
