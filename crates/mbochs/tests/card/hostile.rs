//! Any access in any order: the picture never leaves video memory.

use super::*;

/// Marsaglia's xorshift: the same walk every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// The plane is in its memory; returns whether there is one.
fn hold(device: &Device, at: &str) -> bool {
    let Some(plane) = device.display() else { return false };
    let memory = plane.memory.size();
    assert_eq!(plane.format, 0x3432_5258, "{at}");
    assert!(plane.width >= 64 && plane.height >= 64, "{at}: {plane:?}");
    assert!(u64::from(plane.stride) >= 4 * u64::from(plane.width), "{at}: {plane:?}");
    assert_eq!(plane.size, u64::from(plane.stride) * u64::from(plane.height), "{at}");
    assert!(plane.offset.checked_add(plane.size).unwrap() <= memory, "{at}: {plane:?}");
    // What a viewer does: both ends of the picture can be read.
    for offset in [plane.offset, plane.offset + plane.size - 4] {
        plane.memory.read(offset, &mut [0; 4]).expect(at);
    }
    true
}

#[test]
fn no_walk_over_the_registers_takes_the_picture_out_of_video_memory() {
    let values = [0, 1, 4, 63, 64, 65, 480, 640, 800, 1024, 4095, 0x7fff, 0x8000, 0xfffe, 0xffff];
    let registers =
        [XRES, YRES, ENABLE, VIRT_WIDTH, 0x50e, X_OFFSET, Y_OFFSET, ID, VIDEO_MEMORY_64K];
    for (seed, name) in (1u64..).zip(["mbochs-small", "mbochs-medium", "mbochs-large"]) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut device = card(name);
        set(&mut device, BPP, 32);
        let mut pictures = 0;
        for step in 0..20_000 {
            let register = random.of(&registers);
            let any = random.next() as u16;
            let value = match random.next() % 4 {
                0 => any,
                1 => any % 1024,
                _ => random.of(&values),
            };
            set(&mut device, register, if register == ENABLE { value | 1 } else { value });
            pictures += u32::from(hold(&device, &format!("{name}, step {step}")));
        }
        assert!(pictures > 500, "{name}: only {pictures} of the steps showed anything");
    }
}

#[test]
fn no_nonsense_anywhere_takes_the_picture_out_of_video_memory() {
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut device = made("mbochs-small", &Options::default());
    device.open(OpenMode::Exclusive).unwrap();
    for step in 0..20_000 {
        let region = random.of(&[0, MMIO, MMIO, MMIO, EDID, EDID, CONFIG]);
        let size = device.region(region).unwrap().size();
        let any = random.next();
        let near = random.of(&[0, 0x3f8, 0x4f8, 0x500, 0x510, 0x7f8, 0xbf8]) + random.next() % 16;
        let offset = random.of(&[near, any]) % size;
        let length = random.of(&[1, 2, 2, 2, 3, 4, 8, 100, 5000]).min((size - offset) as usize);
        let bytes = random.bytes(length);
        store(&mut device, region, offset, &bytes);
        device.region_read(region, offset, &mut vec![0; length]).unwrap();
        match random.next() % 100 {
            0 => device.reset(),
            1 => {
                device.close();
                hold(&device, &format!("closed at step {step}"));
                device.open(OpenMode::Exclusive).unwrap();
            }
            2..12 => {
                let (width, height) = random.of(&[(640, 480), (800, 600), (1024, 1024)]);
                show(&mut device, width, height);
            }
            _ => (),
        }
        hold(&device, &format!("step {step}"));
        assert_eq!(get(&mut device, ID), 0xb0c5);
        assert!(u32::from_le_bytes(load(&mut device, EDID, 8)) <= 0x400, "edid_size");
    }
}
