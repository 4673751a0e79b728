//! The same servers in a program that counts its calls of `recvmsg`: whoever counts from outside makes a server slower, and
//! a slower one finds more each time.

// UNSAFETY: the C library's functions are replaced by others that pass on what they are given.
#![expect(unsafe_code, reason = "the C library's functions, in their place")]

use std::error::Error;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench_peers::RECEIVED;
use libc::{RTLD_NEXT, SYS_recvmsg, c_int, c_long, dlsym, msghdr, ssize_t};

/// Where the C library's own `syscall` is.
static SYSCALL: AtomicUsize = AtomicUsize::new(0);

type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

fn main() -> Result<(), Box<dyn Error>> {
    bench_peers::main()
}

/// # Safety
/// That of `recvmsg(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(socket: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promises are passed on; the result is one of the type that it has.
    unsafe { syscall(SYS_recvmsg, socket as usize, message as usize, flags as usize, 0, 0, 0) as _ }
}

/// # Safety
/// That of the system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    if number == SYS_recvmsg {
        RECEIVED.fetch_add(1, Ordering::Relaxed);
    }
    let mut own = SYSCALL.load(Ordering::Relaxed);
    if own == 0 {
        // SAFETY: the name ends with a NUL.
        own = unsafe { dlsym(RTLD_NEXT, c"syscall".as_ptr()) } as usize;
        SYSCALL.store(own, Ordering::Relaxed);
    }
    // SAFETY: it is the function of this name, which takes its arguments in registers whatever their number.
    let own = unsafe { mem::transmute::<usize, Syscall>(own) };
    // SAFETY: the caller's promises are passed on.
    unsafe { own(number, a, b, c, d, e, f) }
}
