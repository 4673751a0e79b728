//! User instructions of an access: the server is led through them one by one.
//!
//! Nothing has to be installed for that, and the clock that a process reads without a system call counts too. valgrind's
//! callgrind, which does not see into that and slows a thread down only when it runs, is the tool to find out which function
//! they are in: `docs/performance.md` says how.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::message::Exchange;
use super::{PEERS, POLLING, Peer};
use crate::report::Result;

/// Accesses that are counted together. The part of the last one after its answer is missing.
const ACCESSES: u32 = 200;
/// A server that is led takes milliseconds for an access: it is to poll for as long as that, and finds each message at its
/// first look.
const PATIENT: (&str, &[&str]) = ("ours, polling", &["ours", "--poll-us", "1000000"]);

/// Those of a register read by the peer at this place of the list.
pub fn of_a_read(program: &Path, at: usize) -> Result<f64> {
    let peer = if at == POLLING { Some(&PATIENT) } else { PEERS.get(at) };
    let peer = Peer::start(program, *peer.ok_or("no such peer")?)?;
    let mut user = peer.user(&Exchange::register_read())?;
    for _ in 0..10 {
        user.once()?;
    }
    let mut outcome = Ok(());
    let count = steps(Pid::from_raw(peer.server.pid().as_raw_nonzero().get()), || {
        outcome = (0..ACCESSES)
            .try_for_each(|_| user.once().map(drop).map_err(|error| error.to_string()));
    })?;
    outcome?;
    Ok(count as f64 / f64::from(ACCESSES))
}

/// Instructions of the first thread of a process while `work` is done in another thread of this one.
fn steps(pid: Pid, work: impl FnOnce() + Send) -> Result<u64> {
    ptrace::seize(pid, ptrace::Options::empty())?;
    ptrace::interrupt(pid)?;
    waitpid(pid, None)?;
    let done = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            work();
            done.store(true, Ordering::SeqCst);
        });
        let mut count = 0;
        let mut runs = false;
        while !done.load(Ordering::SeqCst) {
            if !runs {
                ptrace::step(pid, None)?;
                runs = true;
            }
            match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive => thread::yield_now(),
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                    count += 1;
                    runs = false;
                }
                other => {
                    return Err(format!("a server that is led does not step: {other:?}").into());
                }
            }
        }
        if runs {
            ptrace::interrupt(pid)?;
            waitpid(pid, None)?;
        }
        Ok(count)
    });
    ptrace::detach(pid, None)?;
    outcome
}
