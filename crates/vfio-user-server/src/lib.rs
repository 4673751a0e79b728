#![doc = include_str!("../README.md")]
//!
//! # What is where
//!
//! | you want to | look at |
//! |---|---|
//! | serve one device and nothing else | [`main`], or [`serve`] behind a command line of your own |
//! | serve devices to QEMU | [`Listener`], [`Endpoint`], [`EventLoop`], which has a whole server |
//! | write the device | [`vfio_device`], which is here in the version that this server takes |
//! | bring messages by another way than a socket, or fuzz | [`session`] |
//! | write a client, or look at traffic | [`wire`], [`refusal`] |

#[doc(hidden)] // for the program; not covered by semantic versioning
pub mod closer;
mod command;
mod conduct;
mod connection;
mod deadlines;
#[doc(hidden)] // for this crate's tests; not covered by semantic versioning
pub mod dma;
mod endpoint;
mod event_loop;
mod fault;
mod listener;
#[doc(hidden)] // for the program; not covered by semantic versioning
pub mod log_limit;
mod poll_window;
mod program;
pub mod refusal;
mod region_info;
mod registry;
mod scratch;
pub mod session;
#[doc(hidden)] // for the program; not covered by semantic versioning
pub mod signals;
mod socket_path;
mod stats;
#[doc(hidden)] // for the program and this crate's tests; not covered by semantic versioning
pub mod transport;
#[doc(hidden)] // for this crate's tests; not covered by semantic versioning
pub mod version;
pub mod wire;

pub use endpoint::{Endpoint, Event, User};
pub use event_loop::{DEFAULT_POLL, EndpointId, EventLoop, LoopHandle};
pub use fault::{Fault, FaultError};
pub use listener::{ListenError, Listener};
pub use program::{ServeError, main, qemu_device, serve};
pub use stats::Stats;
#[doc(no_inline)]
pub use vfio_device;
