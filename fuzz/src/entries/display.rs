//! The Bochs display's registers and its EDID region beside a model of them, and the picture that follows.

use mbochs::{EdidSource, Mbochs, Options};
use vfio_device::MdevDriver;
use vfio_device::testing::Harness;

use super::input::Input;

const MMIO: u32 = 2;
const EDID: u32 = 9;
const SIZE: u64 = 0x1000;

/// The registers as the data sheet has them, and the monitor.
struct Model {
    dispi: [u16; 11],
    memory: u64,
    edid_size: u32,
    link: u32,
    blob: [u8; 1024],
    limits: [u32; 2],
}

impl Model {
    fn reset(&mut self) {
        self.dispi = [0; 11];
        (self.dispi[0], self.dispi[10]) = (0xb0c5, (self.memory >> 16) as u16);
    }

    /// One access of 1, 2 or 4 bytes, aligned.
    fn load(&self, region: u32, at: u64, data: &mut [u8]) {
        let index = at as usize;
        match (region, at) {
            (MMIO, 0..0x400) => {
                let seen = if self.link == 1 { self.edid_size as usize } else { 0 };
                let byte = |at: usize| if at < seen { self.blob[at] } else { 0 };
                data.iter_mut().zip(index..).for_each(|(to, at)| *to = byte(at));
            }
            (MMIO, 0x500..0x516) if data.len() == 2 => {
                data.copy_from_slice(&self.dispi[(index - 0x500) / 2].to_le_bytes());
            }
            (EDID, 0x800..0xc00) => data.copy_from_slice(&self.blob[index - 0x800..][..data.len()]),
            (EDID, 0..0x18) if data.len() == 4 => {
                let [x, y] = self.limits;
                let words = [0x800, 0x400, self.edid_size, x, y, self.link];
                data.copy_from_slice(&words[index / 4].to_le_bytes());
            }
            _ => data.fill(0),
        }
    }

    fn store(&mut self, region: u32, at: u64, data: &[u8]) {
        let index = at as usize;
        match (region, at, data.len()) {
            (MMIO, 0x502..0x514, 2) => {
                self.dispi[(index - 0x500) / 2] = u16::from_le_bytes([data[0], data[1]]);
            }
            (EDID, 0x800..0xc00, _) => {
                self.blob[index - 0x800..][..data.len()].copy_from_slice(data)
            }
            (EDID, 8 | 0x14, 4) => {
                let value = u32::from_le_bytes(data.try_into().expect("4 bytes"));
                match at {
                    8 if value <= 0x400 => self.edid_size = value,
                    8 => (),
                    _ => self.link = value,
                }
            }
            _ => (),
        }
    }

    /// Width, height, stride, offset, size.
    fn picture(&self) -> Option<[u64; 5]> {
        let [_, width, height, bits, enable, _, virtual_width, _, x, y, _] =
            self.dispi.map(u64::from);
        let stride = 4 * width.max(virtual_width);
        let (offset, size) = (4 * x + stride * y, stride * height);
        let is_one = enable & 1 == 1 && bits == 32 && width >= 64 && height >= 64;
        (is_one && offset + size <= self.memory).then_some([width, height, stride, offset, size])
    }
}

/// The pieces of an access: 4, 2 or 1 bytes, as many as are left and aligned.
fn pieces(at: u64, length: usize) -> Vec<(u64, usize)> {
    let (mut all, mut at, mut left) = (Vec::new(), at, length);
    while left > 0 {
        let width = [4, 2, 1].into_iter().find(|width| *width <= left && at % *width as u64 == 0);
        let width = width.expect("one byte always fits");
        all.push((at, width));
        (at, left) = (at + width as u64, left - width);
    }
    all
}

/// After a byte that says which type: what to do, where, how much, and what with.
pub fn display(data: &[u8]) {
    let mut input = Input(data);
    let number = usize::from(input.byte() % 3);
    let driver = Mbochs::default();
    let kind = driver.types()[number];
    let options = Options { edid: EdidSource::Off, ..Options::default() };
    let mut device = Harness::new(|init| driver.make(&kind, &options, init));
    let memory = [4 << 20, 16 << 20, 64 << 20][number];
    let limits = [[800, 600], [1920, 1440], [0, 0]][number];
    let mut model =
        Model { dispi: [0; 11], memory, edid_size: 0, link: 0, blob: [0; 1024], limits };
    model.reset();
    let mut before = (None, 0, 0);
    while !input.is_empty() {
        let what = input.byte();
        let region = if what & 2 == 0 { MMIO } else { EDID };
        match what & 0xd {
            // A whole mode: without it a picture is a matter of luck.
            0 | 4 | 8 => {
                let register = 1 + u64::from(what >> 4) % 9;
                let value = match register {
                    3 if what & 4 != 0 => 32,
                    4 if what & 4 != 0 => 1,
                    _ => input.half() >> [0, 6][usize::from(what >> 3 & 1)],
                };
                device.write16(MMIO, 0x500 + 2 * register, value);
                model.store(MMIO, 0x500 + 2 * register, &value.to_le_bytes());
            }
            1 | 5 => {
                let (at, length) = place(&mut input, what);
                let mut data = vec![0xa5; length];
                let done = device.device().region_read(region, at, &mut data);
                let fits = at + length as u64 <= SIZE;
                assert_eq!(done.is_ok(), fits, "{length} bytes at {at:#x}");
                let mut wanted = vec![0; length];
                for (piece, width) in pieces(at, length) {
                    let from = (piece - at) as usize;
                    model.load(region, piece, &mut wanted[from..from + width]);
                }
                assert!(
                    !fits || data == wanted,
                    "{data:x?}, not {wanted:x?}, at {at:#x} of {region}"
                );
            }
            9 => {
                let (at, length) = place(&mut input, what);
                let data = input.bytes(length);
                let fits = at + data.len() as u64 <= SIZE;
                let done = device.device().region_write(region, at, data);
                assert_eq!(done.is_ok(), fits, "{} bytes at {at:#x}", data.len());
                for (piece, width) in pieces(at, data.len()).into_iter().filter(|_| fits) {
                    let from = (piece - at) as usize;
                    model.store(region, piece, &data[from..from + width]);
                }
            }
            12 => {
                let value = u32::from(input.half());
                for (at, value) in [(8, value), (0x14, u32::from(what >> 6))] {
                    device.write32(EDID, at, value);
                    model.store(EDID, at, &value.to_le_bytes());
                }
            }
            _ => {
                device.reset();
                model.reset();
            }
        }
        before = look(&mut device, &model, before);
    }
}

fn place(input: &mut Input<'_>, what: u8) -> (u64, usize) {
    let at = u64::from(input.half()) % (SIZE + 8);
    (at, 1 << (what >> 4 & 3) | usize::from(what >> 6))
}

/// A picture and its two counts.
type Seen = (Option<[u64; 5]>, u64, u64);

/// The picture is the model's, and is counted when it changes.
fn look(device: &mut Harness, model: &Model, before: Seen) -> Seen {
    let plane = device.device().display();
    let picture = plane.as_ref().map(|it| {
        assert_eq!((it.format, it.memory.size()), (0x3432_5258, model.memory));
        let [width, height, stride] = [it.width, it.height, it.stride].map(u64::from);
        [width, height, stride, it.offset, it.size]
    });
    assert_eq!(picture, model.picture(), "the picture");
    let Some(plane) = plane else { return before };
    let (generation, of_mode) = (plane.generation, plane.mode_generation);
    assert!(generation >= before.1 && of_mode >= before.2, "counts do not fall");
    assert!(picture == before.0 || generation > before.1, "{picture:?} after {:?}", before.0);
    (picture, generation, of_mode)
}
