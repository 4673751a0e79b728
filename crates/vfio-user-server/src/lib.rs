//! A vfio-user protocol server for any [`vfio_device`].
//!
//! A [`Listener`] is the socket, an [`Endpoint`] is a device with its socket, an [`EventLoop`] serves any number of them
//! on one thread; its documentation has a whole server. The modules below are for those who need a part: the messages
//! ([`wire`]), what is refused and how ([`refusal`]), a conversation without its socket ([`session`]).
//!
//! Every message that the specification has a server answer is answered, but for migration (`DEVICE_FEATURE`,
//! `MIG_DATA_*`), which is refused with ENOTSUP; the server sends none of its own (`DMA_READ`, `DMA_WRITE`).

mod command;
mod connection;
mod deadlines;
pub mod dma;
mod endpoint;
mod event_loop;
mod fault;
mod listener;
mod log_limit;
mod poll_window;
pub mod refusal;
mod region_info;
pub mod session;
pub mod transport;
pub mod version;
pub mod wire;

pub use endpoint::{Endpoint, Event};
pub use event_loop::{DEFAULT_POLL, EndpointId, EventLoop, LoopHandle};
pub use fault::{Fault, FaultError};
pub use listener::{ListenError, Listener};
