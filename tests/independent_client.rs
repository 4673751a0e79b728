#![cfg(test)]
//! A client that others wrote drives the program: `vfio_user::Client` of rust-vmm, which Cloud Hypervisor uses, 0.1.7.
//!
//! What that client does not do, and so nothing here shows:
//! - It reads replies of the size that it expects and looks at neither flags nor errno: a refusal of a command whose
//!   reply has a body leaves it waiting for bytes, any other looks like a success. Hence the deadline of each test.
//! - It sends neither posted writes nor REGION_WRITE_MULTI nor any DMA_UNMAP of all, and `DmaUnmapFlags` has the wrong
//!   bits.
//! - `resettable()` says the opposite of what the device says (`!=` for `==` at lib.rs:561).
//! - GET_INFO goes out with an argsz that counts the header; ours takes that as room to spare.

#[path = "common/program.rs"]
mod program;
#[path = "../crates/vfio-user-server/tests/common/client.rs"]
mod raw;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::channel;
use std::time::Duration;

use program::Program;
use raw::{count, eventfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_user::{Client, Error};

const CONFIG: u32 = 7;
const INTX: u32 = 0;
const MSI: u32 = 1;

/// Runs a test against a program of its own, in 10 s at most.
#[track_caller]
fn drive(kind: &str, test: impl FnOnce(&Program) -> Result<(), Error> + Send + 'static) {
    let program = Program::serve(kind);
    let (done, wait) = channel();
    std::thread::spawn(move || {
        let result = test(&program);
        done.send((result, program)).unwrap();
    });
    let (result, program) = wait.recv_timeout(Duration::from_secs(10)).expect("it failed or hangs");
    result.unwrap();
    drop(program);
}

fn read<const N: usize>(client: &mut Client, region: u32, offset: u64) -> Result<[u8; N], Error> {
    let mut data = [0xaa; N];
    client.region_read(region, offset, &mut data)?;
    Ok(data)
}

/// What an eventfd counts, once there is something to count.
fn count_soon(eventfd: &OwnedFd) -> u64 {
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    poll(&mut [PollFd::new(eventfd, PollFlags::IN)], Some(&patience)).unwrap();
    count(eventfd)
}

#[test]
fn it_negotiates_and_learns_what_the_device_is() {
    drive("mtty-2", |program| {
        let mut client = Client::new(&program.path())?;
        for (region, size, flags) in
            [(0, 8, 3), (1, 8, 3), (2, 0, 0), (5, 0, 0), (6, 0, 0), (CONFIG, 256, 3), (8, 0, 0)]
        {
            let found = client.region(region).unwrap();
            assert_eq!((found.size, found.flags), (size, flags), "region {region}");
            assert!(found.file_offset.is_none() && found.sparse_areas.is_empty());
        }
        assert!(client.region(9).is_none());
        assert!(!client.resettable(), "which is to say that it is, see above");
        for (index, flags, vectors) in [(INTX, 7, 1), (MSI, 9, 1), (2, 9, 0), (3, 9, 1)] {
            let info = client.get_irq_info(index)?;
            assert_eq!((info.index, info.count), (index, vectors));
            if vectors != 0 {
                assert_eq!(info.flags, flags, "index {index}");
            }
        }
        client.shutdown()
    });
}

#[test]
fn it_reads_and_writes_config_space_and_registers() {
    drive("mtty-1", |program| {
        let mut client = Client::new(&program.path())?;
        assert_eq!(read(&mut client, CONFIG, 0)?, [0x48, 0x43, 0x53, 0x32]);
        assert_eq!(read(&mut client, CONFIG, 8)?, [0x10, 0x02, 0x00, 0x07], "revision and class");
        client.region_write(CONFIG, 0x10, &[0xff; 4])?;
        assert_eq!(read(&mut client, CONFIG, 0x10)?, [0xf9, 0xff, 0xff, 0xff], "8 bytes of I/O");

        assert_eq!(read(&mut client, 0, 5)?, [0x60], "LSR: nothing received, all sent");
        client.region_write(0, 7, &[0x5a])?;
        assert_eq!(read(&mut client, 0, 7)?, [0x5a], "scratch");
        client.region_write(0, 2, &[0x07])?; // FCR: FIFOs on and empty
        client.region_write(0, 0, b"m")?;
        assert_eq!(read(&mut client, 0, 5)?, [0x61], "LSR: the plug brought it back");
        assert_eq!(&read(&mut client, 0, 0)?, b"m");
        assert_eq!(read::<8>(&mut client, 0, 0)?[7], 0x5a, "all registers at once");
        Ok(())
    });
}

#[test]
fn it_maps_and_unmaps_memory() {
    drive("mtty-1", |program| {
        let mut client = Client::new(&program.path())?;
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 0x4000).unwrap();
        for _ in 0..3 {
            client.dma_map(0, 0, 0x2000, memory.as_raw_fd())?;
            client.dma_map(0x2000, 0x10_0000, 0x2000, memory.as_raw_fd())?;
            client.dma_unmap(0, 0x2000)?;
            client.dma_unmap(0x10_0000, 0x2000)?;
        }
        assert_eq!(read(&mut client, 0, 5)?, [0x60], "still in step");
        Ok(())
    });
}

#[test]
fn it_gets_interrupts_by_eventfd() {
    drive("mtty-1", |program| {
        let mut client = Client::new(&program.path())?;
        let line = eventfd(0);
        client.set_irqs(INTX, 0x24, 0, 1, &[line.as_raw_fd()])?;
        client.region_write(0, 4, &[0x0b])?; // MCR: DTR, RTS, OUT2
        client.region_write(0, 1, &[0x02])?; // IER: transmitter empty
        assert_eq!(count(&line), 1);
        assert_eq!(
            read(&mut client, 0, 2)?,
            [0x02],
            "IIR: transmitter empty, which acknowledges it"
        );
        client.region_write(0, 0, b"x")?;
        assert_eq!(count(&line), 0, "it has masked itself");
        client.set_irqs(INTX, 0x11, 0, 1, &[])?;
        // A driver that has read IIR is given the time to read it again.
        assert_eq!(count_soon(&line), 1, "unmasked, it fires while the level holds");
        client.set_irqs(INTX, 0x21, 0, 0, &[])?;

        let message = eventfd(0);
        client.set_irqs(MSI, 0x24, 0, 1, &[message.as_raw_fd()])?;
        client.set_irqs(MSI, 0x21, 0, 1, &[])?;
        assert_eq!((count(&message), count(&line)), (1, 0));
        Ok(())
    });
}

#[test]
fn a_reset_brings_the_registers_back_and_keeps_the_eventfds() {
    drive("mtty-1", |program| {
        let mut client = Client::new(&program.path())?;
        let line = eventfd(0);
        client.set_irqs(INTX, 0x24, 0, 1, &[line.as_raw_fd()])?;
        client.region_write(0, 3, &[0x1b])?;
        client.reset()?;
        assert_eq!(read(&mut client, 0, 3)?, [0], "LCR");
        client.set_irqs(INTX, 0x21, 0, 1, &[])?;
        assert_eq!(count(&line), 1);
        Ok(())
    });
}

#[test]
fn it_comes_back_to_a_device_that_kept_its_state() {
    drive("mtty-2", |program| {
        for round in 0..20 {
            let mut client = Client::new(&program.path())?;
            if round > 0 {
                assert_eq!(read(&mut client, 1, 7)?, [round - 1]);
            }
            client.region_write(1, 7, &[round])?;
            client.shutdown()?;
        }
        Ok(())
    });
}
