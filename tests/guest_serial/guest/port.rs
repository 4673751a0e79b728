//! Runs in the guest, as a static program of its own: what no busybox does with a tty.
//!
//!     port break       sends a break by standard input, after what has been written (tcsendbreak)
//!     port counts      what the driver has counted of it since the boot (TIOCGICOUNT): "cts 1 dsr 0 ..."

// UNSAFETY: requests to a tty have no other way than by C.

use std::io::{Error, stdin};
use std::os::fd::AsRawFd;

/// Of `asm-generic/ioctls.h`.
const TIOCGICOUNT: u64 = 0x545d;

/// The fields of `struct serial_icounter_struct`, in its order.
const COUNTS: [&str; 11] = [
    "cts", "dsr", "rng", "dcd", "rx", "tx", "frame", "overrun", "parity", "brk", "buf_overrun",
];

unsafe extern "C" {
    fn tcsendbreak(fd: i32, duration: i32) -> i32;
    fn ioctl(fd: i32, request: u64, ...) -> i32;
}

fn main() {
    let tty = stdin().as_raw_fd();
    match std::env::args().nth(1).as_deref() {
        Some("break") => {
            // SAFETY: no memory is handed over.
            let status = unsafe { tcsendbreak(tty, 0) };
            assert_eq!(status, 0, "{}", Error::last_os_error());
        }
        Some("counts") => {
            let mut values = [0i32; 20]; // with the fields that are reserved
            // SAFETY: the kernel writes the structure, which is 20 numbers long, and keeps nothing.
            let status = unsafe { ioctl(tty, TIOCGICOUNT, values.as_mut_ptr()) };
            assert_eq!(status, 0, "{}", Error::last_os_error());
            let pairs = COUNTS.iter().zip(values).map(|(name, value)| format!("{name} {value}"));
            println!("{}", pairs.collect::<Vec<_>>().join(" "));
        }
        _ => panic!("break or counts"),
    }
}
