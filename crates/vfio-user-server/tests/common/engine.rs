//! A small DMA engine: it copies from one place of the client's memory to another.
//!
//! | offset | name | access | meaning |
//! |---|---|---|---|
//! | 0x00 | SOURCE | RW | address to copy from, 8 bytes |
//! | 0x08 | DESTINATION | RW | address to copy to, 8 bytes |
//! | 0x10 | LENGTH | RW | bytes, up to 64 KiB |
//! | 0x14 | STATUS | RO | of the last copy: 0, or an errno |
//! | 0x18 | START | RW | 1 copies once, 2 every millisecond until something else is stored |
//! | 0x1c | COPIES | RO | copies begun since the last reset |
//!
//! All in words of 4 bytes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use vfio_device::{BarKind, Context, Description, Errno, Made, Region, VfioDevice};

pub const SOURCE: u64 = 0x00;
pub const DESTINATION: u64 = 0x08;
pub const LENGTH: u64 = 0x10;
pub const STATUS: u64 = 0x14;
pub const START: u64 = 0x18;
pub const COPIES: u64 = 0x1c;

const EVERY: Duration = Duration::from_millis(1);

pub struct Engine {
    words: [u32; 8],
    buffer: Box<[u8]>,
}

/// The engine as a PCI function, 1234:7a03.
pub fn made() -> Made {
    let description = Description::pci(0x1234, 0x7a03)
        .class(0x08, 0x80, 0x00)
        .bar(0, BarKind::Memory32, Region::trapped(0x1000))
        .dma();
    (description, Box::new(Engine { words: [0; 8], buffer: vec![0; 1 << 16].into() }))
}

impl Engine {
    fn word(&mut self, offset: u64) -> &mut u32 {
        &mut self.words[offset as usize / 4]
    }

    fn address(&mut self, offset: u64) -> u64 {
        u64::from(*self.word(offset)) | u64::from(*self.word(offset + 4)) << 32
    }

    fn copy(&mut self, cx: &Context) -> Result<(), Errno> {
        let (source, destination) = (self.address(SOURCE), self.address(DESTINATION));
        let length = *self.word(LENGTH) as usize;
        let data = self.buffer.get_mut(..length).ok_or(Errno::INVAL)?;
        cx.dma.read(source, data)?;
        cx.dma.write(destination, data)
    }

    fn run(&mut self, cx: &Context) {
        *self.word(COPIES) += 1;
        let errno = self.copy(cx).map_or_else(Errno::raw_os_error, |()| 0);
        *self.word(STATUS) = u32::try_from(errno).unwrap();
    }
}

impl VfioDevice for Engine {
    fn region_read(&mut self, _: u32, offset: u64, data: &mut [u8], _: &mut Context) {
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for (at, byte) in (offset as usize..).zip(data) {
            *byte = bytes.get(at).copied().unwrap_or(0);
        }
    }

    fn region_write(&mut self, _: u32, offset: u64, data: &[u8], cx: &mut Context) {
        for (at, word) in (offset..).step_by(4).zip(data.chunks_exact(4)) {
            if at % 4 == 0 && at <= START && at != STATUS {
                *self.word(at) = u32::from_le_bytes(word.try_into().unwrap());
            }
        }
        if offset == START {
            cx.timers.stop(0);
            match *self.word(START) {
                1 => self.run(cx),
                2 => cx.timers.start(0, EVERY),
                _ => (),
            }
        }
    }

    fn timer(&mut self, id: u32, cx: &mut Context) {
        self.run(cx);
        cx.timers.start(id, EVERY);
    }

    fn reset(&mut self, _: &mut Context) {
        self.words = [0; 8];
    }
}
