//! Runs in the guest, as a static program of its own: measures one access and one transfer, and prints nanoseconds.
//!
//!     probe register PORT COUNT    one read of I/O port PORT, the mean of COUNT
//!     probe tty PATH BYTES         BYTES written to a tty that sends them back, until all have been read

// UNSAFETY: an I/O port is read by an instruction, which the kernel has to allow by a system call.

use std::arch::asm;
use std::env::args;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::thread;
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
        "tty" => println!("{}", tty(of, count as usize)),
        _ => panic!("register or tty"),
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

fn tty(path: &str, bytes: usize) -> u128 {
    let mut state = 1u32;
    let sent: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(bytes)
    .collect();
    let open = || -> File { OpenOptions::new().read(true).write(true).open(path).expect("the tty opens") };
    let (mut from, mut to) = (open(), open());
    let mut received = vec![0; bytes];
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| to.write_all(&sent).expect("bytes go out"));
        from.read_exact(&mut received).expect("bytes come back");
    });
    let elapsed = start.elapsed();
    assert!(sent == received, "what came back is not what was sent");
    elapsed.as_nanos()
}
