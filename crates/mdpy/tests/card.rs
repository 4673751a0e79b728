#![cfg(test)]
//! The display as a client finds it, type by type.

use md5::{Digest, Md5};
use mdpy::Mdpy;
use uuid::Uuid;
use vfio_device::{Device, Errno, OpenMode, Parent, Plane, Vfio};

const BAR0: u32 = 0;
const CONFIG: u32 = 7;
/// The DRM fourcc `XR24`.
const XRGB8888: u32 = 0x3432_5258;

/// A type: its mode, and its memory.
struct Type {
    name: &'static str,
    width: u32,
    height: u32,
    memory: u64,
    /// MD5 of the visible bytes of the test pattern, and of all of BAR 0 with it.
    visible: &'static str,
    all: &'static str,
    /// The first row that is not black.
    first: u64,
}

const VGA: Type = Type {
    name: "mdpy-vga",
    width: 640,
    height: 480,
    memory: 0x20_0000,
    visible: "ca41b0504090f77ce9448ad344a5f312",
    all: "08a1b14bbc9603277e02a3e00b93b8d6",
    first: 2,
};
const XGA: Type = Type {
    name: "mdpy-xga",
    width: 1024,
    height: 768,
    memory: 0x40_0000,
    visible: "f1d8a5df7a0e96292622661d4fff9279",
    all: "eb1b2fde2b1356517348ff697094a82b",
    first: 4,
};
const HD: Type = Type {
    name: "mdpy-hd",
    width: 1920,
    height: 1080,
    memory: 0x80_0000,
    visible: "14c126b3061c88033c8950777a7d3c7a",
    all: "051630691739816a2f0b0fde57208cec",
    first: 5,
};
const ALL: [Type; 3] = [VGA, XGA, HD];

impl Type {
    fn stride(&self) -> u64 {
        u64::from(self.width) * 4
    }

    fn size(&self) -> usize {
        (self.stride() * u64::from(self.height)) as usize
    }
}

fn parent() -> Parent {
    Parent::register(&Vfio::new(), Mdpy::default())
}

fn create(parent: &Parent, kind: &Type, number: u128) -> Result<Device, Errno> {
    let mut device = parent.create(parent.find(kind.name).unwrap(), Uuid::from_u128(number))?;
    device.register()?;
    Ok(device)
}

/// A device that a client has.
fn open(kind: &Type) -> Device {
    let mut device = create(&parent(), kind, 1).unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    device
}

fn read(device: &mut Device, region: u32, offset: u64, length: usize) -> Vec<u8> {
    let mut data = vec![0; length];
    device.region_read(region, offset, &mut data).unwrap();
    data
}

fn plane(device: &Device) -> Plane {
    device.display().unwrap()
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_fifth_display_is_refused_with_eusers_whatever_its_type() {
    let parent = parent();
    let available =
        || -> Vec<u32> { parent.types().iter().map(|it| parent.available_instances(it)).collect() };
    assert_eq!(parent.types().len(), 3);
    let displays: Vec<_> =
        [VGA, HD, XGA, HD].iter().zip(1..).map(|(kind, n)| create(&parent, kind, n)).collect();
    assert!(displays.iter().all(Result::is_ok));
    assert_eq!(available(), vec![0, 0, 0]);
    for kind in ALL {
        assert_eq!(create(&parent, &kind, 9).unwrap_err(), Errno::USERS);
    }
    drop(displays);
    assert_eq!(available(), vec![4, 4, 4]);
}

#[test]
fn another_number_of_displays_is_as_many_as_that() {
    let parent = Parent::register(&Vfio::new(), Mdpy::new(1));
    let one = create(&parent, &VGA, 1).unwrap();
    assert_eq!(create(&parent, &VGA, 2).unwrap_err(), Errno::USERS);
    drop(one);
    create(&parent, &HD, 2).unwrap();
}

#[test]
fn types_are_named_and_described_as_the_sample_s() {
    for kind in ALL {
        let parent = parent();
        let found = parent.find(kind.name).unwrap();
        let description = format!("virtual display, {}x{} framebuffer", kind.width, kind.height);
        assert_eq!(found.pretty_name, kind.name);
        assert_eq!(found.description, Some(description.as_str()));
    }
}

#[test]
fn configuration_space_names_the_driver_and_its_capability_the_mode() {
    for kind in ALL {
        let mut expected = vec![0; 0x100];
        let mut put =
            |at: usize, bytes: &[u8]| expected[at..][..bytes.len()].copy_from_slice(bytes);
        put(0x00, &[0x36, 0x1b, 0x0f, 0x00, 0x03, 0x00, 0x10, 0x00, 0x01, 0x00, 0x80, 0x03]);
        put(0x10, &[0x08]);
        put(0x2c, &[0xf4, 0x1a, 0x00, 0x11]);
        put(0x34, &[0x40]);
        put(0x40, &[0x09, 0x00, 0x10, 0x00, b'X', b'R', b'2', b'4']);
        put(0x48, &kind.width.to_le_bytes());
        put(0x4c, &kind.height.to_le_bytes());
        let mut device = open(&kind);
        assert_eq!(read(&mut device, CONFIG, 0, 0x100), expected, "{}", kind.name);
        device.region_write(CONFIG, 0x40, &[0xff; 16]).unwrap();
        assert_eq!(read(&mut device, CONFIG, 0, 0x100), expected, "{} is read-only", kind.name);
    }
}

#[test]
fn bar_0_is_prefetchable_memory_of_the_next_power_of_two_and_there_is_no_other() {
    for kind in ALL {
        let mut device = open(&kind);
        for bar in 0..6 {
            device.region_write(CONFIG, 0x10 + 4 * bar, &[0xff; 4]).unwrap();
        }
        device.region_write(CONFIG, 0x30, &[0xff; 4]).unwrap();
        let size = (!(kind.memory as u32 - 1) | 0x8).to_le_bytes();
        let mut expected = [0; 0x24];
        expected[..4].copy_from_slice(&size);
        assert_eq!(read(&mut device, CONFIG, 0x10, 0x18), expected[..0x18], "{}", kind.name);
        assert_eq!(read(&mut device, CONFIG, 0x30, 4), [0; 4]);
        let sizes: Vec<_> = (0..9).map(|index| device.region(index).unwrap().size()).collect();
        assert_eq!(sizes, [kind.memory, 0, 0, 0, 0, 0, 0, 0x100, 0]);
        assert_eq!(device.num_regions(), 9);
    }
}

#[test]
fn the_test_pattern_is_the_sample_s_after_creation_and_after_a_reset() {
    for kind in ALL {
        let mut device = open(&kind);
        let fresh = read(&mut device, BAR0, 0, kind.memory as usize);
        let rows = [0, kind.first - 1, kind.first, u64::from(kind.height) / 2];
        let shades = rows.map(|row| fresh[(row * kind.stride()) as usize]);
        assert_eq!(shades, [0, 0, 1, 0x7f], "{}", kind.name);
        assert_eq!(fresh[kind.size() - 1], 0xfe, "{}", kind.name);
        assert_eq!(md5(&fresh[..kind.size()]), kind.visible, "{}", kind.name);
        assert_eq!(md5(&fresh), kind.all, "{}", kind.name);

        device.region_write(BAR0, 0, &vec![0xaa; kind.memory as usize]).unwrap();
        device.reset();
        assert_eq!(plane(&device).generation, 0, "pixels are no other picture");
        let reset = read(&mut device, BAR0, 0, kind.memory as usize);
        assert_eq!(md5(&reset[..kind.size()]), kind.visible, "{}", kind.name);
        assert!(reset[kind.size()..].iter().all(|byte| *byte == 0xaa), "only the picture");
    }
}

#[test]
fn an_access_by_message_reaches_the_bytes_at_its_offset_and_no_others() {
    let mut device = open(&XGA);
    let plane = plane(&device);
    device.region_write(BAR0, 0x12_3456, &[1, 2, 3, 4, 5]).unwrap();
    let mut bytes = [0; 7];
    plane.memory.read(0x12_3455, &mut bytes).unwrap();
    assert_eq!(bytes[1..6], [1, 2, 3, 4, 5]);
    assert_eq!(read(&mut device, BAR0, 0, 8), [0; 8], "not the first bytes, as with the sample");
    plane.memory.write(0x3f_fffe, &[8, 9]).unwrap();
    assert_eq!(read(&mut device, BAR0, 0x3f_fffc, 4), [0, 0, 8, 9]);
    assert_eq!(device.region_write(BAR0, 0x3f_ffff, &[1, 2]), Err(Errno::INVAL));
}

#[test]
fn the_plane_is_what_the_sample_answers() {
    for kind in ALL {
        let plane = plane(&open(&kind));
        assert_eq!((plane.format, plane.offset), (XRGB8888, 0));
        assert_eq!((plane.width, plane.height), (kind.width, kind.height));
        assert_eq!(u64::from(plane.stride), kind.stride());
        assert_eq!((plane.size, plane.memory.size()), (kind.memory, kind.memory));
    }
}

#[test]
fn there_is_a_picture_before_the_first_client_and_after_the_last() {
    let mut device = create(&parent(), &VGA, 1).unwrap();
    let before = plane(&device);
    device.open(OpenMode::Exclusive).unwrap();
    assert_eq!(plane(&device).generation, before.generation, "the first client has the same");
    device.region_write(BAR0, 0, &[1, 2, 3, 4]).unwrap();
    device.close();
    let mut pixel = [0; 4];
    plane(&device).memory.read(0, &mut pixel).unwrap();
    assert_eq!(pixel, [1, 2, 3, 4]);
}

#[test]
fn the_picture_persists_but_the_next_client_has_it_in_memory_of_its_own() {
    let mut device = open(&HD);
    let kept = plane(&device);
    device.region_write(BAR0, 0x7f_0000, b"first").unwrap();
    device.close();
    kept.memory.write(0, b"from nobody").unwrap(); // the client has left and kept its map
    device.open(OpenMode::Exclusive).unwrap();
    assert_eq!(read(&mut device, BAR0, 0x7f_0000, 5), b"first");
    assert!(plane(&device).generation > kept.generation, "another memory is another picture");

    kept.memory.write(0x7f_0000, b"again").unwrap();
    assert_eq!(read(&mut device, BAR0, 0x7f_0000, 5), b"first", "the second is undisturbed");
    device.region_write(BAR0, 0x7f_0000, b"other").unwrap();
    let mut seen = [0; 5];
    kept.memory.read(0x7f_0000, &mut seen).unwrap();
    assert_eq!(&seen, b"again", "and unseen");

    // Viewers see what the present client's guest draws, and the next one finds it.
    let second = plane(&device);
    second.memory.read(0x7f_0000, &mut seen).unwrap();
    assert_eq!(&seen, b"other");
    device.close();
    device.open(OpenMode::Exclusive).unwrap();
    assert_eq!(read(&mut device, BAR0, 0x7f_0000, 5), b"other");
}

#[test]
fn a_viewer_s_plane_outlives_the_device() {
    let mut device = open(&VGA);
    device.region_write(BAR0, 100, b"picture").unwrap();
    let plane = plane(&device);
    drop(device);
    let mut seen = [0; 7];
    plane.memory.read(100, &mut seen).unwrap();
    assert_eq!(&seen, b"picture");
}

#[test]
fn there_are_no_interrupts_but_the_error_index_that_qemu_asks_for() {
    let device = open(&VGA);
    let counts: Vec<_> = (0..5).map(|index| device.irqs().info(index).unwrap().count).collect();
    assert_eq!(counts, [0, 0, 0, 1, 0]);
}
