//! The system calls of a server, counted by ptrace.

#![expect(unsafe_code, reason = "what the kernel says of a system call is a union")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark uses it too"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc::{
    PTRACE_SYSCALL_INFO_ENTRY, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_futex, SYS_restart_syscall,
};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// In the place of the number of `futex`, where it can wait.
pub const FUTEX_WAIT: i64 = -1;

/// Attaches to a process, which goes on. An error says what may forbid that, and what to do.
pub fn seize(pid: Pid, options: ptrace::Options) -> Result<(), String> {
    ptrace::seize(pid, options).map_err(|error| {
        format!(
            "ptrace of the server: {error}; a container, a tracer of this process or kernel.yama.ptrace_scope may forbid \
             it: run this outside of them, or where CAP_SYS_PTRACE is given (docker run --cap-add SYS_PTRACE)"
        )
    })
}

/// System calls that a server's loop enters while `work` runs in another thread, by number. An error if there may be no
/// tracing.
pub fn system_calls(
    server: rustix::process::Pid,
    work: impl FnOnce() + Send,
) -> Result<BTreeMap<i64, u64>, String> {
    let pid = Pid::from_raw(server.as_raw_nonzero().get());
    // The first thread of the program is the one that serves.
    seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD)?;
    ptrace::interrupt(pid).unwrap();
    let mut counts = BTreeMap::new();
    let mut entered = false;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        waitpid(pid, None).unwrap();
        ptrace::syscall(pid, None).unwrap();
        scope.spawn(|| {
            work();
            done.store(true, Ordering::SeqCst);
        });
        // After the work has been done the program says nothing more.
        let mut quiet = 0;
        while quiet < 50 {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::PtraceSyscall(_) => {
                    // Entries and exits come in turn, and the kernel tells which this is.
                    let info = ptrace::syscall_info(pid).unwrap();
                    entered = info.op == PTRACE_SYSCALL_INFO_ENTRY;
                    if entered {
                        // SAFETY: `op` says that this member of the union is the one that is filled.
                        let entry = unsafe { info.u.entry };
                        let number = match entry.nr.cast_signed() {
                            // Its kinds are its second argument's lower bits: all but a wake-up can wait.
                            number if number == SYS_futex && entry.args[1] & 0x7f != 1 => {
                                FUTEX_WAIT
                            }
                            number => number,
                        };
                        *counts.entry(number).or_default() += 1;
                    }
                    ptrace::syscall(pid, None).unwrap();
                }
                WaitStatus::StillAlive if done.load(Ordering::SeqCst) => {
                    quiet += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                WaitStatus::StillAlive => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(entered, "it waits in a system call at the end");
    ptrace::interrupt(pid).unwrap();
    waitpid(pid, None).unwrap();
    ptrace::detach(pid, None).unwrap();
    Ok(counts)
}

/// Takes the waits out of the counts: how many.
pub fn take_waits(counts: &mut BTreeMap<i64, u64>) -> u64 {
    // One that was stopped in its middle goes on as another.
    let waits = [SYS_epoll_pwait, SYS_epoll_pwait2, SYS_restart_syscall];
    waits.into_iter().filter_map(|number| counts.remove(&number)).sum()
}
