#![cfg(test)]
//! A vector that the device does not have is ignored, and told once. A process has one logger: this is its own.

use std::sync::Mutex;

use vfio_device::{BAR0, BarKind, Context, Description, INTX, MSIX, Region, Vfio, VfioDevice};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        LINES.lock().unwrap().push(format!("{}: {}", record.level(), record.args()));
    }
    fn flush(&self) {}
}

/// Has no interrupt, and uses several.
struct Forgetful;

impl VfioDevice for Forgetful {
    fn region_read(&mut self, _: u32, _: u64, data: &mut [u8], _: &mut Context) {
        data.fill(7);
    }
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], cx: &mut Context) {
        cx.irqs.trigger(MSIX, 7);
        cx.irqs.set_level(INTX, 0, true);
        cx.irqs.trigger(u32::MAX, u32::MAX);
    }
    fn reset(&mut self, _: &mut Context) {}
}

#[test]
fn it_is_ignored_and_told_once_at_level_debug() {
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let what = Description::pci(0x1234, 5).bar(0, BarKind::Io, Region::trapped(4));
    let mut device = Vfio::new().alloc(|_| Ok((what, Box::new(Forgetful)))).unwrap();
    for _ in 0..3 {
        device.region_write(BAR0, 0, &[1]).unwrap();
    }
    let mut byte = [0];
    device.region_read(BAR0, 0, &mut byte).unwrap();
    assert_eq!((byte, device.irqs().level(INTX, 0)), ([7], false));
    let told = "trigger of irq index 2, vector 7: the device has no such vector";
    let expected = format!("DEBUG: {told}; this is ignored, and not told again");
    assert_eq!(*LINES.lock().unwrap(), [expected]);
}
