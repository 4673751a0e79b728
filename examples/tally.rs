//! The smallest whole device: a counter that asserts INTx when it meets its limit.
//!
//! `cargo run --example tally -- /tmp/tally.sock`, and in another terminal
//! `cargo xtask guest --socket /tmp/tally.sock --run examples/guest/tally.sh`.
//!
//! | offset | name | access | reset | meaning |
//! |---|---|---|---|---|
//! | 0x0 | ID | RO | `TALY` | identifies the device |
//! | 0x4 | COUNT | RW | 0 | a store of any value adds one |
//! | 0x8 | LIMIT | RW | ~0 | INTx is asserted while COUNT == LIMIT |

use std::process::ExitCode;

use vfio_device::{BarKind, Context, Description, INTX, Region, VfioDevice};

const ID: u32 = u32::from_le_bytes(*b"TALY");

struct Tally {
    count: u32,
    limit: u32,
}

const RESET: Tally = Tally { count: 0, limit: !0 };

fn description() -> Description {
    Description::pci(0x1234, 0x7a11)
        .class(0x08, 0x80, 0x00) // a system peripheral
        .bar(0, BarKind::Memory32, Region::trapped(16))
        .intx()
}

impl VfioDevice for Tally {
    fn region_read(&mut self, _region: u32, offset: u64, data: &mut [u8], _cx: &mut Context) {
        let value = match offset {
            0x0 => ID,
            0x4 => self.count,
            0x8 => self.limit,
            _ => return, // `data` arrives zeroed
        };
        data.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
    }

    fn region_write(&mut self, _region: u32, offset: u64, data: &[u8], cx: &mut Context) {
        match (offset, data.try_into().map(u32::from_le_bytes)) {
            (0x4, Ok(_)) => self.count = self.count.wrapping_add(1),
            (0x8, Ok(limit)) => self.limit = limit,
            _ => (), // no such register, or not 4 bytes wide
        }
        cx.irqs.set_level(INTX, 0, self.count == self.limit); // one place, from the state
    }

    fn reset(&mut self, _cx: &mut Context) {
        *self = RESET;
    }
}

fn main() -> ExitCode {
    vfio_user_server::main(|_init| Ok((description(), Box::new(RESET))))
}

#[cfg(test)]
mod tests {
    use vfio_device::BAR0;
    use vfio_device::testing::{Check, Harness};

    use super::*;

    #[test]
    fn an_interrupt_is_asserted_while_the_count_is_the_limit() {
        let mut tally = Harness::new(|_| Ok((description(), Box::new(RESET))));
        assert_eq!(tally.read32(BAR0, 0x0).to_le_bytes(), *b"TALY");
        tally.write32(BAR0, 0x8, 2);
        for (count, asserted) in [(1, false), (2, true), (3, false)] {
            tally.write32(BAR0, 0x4, 0);
            assert_eq!((tally.read32(BAR0, 0x4), tally.intx()), (count, asserted));
        }
    }

    #[test]
    fn it_survives_what_every_device_must() {
        Check::new(|_| Ok((description(), Box::new(RESET)))).run();
    }
}
