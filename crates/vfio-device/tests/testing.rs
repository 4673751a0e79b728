#![cfg(test)]
//! Module `testing`: a check finds what is wrong with a device, and passes one that is right.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use vfio_device::testing::{Check, Harness};
use vfio_device::{
    BAR0, BarKind, BarOffset, Capability, Context, Description, Errno, INTX, MSI, Region,
    SharedMemory, VfioDevice,
};

/// What is wrong with a device.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    PanicsAtWidth8,
    PanicsInTimer,
    ForgetsToReset,
    RefusesToReopen,
}

/// Four bytes of memory at 0. A store starts a timer, which sends a message.
struct Ram {
    bytes: [u8; 4],
    opens: u32,
    fault: Fault,
}

impl VfioDevice for Ram {
    fn region_read(&mut self, _: u32, offset: u64, data: &mut [u8], _: &mut Context) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = self.bytes.get(at as usize).copied().unwrap_or(0);
        }
    }

    fn region_write(&mut self, _: u32, offset: u64, data: &[u8], cx: &mut Context) {
        assert!(self.fault != Fault::PanicsAtWidth8 || data.len() != 8, "eight bytes");
        for (byte, at) in data.iter().zip(offset..) {
            self.bytes.get_mut(at as usize).into_iter().for_each(|to| *to = *byte);
        }
        cx.timers.start(7, Duration::from_secs(3600));
        cx.irqs.set_level(INTX, 0, self.bytes[0] == 1);
    }

    fn reset(&mut self, _: &mut Context) {
        if self.fault != Fault::ForgetsToReset {
            self.bytes = [0; 4];
        }
    }

    fn open(&mut self, _: &mut Context) -> Result<(), Errno> {
        self.opens += 1;
        if self.fault == Fault::RefusesToReopen && self.opens > 1 { Err(Errno::IO) } else { Ok(()) }
    }

    fn timer(&mut self, id: u32, cx: &mut Context) {
        assert!(self.fault != Fault::PanicsInTimer, "out of time");
        assert_eq!(id, 7);
        cx.irqs.trigger(MSI, 1);
    }
}

fn made(fault: Fault) -> vfio_device::Made {
    let what = Description::pci(0x1234, 0x4a3).bar(0, BarKind::Memory32, Region::trapped(16));
    (what.intx().msi(1), Box::new(Ram { bytes: [0; 4], opens: 0, fault }))
}

fn complaint(what: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(what)).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    Some(text.or_else(|| payload.downcast_ref::<&str>().map(|it| (*it).into())).unwrap())
}

#[track_caller]
fn assert_found(fault: Fault, text: &str) {
    let said = complaint(|| Check::new(|_| Ok(made(fault))).run()).expect("nothing was found");
    assert!(said.contains(text), "{said}");
}

#[test]
fn the_check_finds_a_panic_at_one_width() {
    assert_found(Fault::PanicsAtWidth8, "eight bytes");
}

#[test]
fn the_check_finds_a_panic_in_a_timer() {
    assert_found(Fault::PanicsInTimer, "out of time");
}

#[test]
fn the_check_finds_a_register_that_survives_a_reset() {
    assert_found(Fault::ForgetsToReset, "region 0, 0x0: [00, 00, 00, 00] in a new device");
}

#[test]
fn the_check_leaves_out_what_is_ignored_and_nothing_else() {
    let ignoring = |bytes| {
        complaint(|| Check::new(|_| Ok(made(Fault::ForgetsToReset))).ignoring(BAR0, bytes).run())
    };
    assert!(ignoring(0..3).is_some());
    assert_eq!(ignoring(0..4), None);
}

#[test]
fn the_check_finds_a_device_that_cannot_be_opened_again() {
    assert_found(Fault::RefusesToReopen, "opening it again");
}

#[test]
fn a_description_that_cannot_be_built_is_named_with_the_reason() {
    let what = || Description::pci(0x1234, 1).bar(0, BarKind::Memory32, Region::trapped(24));
    let ram = || Box::new(Ram { bytes: [0; 4], opens: 0, fault: Fault::None });
    let said = complaint(|| drop(Harness::new(|_| Ok((what(), ram()))))).unwrap();
    assert!(said.contains("BAR 0 cannot be 24 bytes"), "{said}");
}

#[test]
fn the_check_passes_a_device_that_is_right() {
    Check::new(|_| Ok(made(Fault::None))).run();
}

#[test]
fn the_check_knows_memory_permissions_and_what_the_core_answers() {
    let memory = || SharedMemory::new("check", 0x4000).unwrap();
    let what = || {
        Description::pci(0x1234, 2)
            .bar(0, BarKind::Memory32, Region::trapped(0x1000))
            .bar(1, BarKind::Io, Region::trapped(16).write_only())
            .bar(2, BarKind::Prefetchable64, Region::mapped(memory()))
            .bar(4, BarKind::Memory32, Region::sparse(memory(), [0x1000..0x2000, 0x3000..0x4000]))
            .rom(Region::trapped(0x800))
            .initial_command(0x0003)
            .msix(3, BarOffset { bar: 0, offset: 0x800 }, BarOffset { bar: 0, offset: 0xc00 })
            .capability(Capability::advanced_features())
    };
    let ram = || Ram { bytes: [0; 4], opens: 0, fault: Fault::None };
    Check::new(|_| Ok((what(), Box::new(ram())))).run();
}

#[test]
fn the_harness_loads_and_stores_skips_to_timers_and_counts_messages() {
    let mut ram = Harness::new(|_| Ok(made(Fault::None)));
    ram.arm(MSI);
    assert_eq!(ram.skip_to_timer(), None);
    ram.write32(BAR0, 0, 0x0403_0201);
    assert_eq!((ram.read8(BAR0, 1), ram.read16(BAR0, 2)), (0x02, 0x0403));
    assert_eq!(ram.read64(BAR0, 0), 0x0403_0201);
    assert!(ram.intx());
    let away = ram.skip_to_timer().unwrap();
    assert!(away > Duration::from_secs(3500) && away <= Duration::from_secs(3600), "{away:?}");
    assert_eq!((ram.fired(MSI, 0), ram.fired(MSI, 1), ram.fired(MSI, 1)), (0, 1, 0));
    assert_eq!(ram.skip_to_timer(), None);
    ram.reset();
    assert_eq!((ram.read32(BAR0, 0), ram.intx()), (0, false));
    assert_eq!(ram.read16(7, 0), 0x1234);
}

/// Adds one to the byte at the address that is stored.
struct Incrementer;

impl VfioDevice for Incrementer {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, data: &[u8], cx: &mut Context) {
        let address = u64::from_le_bytes(data.try_into().unwrap());
        let mut byte = [0];
        cx.dma.read(address, &mut byte).unwrap();
        cx.dma.write(address, &[byte[0] + 1]).unwrap();
    }
    fn reset(&mut self, _: &mut Context) {}
}

#[test]
fn the_harness_has_memory_for_a_device_with_dma() {
    let what = || Description::pci(0x1234, 3).bar(0, BarKind::Memory32, Region::trapped(16)).dma();
    let mut device = Harness::new(|_| Ok((what(), Box::new(Incrementer))));
    let low = device.guest_memory(0x1000, 0x1000);
    let high = device.guest_memory(1 << 40, 0x2000);
    high.write(0x1fff, &[41]).unwrap();
    device.write64(BAR0, 0, 0x1fff);
    device.write64(BAR0, 0, (1 << 40) + 0x1fff);
    let mut byte = [0];
    low.read(0xfff, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    high.read(0x1fff, &mut byte).unwrap();
    assert_eq!(byte, [42]);
}
