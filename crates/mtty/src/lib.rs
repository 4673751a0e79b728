//! The kernel sample mtty, a PCI serial card with one or two 16550A ports.
#![forbid(unsafe_code)]

mod fifo;
pub mod line;
mod receiver;
pub mod spec;
pub mod uart;
