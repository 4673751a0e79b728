//! A vfio-user protocol server for any vfio-device.

mod command;
pub mod dma;
pub mod refusal;
pub mod transport;
pub mod version;
pub mod wire;
