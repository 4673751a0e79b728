//! Video memory and the plane in it: whose they are, and for how long.

use uuid::Uuid;
use vfio_device::{Parent, SharedMemory};

use super::*;

fn byte(memory: &SharedMemory, offset: u64) -> u8 {
    let mut data = [0xee];
    memory.read(offset, &mut data).unwrap();
    data[0]
}

/// The memory that a client is handed.
fn memory(device: &Device) -> SharedMemory {
    device.region(0).unwrap().memory().unwrap().clone()
}

fn generation(device: &Device) -> u64 {
    device.display().unwrap().generation
}

#[test]
fn there_is_no_picture_before_a_mode_is_set() {
    let mut device = made("mbochs-small", &Options::default());
    assert!(device.display().is_none());
    device.open(OpenMode::Exclusive).unwrap();
    assert!(device.display().is_none());
}

#[test]
fn the_plane_is_what_the_registers_say() {
    let mut device = card("mbochs-medium");
    show(&mut device, 1024, 768);
    set(&mut device, VIRT_WIDTH, 1100);
    set(&mut device, X_OFFSET, 10);
    set(&mut device, Y_OFFSET, 20);
    let plane = device.display().unwrap();
    assert_eq!(plane.format.to_le_bytes(), *b"XR24");
    assert_eq!((plane.width, plane.height, plane.stride), (1024, 768, 4400));
    assert_eq!((plane.offset, plane.size), (40 + 20 * 4400, 4400 * 768));
    set(&mut device, ENABLE, 0x40);
    assert!(device.display().is_none());
}

#[test]
fn trapped_accesses_map_and_plane_are_the_same_bytes() {
    for (name, size) in
        [("mbochs-small", 4 << 20), ("mbochs-medium", 16 << 20), ("mbochs-large", 64 << 20)]
    {
        let mut device = card(name);
        show(&mut device, 640, 480);
        let (map, plane) = (memory(&device), device.display().unwrap());
        // The sample misses by 0x2000, and loses the last two pages.
        for (value, offset) in
            (1..).zip([0, 1, 0x1fff, 0x2000, size / 2 + 3, size - 0x2000, size - 1])
        {
            store(&mut device, 0, offset, &[value]);
            assert_eq!((byte(&map, offset), byte(&plane.memory, offset)), (value, value), "{name}");
            map.write(offset, &[value + 100]).unwrap();
            assert_eq!(load(&mut device, 0, offset), [value + 100], "{name} {offset:#x}");
        }
    }
}

#[test]
fn the_generation_rises_with_each_change_and_with_nothing_else() {
    let mut device = card("mbochs-large");
    show(&mut device, 640, 480);
    let mut last = generation(&device);
    for (register, value) in
        [(XRES, 800), (YRES, 600), (VIRT_WIDTH, 1000), (X_OFFSET, 1), (Y_OFFSET, 1)]
    {
        set(&mut device, register, value);
        let now = generation(&device);
        assert!(now > last, "{register:#x}");
        last = now;
        // The same again, and what has no effect.
        set(&mut device, register, value);
        set(&mut device, ENABLE, 0xe1);
        set(&mut device, 0x50a, value);
        set(&mut device, 0x50e, value);
        set(&mut device, ID, value);
        store(&mut device, 0, 0, &[1; 4096]);
        assert_eq!(generation(&device), last, "{register:#x}");
    }
    set(&mut device, ENABLE, 0);
    set(&mut device, ENABLE, 1);
    assert!(generation(&device) > last, "it was away");
}

#[test]
fn the_mode_generation_rises_with_all_but_turned_pages() {
    let mut device = card("mbochs-large");
    show(&mut device, 640, 480);
    let of = |device: &Device| device.display().unwrap().mode_generation;
    let mut last = of(&device);
    for (register, value) in [(X_OFFSET, 1), (Y_OFFSET, 480), (X_OFFSET, 0), (Y_OFFSET, 0)] {
        let before = generation(&device);
        set(&mut device, register, value);
        assert!(generation(&device) > before, "{register:#x}");
        assert_eq!(of(&device), last, "{register:#x}");
    }
    for (register, value) in [(XRES, 800), (YRES, 600), (VIRT_WIDTH, 1000)] {
        set(&mut device, register, value);
        assert!(of(&device) > last, "{register:#x}");
        last = of(&device);
    }
    set(&mut device, ENABLE, 0);
    set(&mut device, ENABLE, 1);
    assert!(of(&device) > last, "it was away");
    last = of(&device);
    device.close();
    device.open(OpenMode::Exclusive).unwrap();
    assert!(of(&device) > last, "another memory");
}

#[test]
fn the_last_picture_stays_when_the_client_has_left() {
    let mut device = card("mbochs-small");
    show(&mut device, 800, 600);
    store(&mut device, 0, 4000, &[42]);
    let last = generation(&device);
    device.close();
    let plane = device.display().unwrap();
    assert_eq!((byte(&plane.memory, 4000), plane.width, plane.generation), (42, 800, last));
}

#[test]
fn the_next_client_gets_zeroes_in_a_memory_of_its_own() {
    let mut device = card("mbochs-small");
    show(&mut device, 800, 600);
    store(&mut device, 0, 4000, &[42]);
    let (old, last) = (memory(&device), device.display().unwrap());
    for _ in 0..3 {
        device.close();
        device.open(OpenMode::Exclusive).unwrap();
        assert_eq!(load(&mut device, 0, 4000), [0]);
        assert_eq!(byte(&memory(&device), 4000), 0);
        let plane = device.display().unwrap();
        assert_eq!((byte(&plane.memory, 4000), plane.width, plane.stride), (0, 800, 3200));
        assert!(plane.generation > last.generation, "another memory is another picture");
        // Who has left can neither disturb it nor see it.
        old.write(8, &[66]).unwrap();
        assert_eq!(load(&mut device, 0, 8), [0]);
        store(&mut device, 0, 16, &[77]);
        assert_eq!((byte(&old, 16), byte(&old, 4000)), (0, 42));
        assert_eq!((byte(&plane.memory, 16), byte(&last.memory, 16)), (77, 0));
    }
}

#[test]
fn the_first_client_gets_the_memory_that_there_is() {
    let mut device = made("mbochs-small", &Options::default());
    let before = memory(&device);
    device.open(OpenMode::Exclusive).unwrap();
    before.write(5, &[1]).unwrap();
    assert_eq!(load(&mut device, 0, 5), [1]);
}

#[test]
fn a_picture_that_somebody_holds_outlives_client_and_device() {
    let parent = Parent::register(&Vfio::new(), Mbochs::new(4));
    let kind = *parent.find("mbochs-small").unwrap();
    let mut device = parent.create(&kind, Uuid::from_u128(1)).unwrap();
    device.register().unwrap();
    device.open(OpenMode::Exclusive).unwrap();
    show(&mut device, 640, 480);
    store(&mut device, 0, 100, &[1, 2, 3]);
    let plane = device.display().unwrap();
    device.close();
    drop(device);
    assert_eq!(parent.available_instances(&kind), 1, "the device has been released");
    assert_eq!([100, 101, 102].map(|offset| byte(&plane.memory, offset)), [1, 2, 3]);
    assert_eq!(plane.offset + plane.size, 640 * 480 * 4);
}

#[test]
fn video_memory_costs_nothing_until_it_is_touched() {
    let device = card("mbochs-large");
    let file = std::fs::File::from(memory(&device).fd().try_clone_to_owned().unwrap());
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&file.metadata().unwrap());
    assert_eq!(blocks(), 0);
    memory(&device).write(0, &[1]).unwrap();
    assert!((1..=4096).contains(&blocks()), "512-byte blocks of a page, small or huge");
}
