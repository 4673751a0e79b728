//! A thread whose system calls are exchanged for others as it enters them, so that the kernel has them of the program.

use nix::libc::{EINTR, PTRACE_SYSCALL_INFO_ENTRY, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this, a negative number for an error.
    Returned(i64),
    /// The process ended by this signal.
    Ended(Signal),
}

/// The first thread of a process, which waits for events again and again.
pub struct Tracee(Pid);

impl Tracee {
    pub fn seize(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.cast_signed());
        ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).unwrap();
        ptrace::interrupt(pid).unwrap();
        waitpid(pid, None).unwrap();
        Self(pid)
    }

    /// Has it make this call instead of its next one. To the program it was interrupted.
    pub fn call(&self, number: i64, arguments: [u64; 6]) -> Outcome {
        let Self(pid) = *self;
        let entered = loop {
            let stopped = self.go_on().expect("it ends before the call");
            let is_entry =
                stopped && ptrace::syscall_info(pid).unwrap().op == PTRACE_SYSCALL_INFO_ENTRY;
            if is_entry {
                break ptrace::getregs(pid).unwrap();
            }
        };
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let orig_rax = number.cast_unsigned();
        ptrace::setregs(pid, user_regs_struct { orig_rax, rdi, rsi, rdx, r10, r8, r9, ..entered })
            .unwrap();
        if let Err(signal) = self.go_on() {
            return Outcome::Ended(signal);
        }
        let returned = ptrace::getregs(pid).unwrap();
        // A call that ends the process comes to its own end before that.
        if returned.rax.cast_signed() == number
            && let Err(signal) = self.go_on()
        {
            return Outcome::Ended(signal);
        }
        // As if it had made its own call, and a signal had come.
        let rax = (-i64::from(EINTR)).cast_unsigned();
        let user_regs_struct { rdi, rsi, rdx, r10, r8, r9, .. } = entered;
        ptrace::setregs(pid, user_regs_struct { rax, rdi, rsi, rdx, r10, r8, r9, ..returned })
            .unwrap();
        Outcome::Returned(returned.rax.cast_signed())
    }

    /// Runs it to the next end of a call or beginning of one; whether that is what has stopped it.
    fn go_on(&self) -> Result<bool, Signal> {
        ptrace::syscall(self.0, None).unwrap();
        match waitpid(self.0, None).unwrap() {
            WaitStatus::Signaled(_, signal, _) => Err(signal),
            WaitStatus::PtraceSyscall(_) => Ok(true),
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..) => Ok(false),
            other => panic!("{other:?}"),
        }
    }

    /// Lays a path down where it has nothing, and returns the address.
    pub fn path(&self, path: &str) -> u64 {
        self.bytes(path.as_bytes())
    }

    /// The same with these bytes, and a NUL.
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        let address = ptrace::getregs(self.0).unwrap().rsp - 8192;
        let bytes = [bytes, &[0; 8]].concat();
        for (at, word) in (0u64..).step_by(8).zip(bytes.chunks_exact(8)) {
            let word = i64::from_le_bytes(word.try_into().unwrap());
            ptrace::write(self.0, (address + at) as ptrace::AddressType, word).unwrap();
        }
        address
    }
}
