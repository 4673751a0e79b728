#![cfg(test)]
//! Module `testing`: a check finds what is wrong with a device, and passes one that is right.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use vfio_device::testing::{Check, Harness};
use vfio_device::{
    BAR0, BarKind, BarOffset, Capability, Context, Description, ERR, Errno, INTX, IrqFlags, MSI,
    MSIX, Made, REQ, Region, SharedMemory, VfioDevice,
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

fn made(fault: Fault) -> Made {
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
fn the_check_runs_timers_before_a_guests_reset_stops_them() {
    let made = || {
        let (what, device) = made(Fault::PanicsInTimer);
        (what.capability(Capability::advanced_features()), device)
    };
    let said = complaint(|| Check::new(|_| Ok(made())).run()).expect("nothing was found");
    assert!(said.contains("out of time"), "{said}");
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
            .intx()
            .msi(1)
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
fn a_device_that_has_not_said_that_it_does_dma_is_given_no_memory() {
    let pci = || Description::pci(0x1234, 3).bar(0, BarKind::Memory32, Region::trapped(16));
    let region = || Description::other().region(0, Region::trapped(16));
    for what in [pci, region] {
        let mut device = Harness::new(|_| Ok((what(), Box::new(Incrementer))));
        let said = complaint(|| drop(device.guest_memory(0x1000, 0x1000)));
        assert_eq!(said.as_deref(), Some("the device does no DMA; is `.dma()` missing?"));
        let mut device = Harness::new(|_| Ok((what().dma(), Box::new(Incrementer))));
        assert_eq!(complaint(|| drop(device.guest_memory(0x1000, 0x1000))), None);
    }
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

/// States or triggers one vector: (irq index, vector, level; without it an edge).
#[derive(Clone, Copy)]
struct Says(u32, u32, Option<bool>);

impl Says {
    fn say(self, cx: &mut Context) {
        match self {
            Self(index, vector, Some(high)) => cx.irqs.set_level(index, vector, high),
            Self(index, vector, None) => cx.irqs.trigger(index, vector),
        }
    }
}

/// Says it when a register is written, and, with a time, only when that is over.
struct Speaker(Says, Option<Duration>);

impl VfioDevice for Speaker {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], cx: &mut Context) {
        match self.1 {
            Some(after) => cx.timers.start(0, after),
            None => self.0.say(cx),
        }
    }
    fn reset(&mut self, _: &mut Context) {}
    fn timer(&mut self, _: u32, cx: &mut Context) {
        self.0.say(cx);
    }
}

fn speaker(what: fn(Description) -> Description, says: Says, after: Option<Duration>) -> Made {
    let pci = Description::pci(0x1234, 4).bar(0, BarKind::Memory32, Region::trapped(0x1000));
    (what(pci), Box::new(Speaker(says, after)))
}

fn msix_of_2(pci: Description) -> Description {
    pci.msix(2, BarOffset { bar: 0, offset: 0x800 }, BarOffset { bar: 0, offset: 0xc00 })
}

/// Harness and check find it, both at an access and in a timer, in the same words.
#[track_caller]
fn assert_missing(what: fn(Description) -> Description, says: Says, text: &str) {
    let hour = Some(Duration::from_secs(3600));
    let by_access = complaint(|| {
        Harness::new(|_| Ok(speaker(what, says, None))).write32(BAR0, 0, 1);
    });
    let by_timer = complaint(|| {
        let mut device = Harness::new(|_| Ok(speaker(what, says, hour)));
        device.write32(BAR0, 0, 1);
        device.skip_to_timer();
    });
    let by_check = complaint(|| Check::new(|_| Ok(speaker(what, says, None))).run());
    let by_check_timer = complaint(|| Check::new(|_| Ok(speaker(what, says, hour))).run());
    for said in [by_access, by_timer, by_check, by_check_timer] {
        assert_eq!(said.as_deref(), Some(text));
    }
}

#[test]
fn a_vector_that_the_description_lacks_is_named_with_what_may_be_missing() {
    let none = |pci| pci;
    for level in [true, false] {
        assert_missing(
            none,
            Says(INTX, 0, Some(level)),
            "set_level of irq index 0, vector 0: the device has no such vector; is `.intx()` missing?",
        );
    }
    assert_missing(
        none,
        Says(INTX, 0, None),
        "trigger of irq index 0, vector 0: the device has no such vector; is `.intx()` missing?",
    );
    assert_missing(
        none,
        Says(MSI, 3, None),
        "trigger of irq index 1, vector 3: the device has no such vector; is `.msi()` missing?",
    );
    assert_missing(
        none,
        Says(MSIX, 0, None),
        "trigger of irq index 2, vector 0: the device has no such vector; is `.msix()` missing?",
    );
}

#[test]
fn a_vector_past_the_last_is_named_with_those_that_there_are() {
    assert_missing(
        msix_of_2,
        Says(MSIX, 7, Some(true)),
        "set_level of irq index 2, vector 7: the device has no such vector; that index has 2, 0 to 1",
    );
    assert_missing(
        msix_of_2,
        Says(MSIX, 2, None),
        "trigger of irq index 2, vector 2: the device has no such vector; that index has 2, 0 to 1",
    );
    assert_missing(
        Description::intx,
        Says(INTX, 1, Some(true)),
        "set_level of irq index 0, vector 1: the device has no such vector; that index has one, 0",
    );
    assert_missing(
        Description::intx,
        Says(9, 0, None),
        "trigger of irq index 9, vector 0: the device has no such vector; its description has no such irq index",
    );
}

#[test]
fn a_vector_that_is_there_can_be_stated_and_triggered() {
    let says = |what, says| Check::new(|_| Ok(speaker(what, says, None))).run();
    says(Description::intx, Says(INTX, 0, Some(true)));
    says(Description::intx, Says(INTX, 0, None));
    says(msix_of_2, Says(MSIX, 1, Some(true)));
    says(msix_of_2, Says(MSIX, 1, None));
    says(|pci| pci, Says(ERR, 0, None));
    says(Description::request_irq, Says(REQ, 0, None));
    says(|pci| pci.irq(5, IrqFlags::MSI, 1), Says(5, 0, None));
}

#[test]
fn what_the_device_said_outside_of_the_harness_is_found_when_that_is_asked_again() {
    let made = || speaker(|pci| pci, Says(INTX, 0, Some(true)), None);
    let said_to = |ask: fn(&mut Harness)| {
        let mut device = Harness::new(|_| Ok(made()));
        device.device().region_write(BAR0, 0, &[1]).unwrap();
        complaint(|| ask(&mut device)).is_some_and(|said| said.contains("is `.intx()` missing?"))
    };
    assert!(said_to(|device| assert_eq!(device.read8(BAR0, 0), 0)));
    assert!(said_to(|device| assert!(!device.intx())));
    assert!(said_to(|device| assert_eq!(device.fired(INTX, 0), 0)));
    assert!(said_to(|device| device.reset()));
}

#[test]
fn a_device_that_cannot_be_asked_back_says_nothing_of_a_vector_when_it_is() {
    let mut device = Harness::new(|_| Ok(speaker(|pci| pci, Says(INTX, 0, None), None)));
    device.device().unregister();
    assert!(!device.device().request());
    assert_eq!(device.read8(BAR0, 0), 0);
}
