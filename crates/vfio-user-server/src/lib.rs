//! A vfio-user protocol server for any [`vfio_device`].

mod command;
mod connection;
mod deadlines;
pub mod dma;
mod endpoint;
mod event_loop;
mod listener;
mod poll_window;
pub mod refusal;
mod region_info;
pub mod session;
pub mod transport;
pub mod version;
pub mod wire;

pub use endpoint::{Endpoint, Event};
pub use event_loop::{DEFAULT_POLL, EndpointId, EventLoop, LoopHandle};
pub use listener::{ListenError, Listener};
pub use poll_window::PollWindow;
