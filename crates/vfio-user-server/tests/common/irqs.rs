#![allow(dead_code, reason = "each test file uses a part of it")]
//! The numbers of SET_IRQS, and a card with irq indexes of every sort.

use vfio_device::{Description, IrqFlags};

use crate::server::card;

pub const NONE: u32 = 1;
pub const BOOL: u32 = 2;
pub const EVENTFD: u32 = 4;
pub const MASK: u32 = 8;
pub const UNMASK: u32 = 0x10;
pub const TRIGGER: u32 = 0x20;

pub const INTX: u32 = 0;
pub const MSIX: u32 = 2;
pub const ERR: u32 = 3;
pub const REQ: u32 = 4;
/// Four vectors that can be masked and do not mask themselves.
pub const OWN: u32 = 5;

pub fn description() -> Description {
    let flags = IrqFlags::EVENTFD | IrqFlags::MASKABLE;
    card().request_irq().irq(MSIX, IrqFlags::MSIX, 2048).irq(OWN, flags, 4)
}
