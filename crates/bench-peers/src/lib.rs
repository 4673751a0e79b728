//! Servers for a benchmark to hold beside each other: `bench-peers SERVER SOCKET`, one client after the other, until it
//! is killed.
//!
//! All but the echo serve the same small device:
//!
//! | region | | |
//! |---|---|---|
//! | 0 | 4 KiB, trapped | `SCRATCH` holds what is stored; a store to `FIRE` fires vector 0 of MSI |
//! | | | the first store to `ALLOCATIONS` begins to count those of this thread, a load of 8 bytes says how many |
//! | | | a load of `RECEIVES` says how often `recvmsg` has been called, in the program that counts it |
//! | 1 | 64 KiB, trapped | reads as what was stored |
//! | 2 | 64 KiB, one area to map | |
//!
//! Calls of `recvmsg` are counted by `bench-peers-counting`, which is the same otherwise: times and instructions are those
//! of a program that has nothing in its way.

#[path = "../../vfio-user-server/tests/common/counting.rs"]
mod counting;
mod echo;
mod ours;
mod rust_vmm;
mod small;

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// How often this program has called `recvmsg`, if it counts that.
pub static RECEIVED: AtomicU64 = AtomicU64::new(0);

#[derive(Parser)]
#[command(about = "Servers for a benchmark to hold beside each other")]
struct Arguments {
    #[command(subcommand)]
    server: Server,
}

#[derive(Subcommand)]
enum Server {
    /// Answers so many bytes with so many others, and knows nothing of what they mean
    Echo {
        socket: PathBuf,
        /// Wait by epoll before receiving, as a server does that can have several clients
        #[arg(long)]
        epoll: bool,
    },
    /// The server of the vfio_user crate
    RustVmm { socket: PathBuf },
    /// vfio-user-server
    Ours {
        socket: PathBuf,
        /// For how long at most to poll before it sleeps
        #[arg(long, default_value_t = 100)]
        poll_us: u64,
    },
}

/// Serves as the command line says.
///
/// # Errors
/// Whatever keeps it from that.
pub fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().server {
        Server::Echo { socket, epoll } => echo::serve(&socket, epoll),
        Server::RustVmm { socket } => rust_vmm::serve(&socket),
        Server::Ours { socket, poll_us } => ours::serve(&socket, Duration::from_micros(poll_us)),
    }
}
