//! Signals an eventfd without ever waiting, as the kernel's own users of one do.
//!
//! `write` waits while the counter is full, unless `O_NONBLOCK` is set, and that flag belongs to the open file, which a
//! client shares and can change at any moment. The kernel's `eventfd_signal` saturates instead. One way to it is open to a
//! process: the end of an asynchronous read (`io_submit` with `IOCB_FLAG_RESFD`). Here it is a read of 0 bytes from the
//! eventfd itself, which has failed when the call returns, as one is read 8 bytes at a time.

// UNSAFETY: the four system calls have no wrapper in rustix or std.
#![expect(unsafe_code, reason = "see above")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::Errno;

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_FLAG_RESFD: u32 = 1;
/// Results that may wait to be taken.
const WAITING: usize = 32;

/// `struct iocb` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    /// `key` and `rw_flags`, whose order depends on the byte order; both 0.
    key_and_flags: [u32; 2],
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    result_eventfd: u32,
}

/// `struct io_event`: all numbers, none of which is looked at.
type IoEvent = [u64; 4];

/// A context for asynchronous I/O.
#[derive(Debug)]
pub(super) struct Aio {
    context: libc::c_ulong,
}

impl Aio {
    /// `None` where the system has none to give: it can lack the feature, or have given all (`fs.aio-max-nr`).
    pub(super) fn new() -> Option<Self> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: io_setup writes one aio_context_t, an unsigned long, to where the second argument points.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, WAITING, &raw mut context) };
        (result == 0).then_some(Self { context })
    }

    /// Adds 1 to the counter, or leaves it at its most.
    ///
    /// # Errors
    /// `EINVAL` for a descriptor that is not an eventfd.
    pub(super) fn signal(&self, eventfd: BorrowedFd<'_>) -> Result<(), Errno> {
        let fd = eventfd.as_raw_fd().unsigned_abs();
        let request = Iocb {
            opcode: IOCB_CMD_PREAD,
            file: fd,
            flags: IOCB_FLAG_RESFD,
            result_eventfd: fd,
            ..Iocb::default()
        };
        match self.submit(&request) {
            Err(Errno::AGAIN) => {
                self.forget_results();
                self.submit(&request)
            }
            done => done,
        }
    }

    fn submit(&self, request: &Iocb) -> Result<(), Errno> {
        let requests: [*const Iocb; 1] = [request];
        // SAFETY: `requests` holds one pointer to an iocb, and both outlive the call. The read is of 0 bytes, so that its
        // null buffer is not touched, then or later.
        let result =
            unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1usize, requests.as_ptr()) };
        if result == 1 { Ok(()) } else { Err(last_error()) }
    }

    /// Makes room for results, which say nothing.
    fn forget_results(&self) {
        let mut events: [IoEvent; WAITING] = [[0; 4]; WAITING];
        // SAFETY: at most WAITING events of 32 bytes are written to `events`, which has room for as many; a null time-out
        // goes with a least number of 0, which waits for nothing.
        unsafe {
            let timeout: *const libc::timespec = ptr::null();
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                0usize,
                WAITING,
                events.as_mut_ptr(),
                timeout,
            )
        };
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: the context is this value's own, and nothing of it is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}
