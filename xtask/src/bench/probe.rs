//! Runs in the guest, as a static program of its own: measures one access and one transfer, and prints nanoseconds.
//!
//!     probe register PORT COUNT    one read of I/O port PORT, the mean of COUNT
//!     probe write PATH BYTES       writes BYTES to a tty: nothing is printed, it is the far end that measures
//!     probe read PATH BYTES        asks for BYTES by one byte, and reads them from a tty: nanoseconds a byte
//!     probe memory BAR BYTES       BYTES stored to a BAR (its file in sysfs), then loaded from it: two numbers

// UNSAFETY: an I/O port is read by an instruction, which the kernel has to allow by a system call; a BAR is memory that
// has to be mapped.

use std::arch::asm;
use std::env::args;
use std::fs::{File, OpenOptions};
use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = args().skip(1).collect();
    let [what, of, count] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        panic!("three arguments");
    };
    let count: u32 = count.parse().expect("a number");
    match what {
        "register" => {
            let port = u16::from_str_radix(of.trim_start_matches("0x"), 16).expect("a port");
            println!("{}", register(port, count));
        }
        "write" => tty(of).write_all(&data(count as usize)).expect("bytes go out"),
        "read" => println!("{}", read(of, count as usize)),
        "memory" => {
            let (stored, loaded) = memory(of, count as usize);
            println!("{stored} {loaded}");
        }
        _ => panic!("register, write, read or memory"),
    }
}

fn register(port: u16, count: u32) -> u128 {
    const SYS_IOPERM: u64 = 173;
    let failed: u64;
    // SAFETY: a system call that touches no memory; it gives this process the one I/O port.
    unsafe {
        asm!("syscall", inout("rax") SYS_IOPERM => failed, in("rdi") u64::from(port), in("rsi") 1, in("rdx") 1,
            out("rcx") _, out("r11") _);
    }
    assert_eq!(failed, 0, "ioperm");
    let start = Instant::now();
    for _ in 0..count {
        // SAFETY: a UART's scratch register: reading it changes nothing.
        unsafe { asm!("in al, dx", in("dx") port, out("al") _, options(nostack)) };
    }
    start.elapsed().as_nanos() / u128::from(count)
}

/// What goes over the line; the far end has the same.
fn data(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn tty(path: &str) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("the tty opens")
}

fn read(path: &str, bytes: usize) -> f64 {
    let mut tty = tty(path);
    let mut received = vec![0; bytes];
    let start = Instant::now();
    tty.write_all(b"?").expect("a byte goes out");
    tty.read_exact(&mut received).expect("bytes come in");
    let elapsed = start.elapsed();
    assert!(received == data(bytes), "what came in is not what was sent");
    elapsed.as_nanos() as f64 / bytes as f64
}

unsafe extern "C" {
    fn mmap(addr: *mut c_void, length: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut c_void;
}

fn memory(path: &str, bytes: usize) -> (u128, u128) {
    const READ_WRITE: i32 = 0x3;
    const SHARED: i32 = 0x1;
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the BAR opens");
    // SAFETY: a new mapping, which lies wherever the kernel puts it.
    let start = unsafe { mmap(ptr::null_mut(), bytes, READ_WRITE, SHARED, file.as_raw_fd(), 0) };
    assert_ne!(start as isize, -1, "mmap");
    let words = start.cast::<u64>();
    // Once before, so that every page is there.
    store(words, bytes / 8, 0);
    // Stores are so much faster than loads that one pass would measure the noise.
    const PASSES: u32 = 16;
    let begin = Instant::now();
    for _ in 0..PASSES {
        store(words, bytes / 8, 0x5555_5555_5555_5555);
    }
    let stored = begin.elapsed().as_nanos() / u128::from(PASSES);
    let begin = Instant::now();
    let mut sum = 0u64;
    for at in 0..bytes / 8 {
        // SAFETY: inside of the mapping.
        sum = sum.wrapping_add(unsafe { words.add(at).read_volatile() });
    }
    let loaded = begin.elapsed().as_nanos();
    assert_eq!(sum, (bytes as u64 / 8).wrapping_mul(0x5555_5555_5555_5555), "what was stored is loaded");
    (stored, loaded)
}

fn store(words: *mut u64, count: usize, value: u64) {
    for at in 0..count {
        // SAFETY: inside of the mapping.
        unsafe { words.add(at).write_volatile(value) };
    }
}
