//! User instructions of an access: the server is led through them one by one.
//!
//! Nothing has to be installed for that, and the clock that a process reads without a system call counts too. Which function
//! they are in is asked by `cargo xtask profile`. valgrind's callgrind, which `docs/performance.md` has figures by, does not
//! see into that clock.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::counts::system_calls::seize;
use super::message::Exchange;
use super::{PEERS, POLLING, Peer};
use crate::bench::median;
use crate::report::Result;

/// Accesses that are counted, one by one: from answer to answer.
const ACCESSES: usize = 200;
/// Before that a server that has taken its core for crowded, since it was stopped, polls again: some ms later.
const WARM: usize = 300;
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
    let (mut counts, mut outcome) = (Vec::new(), Ok(()));
    let count = AtomicU64::new(0);
    let step = || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    steps(Pid::from_raw(peer.server.pid().as_raw_nonzero().get()), step, || {
        outcome = (0..WARM + ACCESSES).try_for_each(|_| {
            let before = count.load(Ordering::SeqCst);
            user.once().map_err(|error| error.to_string())?;
            counts.push((count.load(Ordering::SeqCst) - before) as f64);
            Ok::<(), String>(())
        });
    })?;
    outcome?;
    Ok(median(counts.get(WARM..).unwrap_or_default()))
}

/// Leads the first thread of a process while `work` is done in another thread of this one: calls `each` after each of its
/// instructions.
pub fn steps(pid: Pid, mut each: impl FnMut() -> Result, work: impl FnOnce() + Send) -> Result {
    seize(pid, ptrace::Options::empty())?;
    ptrace::interrupt(pid)?;
    waitpid(pid, None)?;
    let done = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            work();
            done.store(true, Ordering::SeqCst);
        });
        let mut runs = false;
        while !done.load(Ordering::SeqCst) {
            if !runs {
                ptrace::step(pid, None)?;
                runs = true;
            }
            match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive => thread::yield_now(),
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                    each()?;
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
        Ok(())
    });
    ptrace::detach(pid, None)?;
    outcome
}
