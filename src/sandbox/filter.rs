//! The system calls that a server needs, and no others.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::cli::SeccompMode;

/// What of the system one server needs and another does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// UNIX sockets that are yet to be made. Whoever may connect one reaches all sockets of this user: Landlock has no say
    /// over those that have a path.
    pub unix: bool,
    /// TCP sockets that are yet to be made.
    pub tcp: bool,
    /// TCP sockets that are there.
    pub has_tcp: bool,
    /// To give ports another end: terminals, sockets that are made with a path, and sockets to hosts, by what the system's
    /// resolver asks the kernel (UDP too), and by code that it loads.
    pub names: bool,
    /// To tell who started this program.
    pub notify: bool,
    /// To give sockets to a group, or to all.
    pub shares: bool,
    /// To write a file anew with the mode that the old one had.
    pub saves: bool,
    /// To wait for this process, and to signal it.
    pub child: Option<u32>,
}

/// Those of which the kernel answers without a look at arguments, and so without running the filter: all of a register's
/// access are here.
const ANY: &[c_long] = &[
    // What a device is served with.
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_sched_yield,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_futex,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_io_setup,
    libc::SYS_io_submit,
    libc::SYS_io_getevents,
    libc::SYS_io_destroy,
    libc::SYS_io_cancel,
    libc::SYS_memfd_create,
    // Descriptors.
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_lseek,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_writev,
    // Paths. Landlock has the say of all that opens, makes, renames and removes, and none of what only looks (stat,
    // access, readlink), nor of the owner and mode of a file, open or not: what changes those is not here.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    RENAMEAT,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munmap,
    // Threads, signals, time, and who this is.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_umask,
    libc::SYS_uname,
];

/// The crate `libc` has it for the one machine alone.
#[cfg(target_arch = "x86_64")]
const RENAMEAT: c_long = libc::SYS_renameat;
#[cfg(not(target_arch = "x86_64"))]
const RENAMEAT: c_long = 38;

/// The older forms, which newer machines never had.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getpgrp,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// To give a file to others, and where the mode is among the arguments of what lets them in.
#[cfg(target_arch = "x86_64")]
const GIVE: &[c_long] = &[libc::SYS_chown, libc::SYS_fchownat];
#[cfg(not(target_arch = "x86_64"))]
const GIVE: &[c_long] = &[libc::SYS_fchownat];
#[cfg(target_arch = "x86_64")]
const MODES: &[(c_long, u8)] = &[(libc::SYS_chmod, 1), (libc::SYS_fchmodat, 2)];
#[cfg(not(target_arch = "x86_64"))]
const MODES: &[(c_long, u8)] = &[(libc::SYS_fchmodat, 2)];
/// Set-user-ID and its like: who may run the file would have the rights of this user.
const SPECIAL: u64 = 0o7000;
/// Of each socket that is made.
const OWN: u64 = 0o600;

/// A terminal's being opened.
const WATCH: &[c_long] =
    &[libc::SYS_inotify_add_watch, libc::SYS_inotify_init1, libc::SYS_inotify_rm_watch];

/// A socket's place, and another's.
const SOCKETS: &[c_long] = &[libc::SYS_bind, libc::SYS_connect, libc::SYS_listen];

/// Of fcntl, beside `F_SETFL`: none that has a signal sent to somebody (`F_SETOWN`, `F_SETSIG`, `F_NOTIFY`).
const FCNTLS: [u64; 7] = [
    libc::F_DUPFD as u64,
    libc::F_DUPFD_CLOEXEC as u64,
    libc::F_GETFD as u64,
    libc::F_SETFD as u64,
    libc::F_GETFL as u64,
    libc::F_ADD_SEALS as u64,
    libc::F_GET_SEALS as u64,
];

/// What the C library tries, and does in another way where a kernel does not have it. What clone3 is to do is in memory, where
/// a filter cannot look. mseal is of newer libraries; its number is the same on all machines.
const ABSENT: [c_long; 3] = [libc::SYS_clone3, libc::SYS_openat2, MSEAL];
const MSEAL: c_long = 462;

/// Of ioctl: terminals, their being non-blocking, and what a new one is called.
#[expect(clippy::unnecessary_cast, reason = "each C library has a type of its own for them")]
const IOCTLS: [u64; 14] = [
    libc::TCGETS as u64,
    libc::TCSETS as u64,
    libc::TCSETSW as u64,
    libc::TCSETSF as u64,
    TCGETS2,
    TCSETS2,
    libc::TIOCGPGRP as u64,
    libc::TIOCGPTN as u64,
    libc::TIOCGPTPEER as u64,
    libc::TIOCGWINSZ as u64,
    libc::TIOCSPTLCK as u64,
    libc::FIONBIO as u64,
    libc::FIONREAD as u64,
    libc::FIOCLEX as u64,
];
const TCGETS2: u64 = 0x802c_542a;
const TCSETS2: u64 = 0x402c_542b;

/// `CLONE_THREAD`: what is made shares all with this process, this sandbox too.
const THREAD: u64 = libc::CLONE_THREAD as u64;
const EXEC: u64 = libc::PROT_EXEC as u64;

const UNIX: u64 = libc::AF_UNIX as u64;
/// Of a socket's type, without its flags.
const KIND: u64 = 0xf;
const STREAM: u64 = libc::SOCK_STREAM as u64;
const DATAGRAMS: u64 = libc::SOCK_DGRAM as u64;
const FASTOPEN: u64 = libc::MSG_FASTOPEN as u64;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// One argument, and what it is to be.
fn is(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Dword, operator, value)
}

fn rule(
    conditions: impl IntoIterator<Item = Result<SeccompCondition, BackendError>>,
) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// The sockets that can be made: their families, types and protocols, as others get round what Landlock says of TCP.
fn sockets(needs: Needs) -> Result<Vec<SeccompRule>, BackendError> {
    let mut kinds = Vec::new();
    if needs.unix || needs.names {
        kinds.push((UNIX, STREAM, 0));
    }
    if needs.notify || needs.names {
        kinds.push((UNIX, DATAGRAMS, 0));
    }
    for family in [libc::AF_INET as u64, libc::AF_INET6 as u64] {
        if needs.tcp || needs.names {
            kinds.extend([0, libc::IPPROTO_TCP as u64].map(|it| (family, STREAM, it)));
        }
        if needs.names {
            kinds.extend([0, libc::IPPROTO_UDP as u64].map(|it| (family, DATAGRAMS, it)));
        }
    }
    if needs.names {
        let route = libc::NETLINK_ROUTE as u64;
        let kind = |it| (libc::AF_NETLINK as u64, it, route);
        kinds.extend([libc::SOCK_RAW as u64, DATAGRAMS].map(kind));
    }
    let rule_of = |(family, kind, protocol)| {
        rule([is(0, Eq, family), is(1, MaskedEq(KIND), kind), is(2, Eq, protocol)])
    };
    kinds.into_iter().map(rule_of).collect()
}

/// What is allowed, for this process.
fn rules(needs: Needs) -> Result<Rules, BackendError> {
    let mut rules: Rules = ANY.iter().chain(OLDER).map(|call| (*call, Vec::new())).collect();
    let one_of = |argument, values: &[u64]| -> Result<Vec<_>, _> {
        values.iter().map(|value| rule([is(argument, Eq, *value)])).collect()
    };
    let own = u64::from(std::process::id());

    for (wanted, calls) in [
        (needs.shares, GIVE),
        (needs.names, WATCH),
        (needs.unix || needs.tcp || needs.names, SOCKETS),
    ] {
        rules.extend(calls.iter().filter(|_| wanted).map(|call| (*call, Vec::new())));
    }
    if needs.shares {
        for (call, mode) in MODES {
            rules.insert(*call, vec![rule([is(*mode, MaskedEq(SPECIAL), 0)])?]);
        }
    }
    if needs.saves {
        rules.insert(libc::SYS_fchmod, vec![rule([is(1, MaskedEq(SPECIAL), 0)])?]);
    } else if needs.names {
        rules.insert(libc::SYS_fchmod, vec![rule([is(1, Eq, OWN)])?]);
    }
    let sockets = sockets(needs)?;
    if !sockets.is_empty() {
        rules.insert(libc::SYS_socket, sockets);
    }
    if (needs.tcp || needs.has_tcp) && !needs.names {
        // They connect in passing, which Landlock does not see.
        for (call, flags) in
            [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)]
        {
            rules.insert(call, vec![rule([is(flags, MaskedEq(FASTOPEN), 0)])?]);
        }
    }
    // One of datagrams could send to others than its pair.
    let pair = [is(0, Eq, UNIX), is(1, MaskedEq(KIND), STREAM)];
    rules.insert(libc::SYS_socketpair, vec![rule(pair)?]);
    let mut fcntls = one_of(1, &FCNTLS)?;
    let asynchronous = MaskedEq(libc::O_ASYNC as u64);
    fcntls.push(rule([is(1, Eq, libc::F_SETFL as u64), is(2, asynchronous, 0)])?);
    rules.insert(libc::SYS_fcntl, fcntls);
    rules.insert(libc::SYS_ioctl, one_of(1, &IOCTLS)?);
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA].map(|it| it as u64);
    rules.insert(libc::SYS_prctl, one_of(0, &names)?);
    // To read limits, and not to set them.
    let reads = SeccompCondition::new(2, Qword, Eq, 0);
    rules.insert(libc::SYS_prlimit64, vec![rule([reads])?]);
    rules.insert(libc::SYS_clone, vec![rule([is(0, MaskedEq(THREAD), THREAD)])?]);
    rules.insert(libc::SYS_mprotect, vec![rule([is(2, MaskedEq(EXEC), 0)])?]);
    let mut maps = vec![rule([is(2, MaskedEq(EXEC), 0)])?];
    if needs.names {
        // As the dynamic loader maps the code of a library.
        let flags = (libc::MAP_PRIVATE | libc::MAP_DENYWRITE) as u64;
        let fixed = !(libc::MAP_FIXED as u64) & u64::from(u32::MAX);
        maps.push(rule([
            is(2, Eq, (libc::PROT_READ | libc::PROT_EXEC) as u64),
            is(3, MaskedEq(fixed), flags),
        ])?);
    }
    rules.insert(libc::SYS_mmap, maps);
    // To its own memory, as DMA does it; to itself, as `abort` and a stop by the terminal do.
    rules.insert(libc::SYS_process_vm_writev, one_of(0, &[own])?);
    rules.insert(libc::SYS_tgkill, one_of(0, &[own])?);
    let mut signalled = vec![own];
    if let Some(child) = needs.child {
        signalled.push(child.into());
        // Not by a pidfd: a directory of /proc is one too, of any process.
        for call in [libc::SYS_wait4, libc::SYS_waitid] {
            rules.insert(call, Vec::new());
        }
    }
    rules.insert(libc::SYS_kill, one_of(0, &signalled)?);
    Ok(rules)
}

fn arch() -> Result<TargetArch, BackendError> {
    std::env::consts::ARCH.try_into()
}

/// Whether there is a list for this machine.
pub fn is_known() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && arch().is_ok()
}

fn program(needs: Needs, otherwise: SeccompAction) -> Result<[BpfProgram; 2], BackendError> {
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    let enosys = SeccompAction::Errno(libc::ENOSYS as u32);
    let absent = SeccompFilter::new(absent, SeccompAction::Allow, enosys, arch()?)?;
    let mut rules = rules(needs)?;
    // Of two answers the stricter one counts: what is absent is to be that, and not the end.
    rules.extend(ABSENT.iter().map(|call| (*call, Vec::new())));
    let allowed = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, arch()?)?;
    Ok([absent.try_into()?, allowed.try_into()?])
}

/// Puts all threads of this process under the filter, for good; `no_new_privs` comes with it.
///
/// # Errors
/// What the kernel has against it.
pub fn enter(needs: Needs, mode: SeccompMode) -> Result<(), String> {
    let otherwise = match mode {
        SeccompMode::Kill => SeccompAction::KillProcess,
        SeccompMode::Log => SeccompAction::Log,
        SeccompMode::Off => return Ok(()),
    };
    let programs = program(needs, otherwise).map_err(|error| error.to_string())?;
    // The second one allows no third.
    programs.iter().try_for_each(|program| {
        apply_filter_all_threads(program).map_err(|error| error.to_string())
    })
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;
