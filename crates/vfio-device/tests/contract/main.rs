#![cfg(test)]
//! The contract of the life-cycle core, from outside. Constants are written out again, never imported.

mod config_space;
mod description;
mod events;
mod hostile;
mod intercept;
mod irq_refusals;
mod irqs;
mod life_cycle;
mod mdev;
mod memory;
mod pci_layout;
mod regions;
mod shapes;
mod support;
mod unregister;
