//! Configuration space beside a model of it, bytes and masks; and accesses of any length anywhere else.

use mbochs::Mbochs;
use mdpy::Mdpy;
use mtty::Mtty;
use vfio_device::testing::Harness;
use vfio_device::{
    BarKind, BarOffset, Capability, Context, Description, Made, MdevDriver, Region, SharedMemory,
    VfioDevice,
};

use super::input::Input;

const CONFIG: u32 = 7;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const INTERRUPT: u8 = 0x08;

/// Bytes that a guest may change bits of: where, and which.
type Masks = &'static [(usize, &'static [u8])];

const MTTY_1: Masks =
    &[(COMMAND, &[0x05, 0x04]), (0x10, &[0xf8, 0xff, 0xff, 0xff]), (0x3c, &[0xff])];
const MTTY_2: Masks = &[
    (COMMAND, &[0x05, 0x04]),
    (0x10, &[0xf8, 0xff, 0xff, 0xff, 0xf8, 0xff, 0xff, 0xff]),
    (0x3c, &[0xff]),
];
/// 2 MB, 4 MB, 8 MB in BAR 0.
const MDPY: [Masks; 3] = [
    &[(COMMAND, &[0x06, 0]), (0x10, &[0, 0, 0xe0, 0xff])],
    &[(COMMAND, &[0x06, 0]), (0x10, &[0, 0, 0xc0, 0xff])],
    &[(COMMAND, &[0x06, 0]), (0x10, &[0, 0, 0x80, 0xff])],
];
/// 4 MB, 16 MB, 64 MB in BAR 0, 4 KiB in BAR 2.
const MBOCHS: [Masks; 3] = [
    &[(COMMAND, &[0x06, 0]), (0x10, &[0, 0, 0xc0, 0xff]), (0x18, &[0, 0xf0, 0xff, 0xff])],
    &[(COMMAND, &[0x06, 0]), (0x10, &[0, 0, 0x00, 0xff]), (0x18, &[0, 0xf0, 0xff, 0xff])],
    &[(COMMAND, &[0x06, 0]), (0x10, &[0, 0, 0x00, 0xfc]), (0x18, &[0, 0xf0, 0xff, 0xff])],
];
/// As [`express`] lays it out.
const EXPRESS: Masks = &[
    (COMMAND, &[0x07, 0x04]),
    (0x10, &[0xf8, 0xff, 0xff, 0xff, 0, 0xf0, 0xff, 0xff]), // I/O of 8 bytes, 4 KiB
    (0x18, &[0, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), // 16 KiB, 64 bits
    (0x30, &[0x01, 0xf0, 0xff, 0xff]),                      // ROM of 4 KiB
    (0x3c, &[0xff]),
    (0x40 + 4, &[0x03]), // power state
    (0x48 + 2, &[0x71, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), // MSI
    (0x58 + 3, &[0xc0]), // MSI-X
    (0x64 + 3, &[0xff; 5]), // vendor's own
    (0x6c + 8, &[0xff, 0x78]), // device control
    (0x6c + 0x10, &[0xc3]),
    (0x6c + 0x28, &[0x1f]),
    (0x6c + 0x30, &[0x0f]),
    (0x100 + 8, &[0xff; 4]),
];
/// As [`conventional`] lays it out.
const CONVENTIONAL: Masks =
    &[(COMMAND, &[0x06, 0]), (0x10, &[0, 0xf0, 0xff, 0xff]), (0x44, &[0x03])];

/// What a write to configuration space can do beyond storing: offsets of registers.
#[derive(Clone, Copy, Default)]
struct Effects {
    power: Option<usize>,
    power_resets: bool,
    /// A byte, and the bit of it that resets the function.
    reset: Option<(usize, u8)>,
}

struct Model {
    now: Vec<u8>,
    reset: Vec<u8>,
    mask: Vec<u8>,
    effects: Effects,
}

impl Model {
    fn new(device: &mut Harness, masks: Masks, effects: Effects) -> Self {
        let size = device.device().region(CONFIG).map_or(0, |region| region.size() as usize);
        let mut now = vec![0; size];
        device.device().region_read(CONFIG, 0, &mut now).expect("all of it can be read");
        let mut mask = vec![0; size];
        for (at, bits) in masks {
            mask[*at..*at + bits.len()].copy_from_slice(bits);
        }
        let mut reset = now.clone();
        reset[COMMAND..COMMAND + 2].fill(0);
        Self { now, reset, mask, effects }
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        let power = self.effects.power.map(|at| (at, self.now[at] & 3));
        for (at, byte) in (at..).zip(data) {
            self.now[at] = self.now[at] & !self.mask[at] | byte & self.mask[at];
        }
        let said = |register: usize| data.get(register.checked_sub(at)?);
        let is_said = |(at, bit): (usize, u8)| said(at).is_some_and(|byte| byte & bit != 0);
        let mut resets = self.effects.reset.is_some_and(is_said);
        if let Some((at, before)) = power {
            resets |= self.effects.power_resets && before == 3 && self.now[at] & 3 == 0;
            // D1 and D2 there are not.
            if matches!(self.now[at] & 3, 1 | 2) {
                self.now[at] = self.now[at] & !3 | before;
            }
        }
        if resets {
            self.now.clone_from(&self.reset);
        }
    }
}

struct Registers;

impl VfioDevice for Registers {
    fn region_read(&mut self, _: u32, _: u64, _: &mut [u8], _: &mut Context) {}
    fn region_write(&mut self, _: u32, _: u64, _: &[u8], _: &mut Context) {}
    fn reset(&mut self, _: &mut Context) {}
}

/// A function with everything: 4096 bytes.
fn express() -> Made {
    let memory = SharedMemory::new("fuzz", 0x4000).expect("memory");
    let rom = SharedMemory::new_read_only("fuzz", 0x1000).expect("memory");
    let at = |offset| BarOffset { bar: 1, offset };
    let description = Description::pci(0x1234, 0x5678)
        .bar(0, BarKind::Io, Region::trapped(8))
        .bar(1, BarKind::Memory32, Region::trapped(0x1000))
        .bar(2, BarKind::Prefetchable64, Region::sparse(memory, [0..0x1000, 0x2000..0x4000]))
        .rom(Region::mapped(rom))
        .intx()
        .capability(Capability::power_management())
        .msi(2)
        .msix(70, at(0x100), at(0x800))
        .capability(Capability::vendor(&[1, 2, 3, 4, 5]).writable())
        .capability(Capability::pci_express())
        .extended_capability(Capability::vendor_extended(1, 2, &[1, 2, 3, 4]).writable())
        .extended_capability(Capability::serial_number(7));
    (description, Box::new(Registers))
}

/// One that two registers reset.
fn conventional() -> Made {
    let description = Description::pci(0x1234, 0x5679)
        .bar(0, BarKind::Memory32, Region::trapped(0x1000))
        .capability(Capability::power_management_with_reset())
        .capability(Capability::advanced_features());
    (description, Box::new(Registers))
}

fn of_type(driver: &impl MdevDriver, number: usize) -> Harness {
    let kind = driver.types()[number];
    Harness::new(|init| driver.init(&kind, init))
}

fn function(number: u8) -> (Harness, Model) {
    let none = Effects::default();
    let (mut device, masks, effects) = match number % 10 {
        0 => (of_type(&Mtty::default(), 0), MTTY_1, none),
        1 => (of_type(&Mtty::default(), 1), MTTY_2, none),
        it @ 2..5 => (of_type(&Mdpy::default(), it as usize - 2), MDPY[it as usize - 2], none),
        it @ 5..8 => (of_type(&Mbochs::default(), it as usize - 5), MBOCHS[it as usize - 5], none),
        8 => {
            let reset = Some((0x6c + 9, 0x80));
            let effects = Effects { power: Some(0x44), power_resets: false, reset };
            (Harness::new(|_| Ok(express())), EXPRESS, effects)
        }
        _ => {
            let reset = Some((0x48 + 4, 0x01));
            let effects = Effects { power: Some(0x44), power_resets: true, reset };
            (Harness::new(|_| Ok(conventional())), CONVENTIONAL, effects)
        }
    };
    let model = Model::new(&mut device, masks, effects);
    (device, model)
}

/// After one byte that says which function: what to do, where, how much, and what with.
pub fn config_space(data: &[u8]) {
    let mut input = Input(data);
    let (mut device, mut model) = function(input.byte());
    let size = model.now.len();
    while !input.is_empty() {
        let what = input.byte();
        let length = usize::from(what >> 3);
        match what & 7 {
            0 | 1 => {
                let at = usize::from(input.half()) % (size + 8);
                let mut data = vec![0xa5; length];
                let done = device.device().region_read(CONFIG, at as u64, &mut data);
                assert_eq!(done.is_ok(), at + length <= size, "{length} bytes at {at:#x}");
                // The one bit that changes by itself.
                let status = model.now[STATUS];
                model.now[STATUS] |= if device.intx() { INTERRUPT } else { 0 };
                let wanted = model.now.get(at..at + length).unwrap_or(&data);
                assert_eq!(data, wanted, "read at {at:#x}");
                model.now[STATUS] = status;
            }
            2..=4 => {
                let at = usize::from(input.half()) % (size + 8);
                let data = input.bytes(length);
                let fits = at + data.len() <= size;
                let done = device.device().region_write(CONFIG, at as u64, data);
                assert_eq!(done.is_ok(), fits, "{} bytes at {at:#x}", data.len());
                if fits {
                    model.write(at, data);
                }
            }
            5 => elsewhere(&mut device, &mut input, length, false),
            6 => elsewhere(&mut device, &mut input, length, true),
            _ => {
                device.reset();
                model.now.clone_from(&model.reset);
            }
        }
    }
    let mut all = vec![0; size];
    device.device().region_read(CONFIG, 0, &mut all).expect("all of it can be read");
    model.now[STATUS] |= if device.intx() { INTERRUPT } else { 0 };
    assert_eq!(all, model.now, "at the end");
}

/// Any access is taken that lies inside a region which can be read, or written.
fn elsewhere(device: &mut Harness, input: &mut Input<'_>, length: usize, writes: bool) {
    let place = input.byte();
    let region = u32::from(place & 0xf);
    // Its low bits count, and where none is the whole range does.
    let offset = u64::from(input.word()) << [0, 0, 12, 40][usize::from(place >> 6)];
    if region == CONFIG {
        return;
    }
    let (size, may) = device.device().region(region).map_or((0, false), |it| {
        (it.size(), if writes { !it.is_read_only() } else { !it.is_write_only() })
    });
    let offset = if place & 0x30 == 0 { offset } else { offset % (size + 4) };
    let mut data = vec![0xa5; length];
    let fits = size != 0 && may && offset.checked_add(length as u64).is_some_and(|it| it <= size);
    let done = if writes {
        data.iter_mut().zip(input.bytes(length)).for_each(|(to, from)| *to = *from);
        device.device().region_write(region, offset, &data)
    } else {
        device.device().region_read(region, offset, &mut data)
    };
    assert_eq!(done.is_ok(), fits, "{length} bytes at {offset:#x} of {region}: {done:?}");
}
