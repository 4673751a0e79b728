//! A client can hold its file's lock for as long as it likes; a device goes on all the same.

#![cfg(test)]
#![expect(unsafe_code, reason = "userfaultfd has no wrapper")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_device::{Context, Description, DmaRange, Errno, OpenMode, Vfio, VfioDevice};

const PAGE: usize = 4096;
const UFFD_API: u64 = 0xaa;
/// `UFFDIO_API`: api, features, ioctls.
const UFFDIO_API: u64 = 0xc018_aa3f;
/// `UFFDIO_REGISTER`: start, length, mode, ioctls.
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const MODE_MISSING: u64 = 1;

/// A page of this process, at this address, that whoever touches it waits for until the descriptor is closed. `None` where
/// that is not for every user: it takes CAP_SYS_PTRACE, or `vm.unprivileged_userfaultfd`.
fn slow_page() -> Option<(OwnedFd, usize)> {
    let mut api = [UFFD_API, 0, 0];
    // SAFETY: a new descriptor, a new mapping, and two ioctls that read and write arrays of the right size.
    unsafe {
        let number = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
        let fd = OwnedFd::from_raw_fd(i32::try_from(number).ok().filter(|fd| *fd >= 0)?);
        assert_eq!(libc::ioctl(fd.as_raw_fd(), UFFDIO_API, &raw mut api), 0);
        let (access, kind) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), PAGE, access, kind, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        let mut register = [page as u64, PAGE as u64, MODE_MISSING, 0];
        assert_eq!(libc::ioctl(fd.as_raw_fd(), UFFDIO_REGISTER, &raw mut register), 0);
        Some((fd, page as usize))
    }
}

/// At a reset it writes and reads its client's memory.
struct Engine(Sender<Heard>);

/// How the write and the read went, and what was read.
type Heard = (Result<(), Errno>, Result<(), Errno>, u8);

impl VfioDevice for Engine {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, cx: &mut Context) {
        let mut data = [0];
        let written = cx.dma.write(0x2000, &[7]);
        self.0.send((written, cx.dma.read(0x2000, &mut data), data[0])).unwrap();
    }
}

#[test]
fn a_client_that_holds_its_file_s_lock_keeps_no_device_waiting() {
    let Some((slow, page)) = slow_page() else { return };
    let memory = memfd_create("locked", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, 0x4000).unwrap();
    let (sender, done) = channel();
    let made = (Description::other().dma(), Box::new(Engine(sender)) as Box<_>);
    let mut device = Vfio::new().alloc(|_| Ok(made)).unwrap();
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    let range = DmaRange { address: 0, size: 0x4000, readable: true, writable: true };
    device.dma_map(range, Some((memory.try_clone().unwrap(), 0))).unwrap();

    // The client's write has taken the lock when it asks for the page.
    // SAFETY: what is at `page` is read by the kernel only.
    let client = thread::spawn(move || unsafe {
        libc::pwrite(memory.as_raw_fd(), page as *const libc::c_void, PAGE, 0)
    });
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    let mut asked = [PollFd::new(&slow, PollFlags::IN)];
    assert_eq!(poll(&mut asked, Some(&limit)), Ok(1), "the client does not get that far");

    let device = thread::spawn(move || device.reset());
    let heard = done.recv_timeout(Duration::from_secs(30));
    assert!(!client.is_finished());
    drop(slow);
    assert_eq!(client.join().unwrap(), 4096, "and the client had its write to the end");
    device.join().unwrap();
    assert_eq!(heard, Ok((Ok(()), Ok(()), 7)));
}
