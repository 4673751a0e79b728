//! What a server gives up once its sockets are open, as the kernel and `info` have it, and that the rest still works.
#![cfg(test)]

#[cfg(target_arch = "x86_64")]
mod calls;
mod changes;
#[path = "../common/handing.rs"]
mod handing;
#[path = "../common/limits.rs"]
mod limits;
#[path = "../common/managed.rs"]
mod managed;
mod refusals;
mod server;
mod shown;
mod threads;
#[cfg(target_arch = "x86_64")]
mod tracee;
