#![cfg(test)]
//! The contract of the life-cycle core, from outside. Constants are written out again, never imported.

mod config_space;
mod defects;
mod description;
mod dma;
mod dma_engine;
mod dma_maps;
mod events;
mod failures;
mod function_reset;
mod hostile;
mod intercept;
mod irq_refusals;
mod irqs;
mod life_cycle;
mod mdev;
mod memory;
mod model;
mod msix;
mod named;
mod page;
mod pci_layout;
mod races;
mod regions;
mod shapes;
mod support;
mod unregister;
mod view;
