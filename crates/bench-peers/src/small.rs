//! The device that all of them serve: what its regions hold.

use std::sync::atomic::Ordering;

use crate::{RECEIVED, counting};

/// Bytes of region 0.
pub const REGISTERS: u64 = 4 << 10;
/// Bytes of the regions 1 and 2.
pub const MEMORY: u64 = 64 << 10;

/// Registers in region 0.
pub const SCRATCH: u64 = 0x0;
pub const FIRE: u64 = 0x4;
pub const ALLOCATIONS: u64 = 0x8;
pub const RECEIVES: u64 = 0x10;

/// What is behind the trapped regions.
pub struct Small {
    scratch: u32,
    memory: Vec<u8>,
}

impl Small {
    pub fn new() -> Self {
        Self { scratch: 0, memory: vec![0x5a; MEMORY as usize] }
    }

    /// A load; what is not there reads as zeroes.
    pub fn read(&self, region: u32, offset: u64, data: &mut [u8]) {
        match (region, offset) {
            (0, SCRATCH) => match <&mut [u8; 4]>::try_from(&mut *data) {
                Ok(data) => *data = self.scratch.to_le_bytes(),
                Err(_) => copy(data, &self.scratch.to_le_bytes()),
            },
            (0, ALLOCATIONS) => copy(data, &counting::allocations().to_le_bytes()),
            (0, RECEIVES) => copy(data, &RECEIVED.load(Ordering::Relaxed).to_le_bytes()),
            (1, _) => copy(data, self.memory.get(offset as usize..).unwrap_or_default()),
            _ => (),
        }
    }

    /// A store. Whether it fires the interrupt.
    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> bool {
        match (region, offset) {
            (0, SCRATCH) => {
                self.scratch = data.try_into().map_or(self.scratch, u32::from_le_bytes);
            }
            (0, FIRE) => return true,
            (0, ALLOCATIONS) => counting::count(true),
            (1, _) => copy(self.memory.get_mut(offset as usize..).unwrap_or_default(), data),
            _ => (),
        }
        false
    }
}

/// As much as both have.
fn copy(to: &mut [u8], from: &[u8]) {
    let length = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..length), from.get(..length)) {
        to.copy_from_slice(from);
    }
}
