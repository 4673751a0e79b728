#![cfg(test)]
//! The contract of the life-cycle core, from outside. Constants are written out again, never imported.

mod config_space;
mod description;
mod dma;
mod dma_engine;
mod dma_maps;
mod events;
mod function_reset;
mod hostile;
mod irq_refusals;
mod irqs;
mod life_cycle;
mod mdev;
mod memory;
mod msix;
mod pci_layout;
mod regions;
mod shapes;
mod support;
mod unregister;
