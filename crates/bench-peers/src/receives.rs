//! How often this program calls `recvmsg`: whoever counts from outside makes a server slower, and a slower one finds more
//! each time.

// UNSAFETY: the C library's function is replaced by the system call that it makes.
#![expect(unsafe_code, reason = "the C library's function, in its place")]

use std::sync::atomic::{AtomicU64, Ordering};

use libc::{SYS_recvmsg, c_int, msghdr, ssize_t, syscall};

static RECEIVES: AtomicU64 = AtomicU64::new(0);

/// How often it was called so far.
pub fn receives() -> u64 {
    RECEIVES.load(Ordering::Relaxed)
}

/// # Safety
/// That of `recvmsg(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(socket: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    RECEIVES.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promises are passed on; the result is one of the type that it has.
    unsafe { syscall(SYS_recvmsg, socket, message, flags) as ssize_t }
}
