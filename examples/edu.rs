//! A device to learn from: registers, a timer, MSI-X, and memory that the guest maps.
//!
//! `cargo run --example edu -- /tmp/edu.sock`, and in another terminal
//! `cargo xtask guest --socket /tmp/edu.sock --run examples/guest/edu.sh`.
//!
//! BAR 0 has the registers, 4 bytes each; loads and stores of another width, or between them, have no effect and read 0.
//!
//! | offset | name | access | reset | meaning |
//! |---|---|---|---|---|
//! | 0x00 | ID | RO | `EDU1` | identifies the device |
//! | 0x04 | LIVENESS | RW | ~0 | reads as the inverse of what was stored |
//! | 0x08 | STATUS | RO | 0 | bit 0 BUSY: a job runs, for 10 ms; BUSY ignores stores to FACTORIAL and COMMAND |
//! | 0x0c | FACTORIAL | RW | 0 | a store of n begins a job; when it is done this reads n! modulo 2^32 |
//! | 0x10 | LENGTH | RW | 0 | bytes of the buffer that commands are about; at most 0x10000 is kept |
//! | 0x14 | COMMAND | WO | - | a store begins a job: 1 adds the bytes up to SUM, 2 makes letters a-z upper case |
//! | 0x18 | SUM | RO | 0 | sum of the bytes, modulo 2^32 |
//! | 0x1c | IRQ_STATUS | RO | 0 | causes: bit 0 FACTORIAL is done, 1 COMMAND is done, 2 and 3 are raised by hand |
//! | 0x20 | IRQ_RAISE | WO | - | sets bits 0 to 3 of IRQ_STATUS |
//! | 0x24 | IRQ_ACK | WO | - | clears bits of IRQ_STATUS |
//! | 0x800 | | | | MSI-X table: 4 vectors, vector n for the rise of bit n of IRQ_STATUS |
//! | 0xc00 | | | | MSI-X pending bits |
//!
//! INTx is asserted while IRQ_STATUS is not 0. BAR 2 is the buffer: 64 KiB of memory; a reset leaves it alone.

use std::process::ExitCode;
use std::time::Duration;

use vfio_device::{
    BarKind, BarOffset, Capability, Context, Description, Errno, INTX, MSIX, Made, Region,
    SharedMemory, VfioDevice,
};

const ID: u32 = u32::from_le_bytes(*b"EDU1");
const BUFFER_SIZE: u32 = 0x10000;
const VECTORS: u32 = 4;
const FACTORIAL_DONE: u32 = 1 << 0;
const COMMAND_DONE: u32 = 1 << 1;
const CAUSES: u32 = (1 << VECTORS) - 1;

/// The one timer: the job is done.
const JOB: u32 = 0;
const JOB_TAKES: Duration = Duration::from_millis(10);

#[derive(Clone, Copy)]
enum Job {
    Factorial(u32),
    Sum,
    UpperCase,
}

/// What a reset resets.
#[derive(Default)]
struct Registers {
    liveness: u32,
    factorial: u32,
    length: u32,
    sum: u32,
    irq_status: u32,
    job: Option<Job>,
}

struct Edu {
    registers: Registers,
    buffer: SharedMemory,
}

impl Edu {
    fn init() -> Result<Made, Errno> {
        let buffer = SharedMemory::new("edu-buffer", BUFFER_SIZE.into())?;
        let description = Description::pci(0x1234, 0xed01)
            .class(0xff, 0x00, 0x00) // of no class
            .bar(0, BarKind::Memory32, Region::trapped(0x1000))
            .bar(2, BarKind::Prefetchable64, Region::mapped(buffer.clone()))
            .intx()
            .msix(VECTORS, BarOffset { bar: 0, offset: 0x800 }, BarOffset { bar: 0, offset: 0xc00 })
            .capability(Capability::advanced_features()); // a guest can reset it
        Ok((description, Box::new(Self { registers: Registers::default(), buffer })))
    }

    fn load(&self, offset: u64) -> u32 {
        let it = &self.registers;
        match offset {
            0x00 => ID,
            0x04 => !it.liveness,
            0x08 => it.job.is_some().into(),
            0x0c => it.factorial,
            0x10 => it.length,
            0x18 => it.sum,
            0x1c => it.irq_status,
            _ => 0,
        }
    }

    fn store(&mut self, offset: u64, value: u32) {
        let it = &mut self.registers;
        match offset {
            0x04 => it.liveness = value,
            0x0c => it.begin(Job::Factorial(value)),
            0x10 => it.length = value.min(BUFFER_SIZE),
            0x14 if value == 1 => it.begin(Job::Sum),
            0x14 if value == 2 => it.begin(Job::UpperCase),
            0x20 => it.irq_status |= value & CAUSES,
            0x24 => it.irq_status &= !value,
            _ => (),
        }
    }

    /// A copy of the bytes that a command is about. The guest may write them at the same time: that is its own affair.
    fn bytes(&self) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; self.registers.length as usize]; // LENGTH is 64 KiB at most
        self.buffer.read(0, &mut bytes)?;
        Ok(bytes)
    }

    fn finish(&mut self, job: Job) -> Result<(), Errno> {
        match job {
            Job::Factorial(n) => {
                // From 34 on it is 0: there is no need to count to 2^32.
                self.registers.factorial = (1..=n.min(34)).fold(1, u32::wrapping_mul);
                self.registers.irq_status |= FACTORIAL_DONE;
                return Ok(());
            }
            Job::Sum => {
                let bytes = self.bytes()?;
                self.registers.sum =
                    bytes.iter().fold(0, |sum, byte| sum.wrapping_add((*byte).into()));
            }
            Job::UpperCase => {
                let mut bytes = self.bytes()?;
                bytes.make_ascii_uppercase();
                self.buffer.write(0, &bytes)?;
            }
        }
        self.registers.irq_status |= COMMAND_DONE;
        Ok(())
    }

    /// The one place where interrupts and the timer follow from the registers.
    fn sync(&self, cx: &mut Context) {
        let it = &self.registers;
        cx.irqs.set_level(INTX, 0, it.irq_status != 0);
        for vector in 0..VECTORS {
            cx.irqs.set_level(MSIX, vector, it.irq_status >> vector & 1 == 1);
        }
        if it.job.is_some() && !cx.timers.is_running(JOB) {
            cx.timers.start(JOB, JOB_TAKES);
        }
    }
}

impl Registers {
    fn begin(&mut self, job: Job) {
        self.job = self.job.or(Some(job));
    }
}

impl VfioDevice for Edu {
    fn region_read(&mut self, _bar0: u32, offset: u64, data: &mut [u8], _cx: &mut Context) {
        if let Ok(data) = <&mut [u8; 4]>::try_from(data) {
            *data = self.load(offset).to_le_bytes();
        }
    }

    fn region_write(&mut self, _bar0: u32, offset: u64, data: &[u8], cx: &mut Context) {
        if let Ok(data) = data.try_into() {
            self.store(offset, u32::from_le_bytes(data));
        }
        self.sync(cx);
    }

    fn timer(&mut self, _job: u32, cx: &mut Context) {
        if let Some(job) = self.registers.job.take()
            && let Err(errno) = self.finish(job)
        {
            eprintln!("edu: the buffer cannot be used: {errno}");
        }
        self.sync(cx);
    }

    fn open(&mut self, cx: &mut Context) -> Result<(), Errno> {
        if cx.was_open() {
            self.buffer = SharedMemory::new("edu-buffer", BUFFER_SIZE.into())?;
            cx.replace_memory(2, self.buffer.clone())?;
        }
        Ok(())
    }

    fn reset(&mut self, _cx: &mut Context) {
        self.registers = Registers::default(); // levels are low and the timer is stopped already
    }
}

fn main() -> ExitCode {
    vfio_user_server::main(|_init| Edu::init())
}

#[cfg(test)]
mod tests {
    use vfio_device::BAR0;
    use vfio_device::testing::{Check, Harness};

    use super::*;

    fn edu() -> Harness {
        Harness::new(|_| Edu::init())
    }

    #[test]
    fn a_factorial_keeps_the_device_busy_and_ends_with_vector_0() {
        let mut edu = edu();
        edu.arm(MSIX);
        for (n, factorial) in [(0, 1), (5, 120), (12, 479_001_600), (13, 1_932_053_504), (!0, 0)] {
            edu.write32(BAR0, 0x0c, n);
            edu.write32(BAR0, 0x0c, 3); // ignored
            assert_eq!((edu.read32(BAR0, 0x08), edu.fired(MSIX, 0)), (1, 0), "{n}!");
            assert!(edu.skip_to_timer().unwrap() <= Duration::from_millis(10));
            assert_eq!((edu.read32(BAR0, 0x08), edu.fired(MSIX, 0)), (0, 1), "{n}!");
            assert_eq!(edu.read32(BAR0, 0x0c), factorial, "{n}!");
            edu.write32(BAR0, 0x24, 1);
        }
    }

    #[test]
    fn commands_see_the_buffer_and_change_what_they_are_told_to() {
        let mut edu = edu();
        edu.write64(2, 0xfff8, u64::from_le_bytes(*b"abcxyz{\xff"));
        for (length, expected) in [(0xfffa, *b"ABcxyz{\xff"), (0x20000, *b"ABCXYZ{\xff")] {
            edu.write32(BAR0, 0x10, length);
            edu.write32(BAR0, 0x14, 2);
            edu.skip_to_timer();
            assert_eq!(edu.read64(2, 0xfff8).to_le_bytes(), expected);
        }
        edu.write32(BAR0, 0x14, 1);
        edu.skip_to_timer();
        let sum: u32 = b"ABCXYZ{\xff".iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(edu.read32(BAR0, 0x18), sum);
    }

    #[test]
    fn intx_is_asserted_until_the_last_cause_is_acknowledged() {
        let mut edu = edu();
        edu.write32(BAR0, 0x20, 0xfffc);
        assert_eq!((edu.read32(BAR0, 0x1c), edu.intx()), (0xc, true));
        edu.write32(BAR0, 0x24, 0x4);
        assert_eq!((edu.read32(BAR0, 0x1c), edu.intx()), (0x8, true));
        edu.write32(BAR0, 0x24, 0x8);
        assert_eq!((edu.read32(BAR0, 0x1c), edu.intx()), (0x0, false));
    }

    #[test]
    fn a_reset_ends_a_job_without_an_interrupt() {
        let mut edu = edu();
        edu.write32(BAR0, 0x04, 0x1234_5678);
        assert_eq!(edu.read32(BAR0, 0x04), 0xedcb_a987);
        edu.write32(BAR0, 0x0c, 5);
        edu.reset();
        assert_eq!((edu.skip_to_timer(), edu.read32(BAR0, 0x08)), (None, 0));
        assert_eq!((edu.read32(BAR0, 0x04), edu.intx()), (!0, false));
    }

    #[test]
    fn it_survives_what_every_device_must() {
        Check::new(|_| Edu::init()).run();
    }
}
